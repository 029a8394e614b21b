//! Whoever is kept out is told the same as at every other door, and the service does not hear of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::{any, get};
use keyrack_core::{Role, Tier};
use keyrack_engine::{Context, KeyPatch, NewKey};
use keyrack_testkit::http::Request;
use keyrack_testkit::{Database, Http, both_databases};
use keyrack_tower::RequireKey;

use crate::support::{World, from, get as ask, is_unknown, named, serve};

/// A service that counts what reaches it, behind one door at each path.
async fn doors(world: &World, reached: &Arc<AtomicUsize>) -> Http {
    let doors = [
        ("/any", RequireKey::any()),
        ("/scope", RequireKey::scope("contacts:read")),
        ("/resource", RequireKey::resource("contacts")),
        ("/group", RequireKey::scope("contacts:read").groups(["partners"])),
        ("/no-group", RequireKey::any().groups([""; 0])),
        ("/role", RequireKey::any().roles([Role::Admin])),
        ("/sales", RequireKey::any().workspace("sales")),
        ("/query", RequireKey::any().query_key()),
        ("/public", RequireKey::public()),
    ];
    let app = doors.into_iter().fold(Router::new(), |app, (path, asked)| {
        let reached = Arc::clone(reached);
        let handler = move || {
            reached.fetch_add(1, Ordering::SeqCst);
            async { "in" }
        };
        app.route(path, any(handler).layer(world.require(asked)))
    });
    serve(app).await
}

