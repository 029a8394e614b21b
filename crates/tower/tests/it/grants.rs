//! What a handler learns of whoever was let in.

use axum::Router;
use axum::routing::get;
use keyrack_core::{Role, Tier};
use keyrack_engine::NewKey;
use keyrack_testkit::{Database, both_databases};
use keyrack_tower::{Grant, Keyrack, RequireKey};
use serde_json::{Value, json};

use crate::support::{World, get as ask, is_unknown, named, serve};

async fn told(grant: Option<Grant>) -> String {
    serde_json::to_string(&grant).unwrap()
}

both_databases! {
    async fn a_grant_says_whose_key_it_is_and_what_may_be_used(database: Database) {
        let world = World::new(database).await;
        let layer = world.require(RequireKey::any().workspace("sales").cost(7));
        let http = serve(Router::new().route("/", get(told)).route_layer(layer)).await;
        let new = NewKey {
            group: Some("partners".to_owned()),
            workspace: Some("sales".to_owned()),
            scopes: Some(vec!["contacts:read".to_owned(), "notes:write".to_owned()]),
            ..named("partner")
        };
        let (id, key) = world.key(new).await;
        let unlimited = ask(&http, "/", &key).await.expect_status(200).json();
        let tenant = world.engine.directory().tenant(world.acme).unwrap();
        let billing = json!({"tier": "enterprise", "monthly_limit": null, "used": null, "resets_at": null});
        assert_eq!(unlimited, json!({
            "organization": {"id": world.acme, "slug": "acme", "billing": billing},
            "workspace": {"id": tenant.workspace("sales").unwrap().id, "slug": "sales"},
            "key": {"id": id, "name": "partner", "role": "member", "expires_at": null},
            "group": {"id": tenant.group("partners").unwrap().id, "name": "partners"},
            "scopes": ["contacts:read", "notes:write"],
        }));
        world.set_tier(Tier::Free).await;
        ask(&http, "/", &key).await.expect_status(200);
        let limited = ask(&http, "/", &key).await.expect_status(200).json();
        let billing = json!({"tier": "free", "monthly_limit": 10_000, "used": 21, "resets_at": "2027-02-01T00:00:00Z"});
        assert_eq!(limited["organization"]["billing"], billing);
    }
}

#[tokio::test]
async fn a_public_route_learns_of_nobody() {
    let world = World::new(Database::Sqlite).await;
    let http = serve(Router::new().route("/", get(told)).route_layer(world.require(RequireKey::public()))).await;
    let (_, key) = world.reader().await;
    assert_eq!(ask(&http, "/", &key).await.expect_status(200).json(), Value::Null);
    assert_eq!(http.get("/").send().await.expect_status(200).json(), Value::Null);
}

#[tokio::test]
async fn a_handler_without_a_door_in_front_of_it_is_never_run() {
    let http = serve(Router::new().route("/", get(async |grant: Grant| grant.key.name.to_string()))).await;
    http.get("/").send().await.expect_status(500);
}

#[tokio::test]
async fn a_service_for_every_organization_is_told_which_one_it_is() {
    let world = World::new(Database::Sqlite).await;
    let everybody = Keyrack::any_organization(world.keyrack()).require(RequireKey::scope("contacts:read")).unwrap();
    let slug = get(async |grant: Grant| grant.organization.slug.to_string());
    let app = Router::new()
        .route("/everybody", slug.clone().layer(everybody))
        .route("/own", slug.layer(world.require(RequireKey::any())));
    let http = serve(app).await;
    let (_, of_beta) = world.key_of(world.beta, named("beta's")).await;
    assert_eq!(ask(&http, "/everybody", &of_beta).await.text(), "beta");
    is_unknown("of another organization", &ask(&http, "/own", &of_beta).await);
    let (_, of_acme) = world.reader().await;
    assert_eq!(ask(&http, "/everybody", &of_acme).await.text(), "acme");
}

#[tokio::test]
async fn a_grant_knows_what_its_key_may() {
    let world = World::new(Database::Sqlite).await;
    let may = get(async |grant: Grant| {
        let may = ["contacts:read", "contacts:write", "notes:read", "nonsense"].map(|scope| grant.may(scope));
        format!("{may:?} {}", grant.key.role == Role::Admin)
    });
    let http = serve(Router::new().route("/", may).route_layer(world.require(RequireKey::any()))).await;
    let (_, reader) = world.reader().await;
    assert_eq!(ask(&http, "/", &reader).await.text(), "[true, false, false, false] false");
    let scopes = Some(vec!["contacts:admin".to_owned()]);
    let (_, admin) = world.key(NewKey { group: Some("management".to_owned()), scopes, ..named("admin") }).await;
    assert_eq!(ask(&http, "/", &admin).await.text(), "[true, true, false, false] true");
}
