//! The tower layer beside the other doors: in process, asking a running keyrack, and the gateway say the same of the same keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use data_encoding::BASE64;
use keyrack_engine::{Clock as _, Engine, EngineRole, Keyfile, OsRandom, Parts, Store, SystemClock};
use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Database, Http, Keyrack, Upstream, both_databases};
use keyrack_tower::{Grant, Keyrack as Tower, RequireKey, Role};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{INVALID_API_KEY, in_seconds, start, text, wait_for};

/// The same doors, as the layer is asked for them.
fn doors() -> [(&'static str, RequireKey); 6] {
    [
        ("/scope", RequireKey::scope("contacts:read").query_key()),
        ("/resource", RequireKey::resource("contacts")),
        ("/group", RequireKey::scope("contacts:read").groups(["partners"])),
        ("/role", RequireKey::scope("contacts:read").roles([Role::Admin])),
        ("/sales", RequireKey::scope("contacts:read").workspace("sales")),
        ("/public", RequireKey::public()),
    ]
}

/// And as routes are asked for them.
fn guards() -> [(&'static str, Value); 6] {
    [
        ("/scope", json!({"scope": "contacts:read", "query_key": true})),
        ("/resource", json!({"resource": "contacts"})),
        ("/group", json!({"scope": "contacts:read", "groups": ["partners"]})),
        ("/role", json!({"scope": "contacts:read", "roles": ["admin"]})),
        ("/sales", json!({"scope": "contacts:read", "workspace": "sales"})),
        ("/public", json!({"public": true})),
    ]
}

/// A service on axum behind the doors of a layer. It says who was let in, and counts.
async fn serve(keyrack: &Tower, reached: &Arc<AtomicUsize>) -> Http {
    let app = doors().into_iter().fold(Router::new(), |app, (path, asked)| {
        let reached = Arc::clone(reached);
        let handler = async move |grant: Option<Grant>| {
            reached.fetch_add(1, Ordering::SeqCst);
            serde_json::to_string(&grant).unwrap()
        };
        app.route(path, any(handler).layer(keyrack.require(asked).unwrap()))
    });
    listen(app).await
}

async fn listen(app: Router) -> Http {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Http::new(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    http
}

/// An engine on the database of a running keyrack, as the command line has one.
async fn guest(keyrack: &Keyrack) -> Arc<Engine> {
    let clock = Arc::new(SystemClock);
    let keyfile = Keyfile::load(&keyrack.keyfile).unwrap().unwrap();
    let parts = Parts {
        store: Store::open(&keyrack.database_url, clock.now()).await.unwrap(),
        clock,
        random: Arc::new(OsRandom::default()),
        peppers: keyfile.peppers(),
        master_keys: keyfile.master_keys(),
        keyfile: None,
        master_key_days: None,
    };
    Engine::start(parts, EngineRole::Guest { keys: true }).await.unwrap()
}

/// Three doors to the same: the layer in process, the layer that asks, and the gateway.
struct World {
    keyrack: Keyrack,
    verifier: String,
    upstream: Upstream,
    reached: Arc<AtomicUsize>,
}

impl World {
    async fn new(database: Database) -> Self {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let world = Self { keyrack, verifier: String::new(), upstream, reached: Arc::default() };
        world.make("/api/groups", json!({"name": "partners"})).await;
        for slug in ["sales", "support"] {
            world.make("/api/workspaces", json!({"slug": slug})).await;
        }
        for (path, guard) in guards() {
            let target = json!({"kind": "upstream", "url": world.upstream.url()});
            world.make("/api/routes", json!({"path": path, "guard": guard, "target": target})).await;
        }
        let scopes = json!(["keyrack.verification:read"]);
        let verifier = world.key(json!({"name": "verifier", "group": "management", "scopes": scopes})).await.1;
        Self { verifier, ..world }
    }

    async fn make(&self, path: &str, body: Value) -> Value {
        self.keyrack.owner().post(path).json(&body).send().await.expect_status(201).json()
    }

    /// The id and the text of a new key that may read contacts, if nothing else is said.
    async fn key(&self, mut key: Value) -> (String, String) {
        if key["scopes"].is_null() {
            key["scopes"] = json!(["contacts:read"]);
        }
        let made = self.make("/api/keys", key).await;
        (text(&made["key"]["id"]), text(&made["secret"]))
    }

    async fn doors(&self) -> [(&'static str, Http); 3] {
        let own = self.keyrack.organization_id.parse().unwrap();
        let in_process = Tower::in_process(guest(&self.keyrack).await, own);
        [
            ("in process", serve(&in_process, &self.reached).await),
            ("asking", serve(&self.asking(&self.verifier), &self.reached).await),
            ("gateway", self.keyrack.http()),
        ]
    }

    fn asking(&self, key: &str) -> Tower {
        Tower::remote(&self.keyrack.url(), key).unwrap().timeout(Duration::from_secs(20))
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst) + self.upstream.count()
    }
}

/// What an outsider sees of a refusal, but for the name of the request.
fn seen(answer: &Answer) -> Value {
    let mut body = answer.json();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("request_id");
    }
    let headers = [
        "www-authenticate",
        "content-type",
        "cache-control",
        "x-content-type-options",
        "ratelimit-policy",
        "x-ratelimit-limit",
    ];
    let headers: Vec<_> = headers.iter().map(|name| answer.header(name)).collect();
    let waits = answer.header("retry-after").is_some();
    json!([answer.status, body, headers, waits])
}

type Ask = Box<dyn Fn(&Http) -> Request>;

fn keyed(path: &'static str, key: &str) -> Ask {
    let key = key.to_owned();
    Box::new(move |http| http.get(path).header("x-api-key", &key))
}

fn twice(path: &'static str, key: &str) -> Ask {
    let key = key.to_owned();
    Box::new(move |http| http.get(path).header("x-api-key", &key).header("x-api-key", &key))
}

fn with(path: &'static str, method: &'static str, name: &'static str, value: String) -> Ask {
    Box::new(move |http| http.request(method, path).header(name, &value))
}

both_databases! {
    async fn every_door_says_the_same_of_the_same_keys(database: Database) {
        let world = World::new(database).await;
        let good = world.key(json!({"name": "good"})).await.1;
        let writer = world.key(json!({"name": "writer", "scopes": ["notes:write"]})).await.1;
        let partner = world.key(json!({"name": "partner", "group": "partners"})).await.1;
        let admin = world.key(json!({"name": "admin", "group": "management"})).await.1;
        let sales = world.key(json!({"name": "sales", "workspace": "sales"})).await.1;
        let support = world.key(json!({"name": "support", "workspace": "support"})).await.1;
        let elsewhere = world.key(json!({"name": "elsewhere", "ip_allowlist": ["203.0.113.7"]})).await.1;
        let here = world.key(json!({"name": "here", "ip_allowlist": ["127.0.0.1"]})).await.1;
        let limited = world.key(json!({"name": "limited", "rate_limits": [{"limit": 1, "window_seconds": 30}]})).await.1;
        let (id, revoked) = world.key(json!({"name": "revoked"})).await;
        world.keyrack.owner().post(&format!("/api/keys/{id}/revoke")).json(&json!({})).send().await.expect_status(200);
        let (id, disabled) = world.key(json!({"name": "disabled"})).await;
        let off = json!({"enabled": false});
        world.keyrack.owner().request("PATCH", &format!("/api/keys/{id}")).json(&off).send().await.expect_status(200);
        let expired = world.key(json!({"name": "expired", "expires_at": in_seconds(1).to_string()})).await.1;
        world.make("/api/organizations", json!({"slug": "beta", "owner_email": world.keyrack.owner_email})).await;
        let foreign = world.keyrack.command("keys").args(["create", "--organization", "beta", "--name", "foreign", "--scope", "contacts:read", "--json"]);
        let foreign = text(&foreign.run().success().json()["secret"]);
        let unknown = "sk_live_BUHOBUka1pGvFkeWMiEnATMcxJJczIDYfvjhlVfFVEL1e2qpc";
        let none = "";
        let invalid = "invalid_api_key";
        let cases: Vec<(&str, Ask, u16, &str)> = vec![
            ("good", keyed("/scope", &good), 200, none),
            ("bearer", with("/scope", "GET", "authorization", format!("Bearer {good}")), 200, none),
            ("Basic", with("/scope", "GET", "authorization", format!("Basic {}", BASE64.encode(format!(":{good}").as_bytes()))), 200, none),
            ("nothing", Box::new(|http| http.get("/scope")), 401, invalid),
            ("unknown", keyed("/scope", unknown), 401, invalid),
            ("revoked", keyed("/scope", &revoked), 401, invalid),
            ("disabled", keyed("/scope", &disabled), 401, invalid),
            ("expired", keyed("/scope", &expired), 401, invalid),
            ("another organization", keyed("/scope", &foreign), 401, invalid),
            ("junk", keyed("/scope", "junk"), 401, invalid),
            ("junk that could be a token", keyed("/scope", &"x".repeat(200)), 401, invalid),
            ("twice", twice("/scope", &good), 401, invalid),
            ("joined", keyed("/scope", &format!("{good},{good}")), 401, invalid),
            ("Basic with a user", with("/scope", "GET", "authorization", "Basic dXNlcjpwYXNz".to_owned()), 401, invalid),
            ("another scope", keyed("/scope", &writer), 403, "insufficient_scope"),
            ("another address", keyed("/scope", &elsewhere), 403, "ip_not_allowed"),
            ("its address", keyed("/scope", &here), 200, none),
            ("reading", with("/resource", "GET", "x-api-key", good.clone()), 200, none),
            ("writing", with("/resource", "POST", "x-api-key", good.clone()), 403, "insufficient_scope"),
            ("another group", keyed("/group", &good), 401, invalid),
            ("the group", keyed("/group", &partner), 200, none),
            ("another role", keyed("/role", &good), 403, "insufficient_role"),
            ("the role", keyed("/role", &admin), 200, none),
            ("the workspace", keyed("/sales", &sales), 200, none),
            ("another workspace", keyed("/sales", &support), 401, invalid),
            ("no workspace, at a door of one", keyed("/sales", &good), 200, none),
            ("a workspace, at a door of none", keyed("/scope", &sales), 401, invalid),
            ("nobody, at a public door", Box::new(|http| http.get("/public")), 200, none),
            ("somebody, at a public door", keyed("/public", &good), 200, none),
            ("a bad key at a public door", keyed("/public", &revoked), 401, invalid),
            ("another scheme at a public door", with("/public", "GET", "authorization", "Basic dXNlcjpwYXNz".to_owned()), 200, none),
        ];
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let doors = world.doors().await;
        for (what, ask, status, code) in &cases {
            let mut first = None;
            for (door, http) in &doors {
                let before = world.reached();
                let answer = ask(http).send().await;
                assert_eq!(answer.status, *status, "{what}, {door}: {}", answer.text());
                assert_eq!(world.reached() - before, usize::from(*status == 200), "{what}, {door}");
                if *status == 200 {
                    continue;
                }
                assert_eq!(answer.json()["error"], *code, "{what}, {door}");
                if *status == 401 {
                    assert_eq!(answer.text(), INVALID_API_KEY, "{what}, {door}");
                }
                let seen = seen(&answer);
                assert_eq!(&seen, first.get_or_insert_with(|| seen.clone()), "{what}, {door}");
            }
        }
        // Each process counts its own.
        same_429(&doors, &limited).await;
        let owner = world.keyrack.owner();
        let path = format!("/api/organizations/{}", world.keyrack.organization_id);
        owner.request("PATCH", "/api/tiers").json(&json!({"free": {"monthly_limit": 0}})).send().await.expect_status(200);
        owner.request("PATCH", &path).json(&json!({"tier": "free"})).send().await.expect_status(200);
        let doors = world.doors().await;
        let seen = same_429(&doors, &good).await;
        assert_eq!(seen[1], json!({"error": "rate_limit_exceeded", "message": "Monthly quota exhausted"}));
    }
}

/// Asks at each door until it refuses; all have to refuse alike.
async fn same_429(doors: &[(&'static str, Http); 3], key: &str) -> Value {
    let mut refusals = Vec::new();
    for (door, http) in doors {
        let mut answer = keyed("/scope", key)(http).send().await;
        if answer.status == 200 {
            answer = keyed("/scope", key)(http).send().await;
        }
        refusals.push((door, seen(&answer.expect_status(429))));
    }
    for (door, refusal) in &refusals {
        assert_eq!(refusal, &refusals[0].1, "{door}");
    }
    refusals.swap_remove(0).1
}

#[tokio::test]
async fn the_layer_tells_the_same_of_who_was_let_in_whoever_decides() {
    let world = World::new(Database::Sqlite).await;
    let owner = world.keyrack.owner();
    let path = format!("/api/organizations/{}", world.keyrack.organization_id);
    let [(_, in_process), (_, asking), _] = world.doors().await;
    let new = json!({"name": "told", "workspace": "sales", "expires_at": in_seconds(3600).to_string()});
    let key = world.key(new).await.1;
    // The one in process has read its keys before this one was made.
    drop(in_process);
    for tier in ["enterprise", "free"] {
        owner.request("PATCH", &path).json(&json!({"tier": tier, "quota_used": 0})).send().await.expect_status(200);
        let [(_, in_process), ..] = world.doors().await;
        let grant = async |http: &Http| keyed("/sales", &key)(http).send().await.expect_status(200).json();
        let (mut here, mut there) = (grant(&in_process).await, grant(&asking).await);
        for grant in [&mut here, &mut there] {
            let used = grant["organization"]["billing"]["used"].take();
            assert_eq!(used.is_u64(), tier == "free", "{grant}");
        }
        assert_eq!(here, there);
        assert_eq!((&here["organization"]["slug"], &here["workspace"]["slug"]), (&json!("acme"), &json!("sales")));
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_next_request_on_where_a_keyrack_is_asked() {
    let world = World::new(Database::Sqlite).await;
    let http = serve(&world.asking(&world.verifier), &world.reached).await;
    for name in 0..10 {
        let (id, key) = world.key(json!({"name": name.to_string()})).await;
        keyed("/scope", &key)(&http).send().await.expect_status(200);
        let revoke = world.keyrack.owner().post(&format!("/api/keys/{id}/revoke")).json(&json!({}));
        revoke.send().await.expect_status(200);
        let before = world.reached();
        assert_eq!(keyed("/scope", &key)(&http).send().await.text(), INVALID_API_KEY);
        assert_eq!(world.reached(), before);
    }
}

#[tokio::test]
async fn asking_with_the_key_of_an_instance_admin_lets_no_other_organization_in() {
    let world = World::new(Database::Sqlite).await;
    world.make("/api/organizations", json!({"slug": "beta", "owner_email": world.keyrack.owner_email})).await;
    let foreign = world.keyrack.command("keys").args([
        "create",
        "--organization",
        "beta",
        "--name",
        "foreign",
        "--scope",
        "contacts:read",
        "--json",
    ]);
    let foreign = text(&foreign.run().success().json()["secret"]);
    let own = world.asking(&world.keyrack.management_key);
    let everybody = own.clone().any_organization().require(RequireKey::scope("contacts:read")).unwrap();
    let own = serve(&own, &world.reached).await;
    assert_eq!(keyed("/scope", &foreign)(&own).send().await.text(), INVALID_API_KEY);
    assert_eq!(keyed("/public", &foreign)(&own).send().await.text(), INVALID_API_KEY);
    let slug = any(async |grant: Grant| grant.organization.slug.to_string());
    let everybody = listen(Router::new().route("/scope", slug).route_layer(everybody)).await;
    assert_eq!(keyed("/scope", &foreign)(&everybody).send().await.text(), "beta");
}

#[tokio::test]
async fn nothing_passes_while_the_keyrack_that_is_asked_is_away_slow_or_refuses() {
    let mut world = World::new(Database::Sqlite).await;
    let key = world.key(json!({"name": "good"})).await.1;
    let asking = serve(&world.asking(&world.verifier), &world.reached).await;
    keyed("/scope", &key)(&asking).send().await.expect_status(200);
    let before = world.reached();
    // A key that may not ask.
    let refused = serve(&world.asking(&key), &world.reached).await;
    // Somebody who takes a connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Tower::remote(&format!("http://{}", silent.local_addr().unwrap()), &world.verifier)
        .map(|tower| (tower, silent))
        .unwrap();
    let slow = serve(&silent.0, &world.reached).await;
    let not_an_answer = Upstream::start().await;
    let nonsense = Tower::remote(&not_an_answer.url(), &world.verifier).unwrap();
    let nonsense = serve(&nonsense, &world.reached).await;
    world.keyrack.stop();
    for (what, http) in [("away", &asking), ("refused", &refused), ("slow", &slow), ("nonsense", &nonsense)] {
        for path in ["/scope", "/public"] {
            let begun = Instant::now();
            let answer = keyed(path, &key)(http).send().await.expect_status(503);
            assert_eq!(
                (answer.json()["error"].as_str(), answer.header("retry-after")),
                (Some("unavailable"), Some("1")),
                "{what}"
            );
            assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
        }
        assert_eq!(
            http.get("/scope").send().await.text(),
            INVALID_API_KEY,
            "{what}: nobody has to be asked about nobody"
        );
    }
    let passed = before + 4;
    for http in [&asking, &refused, &slow, &nonsense] {
        http.get("/public").send().await.expect_status(200);
    }
    assert_eq!(world.reached(), passed, "only those without a key, at the public door");
}

#[tokio::test]
async fn a_request_that_was_asked_about_is_counted_by_its_route_and_cost() {
    let world = World::new(Database::Sqlite).await;
    let (id, key) = world.key(json!({"name": "counted"})).await;
    let layer = world.asking(&world.verifier).require(RequireKey::any().cost(5)).unwrap();
    let http = listen(Router::new().route("/contacts/{id}", any(async || "in")).route_layer(layer)).await;
    for _ in 0..3 {
        http.post("/contacts/17").bearer(&key).send().await.expect_status(200);
    }
    let usage = wait_for("the usage", async || {
        let usage = world.keyrack.owner().get(&format!("/api/keys/{id}/usage")).send().await.expect_status(200).json();
        (usage["total"]["granted"] == 3).then_some(usage)
    });
    let usage = usage.await;
    assert_eq!(usage["total"]["units"], 15, "{usage}");
    assert_eq!(
        (&usage["endpoints"][0]["endpoint"], &usage["endpoints"][0]["method"]),
        (&json!("/contacts/{id}"), &json!("POST")),
        "{usage}"
    );
}
