//! What somebody does who puts a key before a service they have, by way of each proxy: carriers, doors and addresses.
//!
//! The same that the gateway is walked through by `acceptance`, under `crude_functions` and `smallstack`.

use keyrack_testkit::http::Request;
use serde_json::{Value, json};

use crate::front::{Front, Kind};

const DATA: &str = "/run/api/data";

/// What a header of a request says that reached the service.
fn told<'s>(seen: &'s Value, name: &str) -> Vec<&'s str> {
    let headers = seen["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

/// A door for the keys of a group, which may also stand in the query, and a key of it.
async fn functions(front: &Front) -> (String, String) {
    for name in ["analytics", "mobile"] {
        front.keyrack.owner().post("/api/groups").json(&json!({"name": name})).send().await.expect_status(201);
    }
    front.route(DATA, json!({"groups": ["analytics"], "query_key": true})).await;
    front.key(json!({"name": "prod-server-1", "group": "analytics"})).await
}

/// A key in each carrier that there is; two of them stand in the query.
fn in_six_ways(front: &Front, secret: &str) -> [Request; 6] {
    let basic = data_encoding::BASE64.encode(format!(":{secret}").as_bytes());
    let get = |query: &str| front.http.get(&format!("{DATA}{query}"));
    [
        get("").header("x-api-key", secret),
        get("").header("authorization", format!("Bearer {secret}")),
        get("").header("authorization", secret),
        get("").header("authorization", format!("Basic {basic}")),
        get(&format!("?api_key={secret}")),
        get(&format!("?apiKey={secret}")),
    ]
}

with_each_proxy! {
    async fn a_key_may_come_in_six_ways(front: Front) {
        let (id, secret) = functions(&front).await;
        for request in in_six_ways(&front, &secret) {
            let seen = front.expect_let_in(request).await;
            assert_eq!(told(&seen, "x-consumer-groups"), ["analytics"]);
            assert_eq!(told(&seen, "x-credential-identifier"), [id.as_str()]);
            assert!(!seen["headers"].to_string().contains(&secret), "{:?} sends the key on: {seen}", front.kind);
        }
    }

    async fn other_credentials_do_not_reach_the_service(front: Front) {
        let (_, secret) = functions(&front).await;
        let (_, other) = front.key(json!({"name": "other", "group": "mobile"})).await;
        let basic = data_encoding::BASE64.encode(format!("bob:{secret}").as_bytes());
        let get = || front.http.get(DATA);
        for request in [
            get(),
            get().header("authorization", format!("Basic {basic}")),
            get().header("authorization", format!("Digest username=\"{secret}\"")),
            get().header("x-api-key", &other),
            get().header("authorization", format!("Bearer {secret}, Bearer {secret}")),
            front.http.get(&format!("{DATA}?api_key={secret}&apiKey={secret}")),
        ] {
            front.expect_kept_out(request, &[401]).await;
        }
    }

    async fn the_first_carrier_that_holds_something_decides(front: Front) {
        let (_, secret) = functions(&front).await;
        let wrong = "sk_live_wrong";
        front.expect_kept_out(front.http.get(DATA).header("x-api-key", wrong).bearer(&secret), &[401]).await;
        front.expect_let_in(front.http.get(DATA).header("x-api-key", &secret).bearer(wrong)).await;
        front.expect_kept_out(front.http.get(&format!("{DATA}?api_key={secret}")).bearer(wrong), &[401]).await;
    }

    async fn a_public_door_tells_of_nobody(front: Front) {
        let (_, secret) = functions(&front).await;
        front.route("/run/open", json!({"public": true})).await;
        for request in [front.http.get("/run/open"), front.http.get("/run/open").header("x-api-key", &secret)] {
            let seen = front.expect_let_in(request).await;
            for name in ["x-consumer-id", "x-consumer-groups", "x-credential-identifier", "x-keyrack-key-name"] {
                assert_eq!(told(&seen, name), ["-"], "{name}");
            }
        }
        front.expect_kept_out(front.http.get("/run/open").header("x-api-key", "sk_live_wrong"), &[401]).await;
    }

    async fn a_body_arrives_unchanged(front: Front) {
        let (_, secret) = functions(&front).await;
        front.route("/run/api/users/:id", json!({"groups": ["analytics"]})).await;
        // Hardly JSON, and nobody reads it on the way.
        let body = "{ \"name\" :\t\"Ada\\u00e9\", \"name\": 1e400 }\r\n";
        let request = front.http.post("/run/api/users/7?x=%41&x=").header("x-api-key", &secret);
        let seen = front.expect_let_in(request.header("content-type", "application/json; charset=utf-8").body(body)).await;
        assert_eq!((&seen["body"], &seen["method"]), (&json!(body), &json!("POST")));
        assert_eq!(seen["target"], "/run/api/users/7?x=%41&x=");
        assert_eq!(told(&seen, "content-type"), ["application/json; charset=utf-8"]);
    }

    async fn what_is_not_open_is_not_there(front: Front) {
        let (_, secret) = functions(&front).await;
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let guard = json!({"groups": ["analytics"]});
        for route in [
            json!({"path": "/run/closed", "guard": guard, "target": target, "enabled": false}),
            json!({"path": "/run/reading", "guard": guard, "target": target, "methods": ["GET"]}),
        ] {
            front.keyrack.owner().post("/api/routes").json(&route).send().await.expect_status(201);
        }
        // nginx can be told of no other.
        let status = if front.kind == Kind::Nginx { 403 } else { 404 };
        for (method, path) in [("GET", "/run/closed"), ("GET", "/run/unknown"), ("GET", "/run"), ("POST", "/run/reading"), ("DELETE", "/run/reading")] {
            for request in [front.http.request(method, path), front.http.request(method, path).bearer(&secret)] {
                front.expect_kept_out(request, &[status]).await;
            }
        }
        front.expect_let_in(front.http.get("/run/reading").bearer(&secret)).await;
    }

    async fn a_key_works_from_its_addresses_only(front: Front) {
        let key = json!({"name": "Website form", "scopes": ["a:read"], "ip_allowlist": ["203.0.113.0/24"]});
        let (id, secret) = front.key(key).await;
        let get = || front.http.get("/v1/a").bearer(&secret);
        front.expect_kept_out(get(), &[403]).await;
        for name in ["x-forwarded-for", "x-real-ip", "forwarded", "x-envoy-external-address", "true-client-ip", "x-client-ip"] {
            let said = if name == "forwarded" { "for=203.0.113.7" } else { "203.0.113.7" };
            front.expect_kept_out(get().header(name, said), &[403]).await;
        }
        // Of callers on its own machine Envoy says an address of that machine, which it also tells the service.
        let (_, anywhere) = front.key(json!({"name": "anywhere", "scopes": ["a:read"]})).await;
        let seen = front.expect_let_in(front.http.get("/v1/a").bearer(&anywhere)).await;
        let address = told(&seen, "x-forwarded-for").last().map_or("127.0.0.1", |hops| hops.rsplit(',').next().unwrap().trim()).to_owned();
        let is_envoy = matches!(front.kind, Kind::Envoy | Kind::EnvoyGrpc);
        assert!(is_envoy || address == "127.0.0.1", "{address}");
        let more = json!({"ip_allowlist": ["203.0.113.0/24", address]});
        front.keyrack.owner().request("PATCH", &format!("/api/keys/{id}")).json(&more).send().await.expect_status(200);
        front.expect_let_in(get()).await;
    }
}
