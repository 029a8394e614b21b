//! Pages of other origins, and browsers that ask before they let them call.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Database, Upstream};
use serde_json::{Value, json};

use crate::support::{Caller as _, expect_refusal, start};

const PAGE: &str = "https://app.example.com";

fn route(path: &str, upstream: &Upstream, cors: &Value) -> Value {
    json!({
        "path": path,
        "guard": {"resource": "a"},
        "target": {"kind": "upstream", "url": upstream.url()},
        "cors": cors,
    })
}

fn preflight(request: Request, origin: &str, method: &str) -> Request {
    request.header("origin", origin).header("access-control-request-method", method)
}

fn allowed(answer: &Answer) -> Vec<&str> {
    answer.headers_named("access-control-allow-origin")
}

keyrack_testkit::both_databases! {
    async fn a_browser_is_told_without_a_key_which_pages_may_call(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let cors = json!({"origins": ["HTTPS://App.Example.com:443", "http://localhost:3000"], "max_age_seconds": 60});
        let made = owner.make("/api/routes", route("/v1/a", &upstream, &cors)).await;
        assert_eq!(made["cors"]["origins"], json!([PAGE, "http://localhost:3000"]), "as browsers write them");

        let ask = |origin, method| preflight(http.request("OPTIONS", "/v1/a"), origin, method);
        let answer = ask(PAGE, "POST").header("access-control-request-headers", "x-api-key,content-type").send().await;
        let answer = answer.expect_status(204);
        assert_eq!(allowed(&answer), [PAGE]);
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, PUT, PATCH, DELETE"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("x-api-key,content-type"));
        assert_eq!(answer.header("access-control-max-age"), Some("60"));
        assert!(answer.headers_named("vary").contains(&"origin"), "{:?}", answer.headers);

        for other in ["https://evil.example", "https://app.example.com.evil.example", "null", "https://app.example.com:444"] {
            let answer = ask(other, "POST").send().await;
            assert!(allowed(&answer).is_empty(), "{other}");
            expect_refusal(answer, 403, "origin_not_allowed");
        }
        // A method that the route does not take, and a path that leads nowhere.
        expect_refusal(ask(PAGE, "BREW").send().await, 404, "not_found");
        let nowhere = preflight(http.request("OPTIONS", "/v1/b"), PAGE, "GET").send().await;
        expect_refusal(nowhere, 404, "not_found");
        // Without the question it is a request like any other.
        let plain = http.request("OPTIONS", "/v1/a").header("origin", PAGE).send().await;
        expect_refusal(plain, 404, "not_found");
        assert_eq!(upstream.count(), 0, "no preflight reaches the service");
    }

    async fn an_answer_says_which_pages_may_see_it_whatever_it_is(database: Database) {
        let upstream = Upstream::answering(|_| async {
            let answer = Response::builder().header("access-control-allow-origin", "*").header("vary", "accept");
            answer.header("access-control-allow-credentials", "true").body(Full::new(Bytes::new())).unwrap()
        })
        .await;
        let keyrack = start(database);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let cors = json!({"origins": [PAGE], "expose": ["X-Total"]});
        let made = owner.make("/api/routes", route("/v1/a", &upstream, &cors)).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["a:read"]})).await;

        let from = |origin: &str| http.get("/v1/a").header("origin", origin);
        let answers = [(from(PAGE).bearer(&key.secret), 200), (from(PAGE).bearer("nope"), 401), (
            http.post("/v1/a").header("origin", PAGE).bearer(&key.secret),
            403,
        )];
        for (request, status) in answers {
            let answer = request.send().await.expect_status(status);
            assert_eq!(allowed(&answer), [PAGE], "{status}");
            assert_eq!(answer.header("access-control-allow-credentials"), None, "what the service says does not count");
            let exposed = answer.header("access-control-expose-headers").unwrap();
            assert!(exposed.contains("retry-after") && exposed.ends_with(", x-total"), "{exposed}");
            assert!(answer.headers_named("vary").contains(&"origin"), "{:?}", answer.headers);
        }
        let answer = from("https://evil.example").bearer(&key.secret).send().await.expect_status(200);
        assert!(allowed(&answer).is_empty(), "no page of theirs sees it");

        // From anywhere, then from nowhere.
        let path = format!("/api/routes/{}", made["id"].as_str().unwrap());
        owner.change(&path, json!({"cors": {"origins": ["*"]}})).await;
        let answer = from("https://any.example").bearer(&key.secret).send().await.expect_status(200);
        assert_eq!(allowed(&answer), ["*"]);
        assert_eq!(answer.headers_named("vary"), ["accept"], "it is the same for all");
        assert_eq!(owner.change(&path, json!({"cors": null})).await["cors"], Value::Null);
        let answer = from(PAGE).bearer(&key.secret).send().await.expect_status(200);
        assert_eq!(allowed(&answer), ["*"], "the service speaks for itself again");
        let asked = preflight(http.request("OPTIONS", "/v1/a"), PAGE, "GET").send().await;
        expect_refusal(asked, 404, "not_found");
    }

    async fn what_no_browser_could_follow_is_refused(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        for (cors, field) in [
            (json!({"origins": []}), "cors.origins"),
            (json!({"origins": ["*", PAGE]}), "cors.origins"),
            (json!({"origins": ["*"], "credentials": true}), "cors.origins"),
            (json!({"origins": [PAGE, "app.example.com"]}), "cors.origins[1]"),
            (json!({"origins": ["https://app.example.com/"]}), "cors.origins[0]"),
            (json!({"origins": ["ftp://app.example.com"]}), "cors.origins[0]"),
            (json!({"origins": ["null"]}), "cors.origins[0]"),
            (json!({"origins": [PAGE], "headers": ["x y"]}), "cors.headers[0]"),
            (json!({"origins": [PAGE], "expose": ["x", ""]}), "cors.expose[1]"),
            (json!({"origins": [PAGE], "max_age_seconds": 86_401}), "cors.max_age_seconds"),
        ] {
            let answer = owner.post("/api/routes").json(&route("/v1/a", &upstream, &cors)).send().await.expect_status(400);
            assert_eq!(answer.json()["details"][0]["field"], field, "{cors}");
        }
        let mut with_sessions = route("/v1/a", &upstream, &json!({"origins": [PAGE], "credentials": true}));
        with_sessions["guard"]["sessions"] = json!(true);
        let answer = owner.post("/api/routes").json(&with_sessions).send().await.expect_status(400);
        assert_eq!(answer.json()["details"][0]["field"], "cors.credentials");
        assert_eq!(owner.show("/api/routes").await["data"], json!([]));
    }
}
