//! Groups of keys in front of small functions: what somebody needs who publishes a few of them.
//!
//! The functions are scripts that say what reached them; each run knocks at an upstream too, which counts.

use std::time::Duration;

use keyrack_testkit::http::Request;
use keyrack_testkit::{Database, Http, Keyrack, Upstream};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Caller as _, KEYRACK, Key, Person, busy, each, expect_refusal, expect_unknown, seen_headers, text,
};

const DATA: &str = "/run/api/data";

/// Says what reached it, and what it knows of its caller.
const FUNCTION: &str = r#"
    export default async function (request, ctx) {
        await fetch("COUNTER/ran");
        const url = new URL(request.url);
        return Response.json({
            method: request.method, target: url.pathname + url.search, headers: [...request.headers], body: await request.text(),
            group: ctx.authenticatedKeyGroup, key: ctx.authenticatedKey, params: ctx.params,
            database: await ctx.getSecret("DATABASE_URL"),
        });
    }"#;

keyrack_testkit::both_databases! {
    async fn a_group_of_keys_opens_its_functions_and_no_others(database: Database) {
        let mut walk = Walk::begin(database).await;
        walk.only_access_groups_manage().await;
        let key = walk.groups_and_names_follow_their_rules().await;
        walk.a_key_may_come_in_six_ways(&key).await;
        walk.other_credentials_do_not_run_the_function(&key).await;
        walk.the_first_carrier_that_holds_something_decides(&key).await;
        walk.a_public_function_learns_nothing_of_a_key(&key).await;
        walk.a_body_arrives_unchanged(&key).await;
        walk.what_is_not_open_is_not_there(&key).await;
        walk.a_group_in_use_is_not_deleted(&key).await;
        walk.wrong_keys_take_the_same_time(&key).await;
        walk.no_key_is_in_the_log(&key);
        walk.the_management_group_is_one_like_any_other().await;
    }
}

struct Walk {
    keyrack: Keyrack,
    upstream: Upstream,
    http: Http,
    /// The management key.
    owner: Http,
    /// The owner, signed in.
    ada: Person,
}

impl Walk {
    async fn begin(database: Database) -> Self {
        let keyrack =
            Keyrack::setup(KEYRACK, database).args(["--egress-allow", "127.0.0.1/32", "--log-level", "trace"]);
        let keyrack = keyrack.start();
        let upstream = Upstream::start().await;
        let ada = Person::owner(&keyrack).await;
        Self { http: keyrack.http(), owner: keyrack.owner(), ada, upstream, keyrack }
    }

    fn target(&self) -> Value {
        json!({"kind": "script", "source": FUNCTION.replace("COUNTER", &self.upstream.url())})
    }

    /// The id of a new function.
    async fn function(&self, path: &str, guard: Value) -> String {
        let new = json!({"path": path, "guard": guard, "target": self.target()});
        text(&self.owner.make("/api/routes", new).await["id"])
    }

    async fn group(&self, name: &str) -> Value {
        let groups = self.ada.show("/api/groups").await;
        groups["data"].as_array().unwrap().iter().find(|group| group["name"] == name).unwrap().clone()
    }

    /// Keys of other groups are unknown there, whatever their scopes.
    async fn only_access_groups_manage(&self) {
        let mobile = json!({"name": "mobile", "default_scopes": ["keyrack.*:admin"]});
        self.owner.make("/api/groups", mobile).await;
        let management = self.owner.make_key(json!({"name": "deploy", "group": "management"})).await;
        let other = self.owner.make_key(json!({"name": "app", "group": "mobile"})).await;
        let groups = self.http.get("/api/groups").header("x-api-key", &management.secret).send().await;
        assert!(each(&groups.expect_status(200).json(), "name").contains(&"management".to_owned()));
        expect_unknown(self.http.get("/api/groups").header("x-api-key", &other.secret).send().await);
        expect_unknown(self.http.get("/api/groups").send().await);
    }