both_databases! {
    async fn no_denial_reaches_the_service(database: Database) {
        let world = World::new(database).await;
        let reached = Arc::default();
        let http = doors(&world, &reached).await;
        let host = Context::host(world.acme);
        let (_, good) = world.reader().await;
        let (revoked_id, revoked) = world.key(named("revoked")).await;
        world.engine.revoke_key(&host, revoked_id, None).await.unwrap();
        let (disabled_id, disabled) = world.key(named("disabled")).await;
        world.engine.update_key(&host, disabled_id, KeyPatch { enabled: Some(false), ..KeyPatch::default() }).await.unwrap();
        let soon = keyrack_core::from_micros(keyrack_core::micros(world.engine.now()) + 60_000_000);
        let (_, expired) = world.key(NewKey { expires_at: Some(soon), ..named("expired") }).await;
        world.clock.advance(61);
        let (_, foreign) = world.key_of(world.beta, named("foreign")).await;
        let of = |slug: &str| NewKey { workspace: Some(slug.to_owned()), ..named(slug) };
        let ((_, sales), (_, support)) = (world.key(of("sales")).await, world.key(of("support")).await);
        let unknown = "sk_live_BUHOBUka1pGvFkeWMiEnATMcxJJczIDYfvjhlVfFVEL1e2qpc";
        let keyed = |path: &str, key: &str| http.get(path).header("x-api-key", key);
        let refused: Vec<(&str, Request)> = vec![
            ("nothing", http.get("/any")),
            ("empty", keyed("/any", "")),
            ("junk", keyed("/any", "junk")),
            ("unknown", keyed("/any", unknown)),
            ("revoked", keyed("/any", &revoked)),
            ("disabled", keyed("/any", &disabled)),
            ("expired", keyed("/any", &expired)),
            ("another organization", keyed("/any", &foreign)),
            ("another workspace", keyed("/sales", &support)),
            ("a workspace, at a door in none", keyed("/any", &sales)),
            ("another group", keyed("/group", &good)),
            ("no group at all", keyed("/no-group", &good)),
            ("twice", keyed("/any", &good).header("x-api-key", &good)),
            ("joined by a comma", keyed("/any", &format!("{good},{good}"))),
            ("a wrong key before a right one", keyed("/any", unknown).bearer(&good)),
            ("twice in Authorization", http.get("/any").bearer(&good).header("authorization", format!("Bearer {good}"))),
            ("Basic with a user", http.get("/any").header("authorization", "Basic dXNlcjpwYXNz")),
            ("in the query, where it is not asked for", http.get(&format!("/any?api_key={good}"))),
            ("twice in the query", http.get(&format!("/query?api_key={good}&apiKey={good}"))),
            ("too long", keyed("/any", &"x".repeat(3000))),
            ("a bad key at a public door", keyed("/public", &revoked)),
        ];
        for (what, request) in refused {
            is_unknown(what, &request.send().await);
        }
        let forbidden = [
            ("a role", keyed("/role", &good), "insufficient_role"),
            ("writing", http.post("/resource").bearer(&good), "insufficient_scope"),
        ];
        for (what, request, code) in forbidden {
            let answer = request.header("x-request-id", "a \"b\"").send().await.expect_status(403);
            assert_eq!((answer.json()["error"].as_str(), answer.json()["request_id"].as_str()), (Some(code), Some("a \"b\"")), "{what}");
            assert_eq!(answer.header("x-request-id"), Some("a \"b\""), "{what}");
        }
        assert_eq!(reached.load(Ordering::SeqCst), 0);
        let passing: Vec<(&str, Request)> = vec![
            ("X-API-Key", keyed("/scope", &good)),
            ("bearer", http.get("/any").bearer(&good)),
            ("bare", http.get("/any").header("authorization", &good)),
            ("the query, where it is asked for", http.get(&format!("/query?apiKey={good}"))),
            ("reading", http.request("OPTIONS", "/resource").bearer(&good)),
            ("the workspace", keyed("/sales", &sales)),
            ("no workspace, at a door of one", keyed("/sales", &good)),
            ("nobody at a public door", http.get("/public")),
            ("another scheme at a public door", http.get("/public").header("authorization", "Basic dXNlcjpwYXNz")),
            ("a key at a public door", keyed("/public", &good)),
        ];
        let count = passing.len();
        for (what, request) in passing {
            assert_eq!(request.send().await.text(), "in", "{what}");
        }
        assert_eq!(reached.load(Ordering::SeqCst), count);
    }

    async fn a_key_is_refused_from_the_first_request_after_it_was_revoked(database: Database) {
        let world = World::new(database).await;
        let http = doors(&world, &Arc::default()).await;
        for _ in 0..20 {
            let (id, key) = world.reader().await;
            ask(&http, "/scope", &key).await.expect_status(200);
            world.engine.revoke_key(&Context::host(world.acme), id, None).await.unwrap();
            is_unknown("revoked", &ask(&http, "/scope", &key).await);
            world.engine.delete_key(&Context::host(world.acme), id).await.unwrap();
        }
    }

    async fn limits_hold_and_are_told_on_every_counted_answer(database: Database) {
        let world = World::new(database).await;
        let app = Router::new()
            .route("/one", get(async || "in").layer(world.require(RequireKey::any())))
            .route("/three", get(async || ([("ratelimit", "mine"), ("retry-after", "9")], "in")).layer(world.require(RequireKey::any().cost(3))))
            .route("/public", get(async || "in").layer(world.require(RequireKey::public())));
        let http = serve(app).await;
        let (_, key) = world.key(NewKey { rate_limits: Some(vec![(4, 10)]), ..named("limited") }).await;
        world.set_tier(Tier::Free).await;
        let first = ask(&http, "/three", &key).await.expect_status(200);
        assert_eq!(first.header("ratelimit-policy"), Some(r#""key-10s";q=4;w=10"#));
        assert!(first.headers_named("ratelimit").len() == 1 && first.header("ratelimit").unwrap().starts_with(r#""key-10s";r=1;t="#));
        let quota = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| first.header(name).unwrap().to_owned());
        assert_eq!(quota, ["10000", "9997", "2027-02-01T00:00:00Z"]);
        let refused = ask(&http, "/three", &key).await.expect_status(429);
        assert_eq!(refused.json()["error"], "rate_limit_exceeded");
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1 && refused.header("ratelimit").is_some());
        let last = ask(&http, "/one", &key).await.expect_status(200);
        assert_eq!(last.header("x-ratelimit-remaining"), Some("9996"), "a refused request took nothing");
        ask(&http, "/one", &key).await.expect_status(429);
        let public = ask(&http, "/public", &key).await.expect_status(200);
        assert_eq!((public.header("ratelimit"), public.header("x-ratelimit-limit")), (None, None), "not counted");
    }
}

#[tokio::test]
async fn a_key_restricted_to_addresses_is_asked_where_it_comes_from() {
    let world = World::new(Database::Sqlite).await;
    let app = |layer| Router::new().route("/", get(async || "in").layer(layer));
    let direct = serve(app(world.require(RequireKey::any()))).await;
    let behind_proxy = world.keyrack().trusted_proxies(["127.0.0.3/32".parse().unwrap()]);
    let behind_proxy = serve(app(behind_proxy.require(RequireKey::any()).unwrap())).await;
    let allowed = Some(vec!["127.0.0.2".to_owned()]);
    let (_, key) = world.key(NewKey { ip_allowlist: allowed, ..named("from there") }).await;
    let status = async |http: &Http, address: [u8; 4], hops: &str| {
        let answer =
            from(http, address).get("/").header("x-api-key", &key).header("x-forwarded-for", hops).send().await;
        let code =
            if answer.status == 200 { String::new() } else { answer.json()["error"].as_str().unwrap().to_owned() };
        (answer.status, code)
    };
    let (passes, fails) = ((200, String::new()), (403, "ip_not_allowed".to_owned()));
    assert_eq!(status(&direct, [127, 0, 0, 2], "").await, passes);
    assert_eq!(status(&direct, [127, 0, 0, 3], "127.0.0.2").await, fails, "nobody is believed if nothing is said");
    assert_eq!(status(&behind_proxy, [127, 0, 0, 3], "127.0.0.2").await, passes);
    assert_eq!(status(&behind_proxy, [127, 0, 0, 3], "127.0.0.2, 127.0.0.4").await, fails);
    assert_eq!(status(&behind_proxy, [127, 0, 0, 4], "127.0.0.2").await, fails);
}

#[tokio::test]
async fn nothing_passes_where_it_cannot_be_decided() {
    let world = World::new(Database::Sqlite).await;
    let reached = Arc::default();
    let http = doors(&world, &reached).await;
    let (_, key) = world.reader().await;
    // An hour that no machine has been up for: the clock is not believed, once somebody looks.
    world.clock.set_forward(3600);
    assert!(!world.engine.clock().1);
    for path in ["/any", "/public"] {
        let answer = ask(&http, path, &key).await.expect_status(503);
        assert_eq!((answer.json()["error"].as_str(), answer.header("retry-after")), (Some("unavailable"), Some("1")));
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_asks_for_problem_json_gets_it() {
    let world = World::new(Database::Sqlite).await;
    let http = doors(&world, &Arc::default()).await;
    let (_, key) = world.reader().await;
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let request = http.get("/role").bearer(&key).header("x-request-id", id);
    let answer = request.header("accept", "text/html, application/problem+json").send().await.expect_status(403);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!((problem["code"].as_str(), problem["status"].as_u64()), (Some("insufficient_role"), Some(403)));
    assert_eq!(problem["instance"], format!("urn:uuid:{id}"));
}

#[tokio::test]
async fn a_route_whose_workspace_or_group_is_gone_lets_nobody_in() {
    let world = World::new(Database::Sqlite).await;
    let http = doors(&world, &Arc::default()).await;
    let (_, key) = world.reader().await;
    let (_, partner) = world.key(NewKey { group: Some("partners".to_owned()), ..named("partner") }).await;
    ask(&http, "/sales", &key).await.expect_status(200);
    ask(&http, "/group", &partner).await.expect_status(200);
    let host = Context::host(world.acme);
    let tenant = world.engine.directory().tenant(world.acme).unwrap();
    let (sales, partners) = (tenant.workspace("sales").unwrap().id, tenant.group("partners").unwrap().id);
    world.engine.delete_workspace(&host, sales, false).await.unwrap();
    world.engine.delete_group(&host, partners, true).await.unwrap();
    is_unknown("no workspace", &ask(&http, "/sales", &key).await);
    is_unknown("no group", &ask(&http, "/group", &key).await);
    is_unknown("no group", &ask(&http, "/group", &partner).await);
}