    /// A name is unique among the keys of its group.
    async fn groups_and_names_follow_their_rules(&self) -> Key {
        let analytics = json!({"name": "analytics", "key_format": {"prefix": "", "body": "base64url"}});
        self.owner.make("/api/groups", analytics.clone()).await;
        for name in ["Bad Name", "UPPER", "", "dot.ted", "é"] {
            let request = self.owner.post("/api/groups").json(&json!({"name": name}));
            expect_refusal(request.send().await, 400, "invalid_request");
        }
        self.owner.post("/api/groups").json(&analytics).send().await.expect_status(409);

        let named = |group: &str| json!({"name": "prod-server-1", "group": group});
        let key = self.owner.make_key(named("analytics")).await;
        self.owner.make_key(named("mobile")).await;
        self.owner.post("/api/keys").json(&named("analytics")).send().await.expect_status(409);
        let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        assert!(key.secret.len() == 43 && key.secret.bytes().all(is_url_safe), "{}", key.secret);
        key
    }

    /// Each of them goes no further than the door.
    async fn a_key_may_come_in_six_ways(&self, key: &Key) {
        let guard = json!({"groups": ["analytics"], "query_key": true});
        self.function(DATA, guard).await;
        let production = json!({"name": "DATABASE_URL", "value": "production", "scope": "global"});
        self.owner.make("/api/secrets", production).await;
        let own = json!({"name": "DATABASE_URL", "value": "readonly", "scope": "group", "owner": "analytics"});
        self.owner.make("/api/secrets", own).await;
        let secret = &key.secret;
        let basic = data_encoding::BASE64.encode(format!(":{secret}").as_bytes());
        let get = |query: &str| self.http.get(&format!("{DATA}{query}"));
        for request in [
            get("").header("x-api-key", secret),
            get("").header("authorization", format!("Bearer {secret}")),
            get("").header("authorization", secret),
            get("").header("authorization", format!("Basic {basic}")),
            get(&format!("?api_key={secret}")),
            get(&format!("?apiKey={secret}")),
        ] {
            let seen = request.send().await.expect_status(200).json();
            assert_eq!(seen_headers(&seen, "x-consumer-groups"), ["analytics"]);
            assert_eq!(seen_headers(&seen, "x-credential-identifier"), [key.id.as_str()]);
            assert_eq!((&seen["target"], &seen["group"]), (&json!(DATA), &json!("analytics")));
            assert_eq!((&seen["key"]["name"], &seen["database"]), (&json!("prod-server-1"), &json!("readonly")));
            assert!(!seen.to_string().contains(secret), "the key is between the caller and the door: {seen}");
        }
    }

    async fn is_refused(&self, request: Request) {
        let reached = self.upstream.count();
        expect_unknown(request.send().await);
        assert_eq!(self.upstream.count(), reached, "the function ran");
    }

    /// Nor does what stands in the place of a key twice.
    async fn other_credentials_do_not_run_the_function(&self, key: &Key) {
        let other = self.owner.make_key(json!({"name": "other", "group": "mobile"})).await;
        let basic = data_encoding::BASE64.encode(format!("bob:{}", key.secret).as_bytes());
        let get = || self.http.get(DATA);
        self.is_refused(get()).await;
        self.is_refused(get().header("authorization", format!("Basic {basic}"))).await;
        self.is_refused(get().header("authorization", format!("Digest username=\"{}\"", key.secret))).await;
        self.is_refused(get().header("x-api-key", &other.secret)).await;
        self.is_refused(get().header("x-api-key", &key.secret).header("x-api-key", &key.secret)).await;
        self.is_refused(get().header("authorization", format!("Bearer {0}, Bearer {0}", key.secret))).await;
        let both = self.http.get(&format!("{DATA}?api_key={0}&apiKey={0}", key.secret));
        self.is_refused(both).await;
    }

    /// A right key behind a wrong one saves nothing.
    async fn the_first_carrier_that_holds_something_decides(&self, key: &Key) {
        let (right, wrong) = (&key.secret, "wrong".repeat(9)[..43].to_owned());
        self.is_refused(self.http.get(DATA).header("x-api-key", &wrong).bearer(right)).await;
        let saved = self.http.get(DATA).header("x-api-key", right).bearer(&wrong).send().await;
        let seen = saved.expect_status(200).json();
        assert!(
            seen_headers(&seen, "authorization").is_empty(),
            "the second credential goes no further either: {seen}"
        );
        self.is_refused(self.http.get(&format!("{DATA}?api_key={right}")).bearer(&wrong)).await;
        let empty = self.http.get(&format!("{DATA}?api_key={right}")).header("x-api-key", "").send().await;
        empty.expect_status(200);
    }

    /// And it takes no wrong one.
    async fn a_public_function_learns_nothing_of_a_key(&self, key: &Key) {
        self.function("/run/open", json!({"public": true})).await;
        let with_key = self.http.get("/run/open").header("x-api-key", &key.secret).send().await;
        let without = self.http.get("/run/open").send().await;
        for answer in [with_key, without] {
            let seen = answer.expect_status(200).json();
            for name in ["x-consumer-id", "x-consumer-groups", "x-credential-identifier", "x-keyrack-key-name"] {
                assert_eq!(seen_headers(&seen, name), ["-"], "{name}");
            }
            assert!(!seen.to_string().contains(&key.secret));
            assert_eq!(
                (&seen["group"], &seen["key"], &seen["database"]),
                (&Value::Null, &Value::Null, &json!("production"))
            );
        }
        // What is there must be good all the same.
        self.is_refused(self.http.get("/run/open").header("x-api-key", "wrong")).await;
        // Another scheme is between the caller and the function.
        let seen = self.http.get("/run/open").header("authorization", "Basic Ym9iOng=").send().await.json();
        assert_eq!(seen_headers(&seen, "authorization"), ["Basic Ym9iOng="]);
    }

    /// Not even read: this one is hardly JSON.
    async fn a_body_arrives_unchanged(&self, key: &Key) {
        self.function("/run/api/users/:id", json!({"groups": ["analytics"]})).await;
        let body = "{ \"name\" :\t\"Ada\\u00e9\", \"name\": 1e400 }\r\n";
        let request = self.http.post("/run/api/users/7?x=%41&x=").header("x-api-key", &key.secret);
        let sent = request.header("content-type", "application/json; charset=utf-8").body(body).send().await;
        let seen = sent.expect_status(200).json();
        assert_eq!((&seen["body"], &seen["method"]), (&json!(body), &json!("POST")));
        assert_eq!(seen["target"], "/run/api/users/7?x=%41&x=");
        assert_eq!(seen_headers(&seen, "content-type"), ["application/json; charset=utf-8"]);
        assert_eq!(seen["params"], json!({"id": "7"}));
    }

    /// With a key and without.
    async fn what_is_not_open_is_not_there(&self, key: &Key) {
        let target = self.target();
        let closed =
            json!({"path": "/run/closed", "guard": {"groups": ["analytics"]}, "target": target, "enabled": false});
        let closed = text(&self.owner.make("/api/routes", closed).await["id"]);
        let reading =
            json!({"path": "/run/reading", "methods": ["GET"], "guard": {"groups": ["analytics"]}, "target": target});
        self.owner.make("/api/routes", reading).await;
        let reached = self.upstream.count();
        for (method, path) in [
            ("GET", "/run/closed"),
            ("GET", "/run/unknown"),
            ("GET", "/run"),
            ("GET", "/run/api/users/7/more"),
            ("POST", "/run/reading"),
            ("DELETE", "/run/reading"),
            ("OPTIONS", "/run/reading"),
        ] {
            for request in [self.http.request(method, path), self.http.request(method, path).bearer(&key.secret)] {
                expect_refusal(request.send().await, 404, "not_found");
            }
        }
        assert_eq!(self.upstream.count(), reached);
        for method in ["GET", "HEAD"] {
            self.http.request(method, "/run/reading").bearer(&key.secret).send().await.expect_status(200);
        }
        self.owner.change(&format!("/api/routes/{closed}"), json!({"enabled": true})).await;
        self.http.get("/run/closed").bearer(&key.secret).send().await.expect_status(200);
    }

    /// By live keys, or by a door that names it.
    async fn a_group_in_use_is_not_deleted(&self, key: &Key) {
        let path = format!("/api/groups/{}", text(&self.group("mobile").await["id"]));
        let refused = self.owner.request("DELETE", &path).send().await.expect_status(409).json();
        assert!(refused["details"].to_string().contains("prod-server-1"), "{refused}");
        for id in each(&self.owner.show("/api/keys?group=mobile").await, "id") {
            self.owner.delete(&format!("/api/keys/{id}")).await;
        }
        let guard = json!({"groups": ["mobile", "analytics"]});
        let door = format!("/api/routes/{}", self.function("/run/mobile", guard).await);
        let refused = self.owner.request("DELETE", &path).send().await;
        let refused = expect_refusal(refused, 409, "in_use").json();
        assert!(refused["details"].to_string().contains("/run/mobile"), "{refused}");
        self.owner.delete(&door).await;
        self.owner.delete(&path).await;
        self.http.get(DATA).bearer(&key.secret).send().await.expect_status(200);
    }

    /// Only a smoke check: it would see a comparison that ends at the first wrong character of many, not one
    /// that leaks nanoseconds; that the comparison takes constant time is shown where it is made.
    async fn wrong_keys_take_the_same_time(&self, key: &Key) {
        const TRIES: usize = 300;
        let (body, last) = key.secret.split_at(42);
        let almost = format!("{body}{}", if last == "A" { "Q" } else { "A" });
        let nothing_right: String = key.secret.chars().map(|c| if c == 'A' { 'B' } else { 'A' }).collect();
        let _turn = busy().await;
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..TRIES {
            for (wrong, times) in [&almost, &nothing_right].into_iter().zip(&mut times) {
                let request = self.http.get(DATA).header("x-api-key", wrong);
                let began = Instant::now();
                let answer = request.send().await;
                times.push(began.elapsed());
                expect_unknown(answer);
            }
        }
        let [almost, nothing_right] = times.map(|mut times| {
            times.sort_unstable();
            times[TRIES / 2]
        });
        let bound = almost.min(nothing_right) / 2 + Duration::from_millis(1);
        assert!(almost.abs_diff(nothing_right) < bound, "{almost:?} and {nothing_right:?}");
    }

    /// Wherever it stood, also in a query.
    fn no_key_is_in_the_log(&self, key: &Key) {
        let log = self.keyrack.output();
        assert!(log.contains("TRACE"), "the log is meant to tell everything");
        assert!(!log.contains(&key.secret));
    }

    /// It may be renamed and deleted, and does not come back; people go on managing.
    async fn the_management_group_is_one_like_any_other(&mut self) {
        let path = format!("/api/groups/{}", text(&self.group("management").await["id"]));
        self.owner.change(&path, json!({"name": "ops"})).await;
        self.owner.show("/api/keys").await;
        assert_eq!(self.owner.show("/api/settings").await["access_groups"], json!(["ops"]));

        for id in each(&self.ada.show("/api/keys?group=ops").await, "id") {
            self.ada.delete(&format!("/api/keys/{id}")).await;
        }
        expect_unknown(self.owner.get("/api/keys").send().await);
        let refused = expect_refusal(self.ada.ask("DELETE", &path).send().await, 409, "in_use").json();
        assert!(refused["details"].to_string().contains("access_groups"), "{refused}");
        self.ada.change("/api/settings", json!({"access_groups": []})).await;
        self.ada.delete(&path).await;

        self.keyrack.restart();
        let ada = Person::owner(&self.keyrack).await;
        let names = each(&ada.show("/api/groups").await, "name");
        assert!(names.contains(&"analytics".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name == "management" || name == "ops"), "{names:?}");
        let key = ada.make_key(json!({"name": "after", "group": "analytics"})).await;
        self.keyrack.http().get(DATA).bearer(&key.secret).send().await.expect_status(200);
    }
}
