//! What a route's guard may say, and what it then asks.

use std::collections::BTreeSet;

use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::{Guard, Role};
use keyrack_engine::{GuardText, KeyPatch, NewGroup, NewKey, NewRoute, RoutePatch};
use keyrack_testkit::{Database, both_databases};

use crate::routes::at;
use crate::support::{IsGrant as _, World, code, named, texts};

fn guarded(guard: GuardText) -> NewRoute {
    NewRoute { guard, ..at("/door") }
}

#[expect(clippy::unnecessary_wraps, reason = "members of guards are optional")]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

both_databases! {
    async fn a_guard_that_asks_nothing_or_contradicts_itself_is_refused(database: Database) {
        let world = World::new(database).await;
        world.engine.create_workspace(&world.host(), "sales", None).await.unwrap();
        let none = GuardText::default();
        let public = || GuardText { public: true, ..GuardText::default() };
        let any = || GuardText { organizations: some("any"), ..GuardText::default() };
        let bad = [
            (none.clone(), "guard"),
            (GuardText { organizations: some("own"), ..none.clone() }, "guard"),
            (GuardText { sessions: true, ..none.clone() }, "guard"),
            (GuardText { query_key: true, ..none.clone() }, "guard"),
            (GuardText { groups: Some(texts(&["default"])), ..public() }, "guard.public"),
            (GuardText { keys: Some(vec![]), ..public() }, "guard.public"),
            (GuardText { scope: some("a:read"), ..public() }, "guard.public"),
            (GuardText { resource: some("a"), ..public() }, "guard.public"),
            (GuardText { roles: Some(vec![Role::Admin]), ..public() }, "guard.public"),
            (GuardText { workspace: some("sales"), ..public() }, "guard.public"),
            (GuardText { organizations: some("any"), ..public() }, "guard.public"),
            (GuardText { sessions: true, ..public() }, "guard.public"),
            (GuardText { organizations: some("all"), scope: some("a:read"), ..none.clone() }, "guard.organizations"),
            (GuardText { groups: Some(texts(&["default"])), ..any() }, "guard.organizations"),
            (GuardText { keys: Some(vec![]), ..any() }, "guard.organizations"),
            (GuardText { workspace: some("sales"), ..any() }, "guard.organizations"),
            (GuardText { scope: some("a:read"), resource: some("a"), ..none.clone() }, "guard.resource"),
            (GuardText { scope: some("a"), ..none.clone() }, "guard.scope"),
            (GuardText { scope: some("a:fly"), ..none.clone() }, "guard.scope"),
            (GuardText { resource: some("a b"), ..none.clone() }, "guard.resource"),
            (GuardText { resource: some("a:read"), ..none.clone() }, "guard.resource"),
            (GuardText { groups: Some(texts(&["default", "none"])), ..none.clone() }, "guard.groups[1]"),
            (GuardText { keys: Some(texts(&["no id"])), ..none.clone() }, "guard.keys"),
            (GuardText { keys: Some(vec![uuid::Uuid::nil().to_string()]), ..none.clone() }, "guard.keys[0]"),
            (GuardText { workspace: some("none"), ..none }, "guard.workspace"),
        ];
        let head = world.head().await;
        for (guard, field) in bad {
            let told = format!("{guard:?}");
            assert_eq!(code(world.engine.create_route(&world.host(), guarded(guard)).await), field, "{told}");
        }
        assert_eq!(world.head().await, head);
    }

    async fn each_member_of_a_guard_is_asked(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        engine.create_workspace(&host, "sales", None).await.unwrap();
        let (key, _) = world.plain_key("billing").await;
        let tenant = engine.directory().tenant(world.organization).unwrap();
        let default = tenant.group("default").unwrap().id;
        let own = Guard::new(Audience::Own(world.organization));
        let none = GuardText::default();
        let groups = BTreeSet::from([default]);
        for (text, wanted) in [
            (GuardText { public: true, ..none.clone() }, Guard { public: true, ..own.clone() }),
            (
                GuardText { public: true, query_key: true, ..none.clone() },
                Guard { public: true, query_key: true, ..own.clone() },
            ),
            (
                GuardText { groups: Some(texts(&["default"])), ..none.clone() },
                Guard { admitted: Some(Admitted { groups: groups.clone(), ..Admitted::default() }), ..own.clone() },
            ),
            (
                GuardText {
                    groups: Some(vec![default.to_string()]),
                    keys: Some(vec![key.to_string()]),
                    ..none.clone()
                },
                Guard { admitted: Some(Admitted { groups, keys: [key].into() }), ..own.clone() },
            ),
            (
                GuardText { keys: Some(vec![]), ..none.clone() },
                Guard { admitted: Some(Admitted::default()), ..own.clone() },
            ),
            (
                GuardText { scope: some("a:write"), sessions: true, ..none.clone() },
                Guard { demand: Some(Demand::Scope("a:write".parse().unwrap())), sessions: true, ..own.clone() },
            ),
            (
                GuardText { resource: some("a"), ..none.clone() },
                Guard { demand: Some(Demand::Resource("a".parse().unwrap())), ..own.clone() },
            ),
            (
                GuardText { roles: Some(vec![Role::Owner, Role::Admin]), ..none.clone() },
                Guard { roles: Some([Role::Admin, Role::Owner].into()), ..own.clone() },
            ),
            (GuardText { workspace: some("sales"), ..none.clone() }, own),
            (GuardText { organizations: some("any"), ..none }, Guard::new(Audience::Any)),
        ] {
            let told = format!("{text:?}");
            let id = engine.create_route(&host, guarded(text)).await.unwrap().id;
            assert_eq!(engine.find_route("x", "/door", "GET").unwrap().route.guard, wanted, "{told}");
            engine.delete_route(&host, id).await.unwrap();
        }
    }

    async fn names_are_kept_as_ids_and_shown_as_names_whatever_they_are_called_later(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let group =
            engine.create_group(&host, NewGroup { name: "before".to_owned(), ..NewGroup::default() }).await.unwrap();
        let guard = GuardText { groups: Some(texts(&["before"])), ..GuardText::default() };
        let route = engine.create_route(&host, guarded(guard)).await.unwrap();
        assert_eq!(route.guard["groups"], serde_json::json!([group.id]));
        let patch = keyrack_engine::GroupPatch { name: some("after"), ..Default::default() };
        engine.update_group(&host, group.id, patch).await.unwrap();
        assert_eq!(engine.show_guard(&route).groups, Some(texts(&["after"])));
        let (_, text) = world.key(NewKey { group: some("after"), ..named("one") }).await;
        let door = engine.find_route("x", "/door", "GET").unwrap();
        assert!(world.ask(&text, &door.route.guard).await.is_grant());
    }

    async fn a_key_binds_no_stronger_key_to_a_door(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let managing = |name: &str, scopes: &[&str]| NewKey {
            group: some("management"),
            scopes: Some(texts(scopes)),
            ..named(name)
        };
        let (strong, _) = world.key(managing("strong", &["a:admin", "b:read"])).await;
        let (weak, _) = world.key(managing("weak", &["a:read"])).await;
        let actor = managing("actor", &["a:admin", "keyrack.routes:admin"]);
        let actor = world.acting(&world.key(actor).await.1).await;
        let naming = |keys: &[&keyrack_engine::KeyView]| GuardText {
            keys: Some(keys.iter().map(|view| view.key.id.to_string()).collect()),
            ..GuardText::default()
        };
        assert_eq!(code(engine.create_route(&actor, guarded(naming(&[&weak, &strong]))).await), "insufficient_scope");
        let route = engine.create_route(&actor, guarded(naming(&[&weak]))).await.unwrap();
        let rebind =
            |keys: &[&keyrack_engine::KeyView]| RoutePatch { guard: Some(naming(keys)), ..RoutePatch::default() };
        assert_eq!(code(engine.update_route(&actor, route.id, rebind(&[&strong])).await), "insufficient_scope");
        assert_eq!(engine.get_route(&host, route.id).await.unwrap(), route);
        assert_eq!(code(engine.update_route(&host, route.id, rebind(&[&strong, &weak])).await), "done");
        // What is bound already does not hinder a change of something else.
        let rename = RoutePatch { name: some("renamed"), ..RoutePatch::default() };
        assert_eq!(code(engine.update_route(&actor, route.id, rename).await), "done");
    }

    async fn a_guard_whose_keys_are_all_deleted_lets_nobody_in(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let (id, text) = world.plain_key("billing").await;
        let (_, other) = world.plain_key("other").await;
        let guard = GuardText { keys: Some(vec![id.to_string()]), sessions: true, ..GuardText::default() };
        let route = engine.create_route(&host, guarded(guard)).await.unwrap();
        let door = || engine.find_route("x", "/door", "GET").unwrap();
        assert!(world.ask(&text, &door().route.guard).await.is_grant());
        engine.delete_key(&host, id).await.unwrap();
        for text in [&text, &other] {
            assert!(!world.ask(text, &door().route.guard).await.is_grant());
        }
        // The route can still be changed while it names the key that is gone, but not to name it anew.
        let rename = RoutePatch { name: some("renamed"), ..RoutePatch::default() };
        assert_eq!(code(engine.update_route(&host, route.id, rename).await), "done");
        assert!(!world.ask(&other, &door().route.guard).await.is_grant());
        let guard = GuardText { keys: Some(vec![id.to_string()]), ..GuardText::default() };
        let again = RoutePatch { guard: Some(guard), ..RoutePatch::default() };
        assert_eq!(code(engine.update_route(&host, route.id, again).await), "guard.keys[0]");
        // Nor does a list let anybody in that was empty from the start.
        let guard = GuardText { keys: Some(vec![]), groups: Some(vec![]), ..GuardText::default() };
        let empty = RoutePatch { guard: Some(guard), ..RoutePatch::default() };
        assert_eq!(code(engine.update_route(&host, route.id, empty).await), "done");
        assert!(!world.ask(&other, &door().route.guard).await.is_grant());
    }

    async fn a_guard_of_another_organization_s_groups_and_keys_is_none(database: Database) {
        let world = World::new(database).await;
        let new = keyrack_engine::NewOrganization {
            slug: "other".to_owned(),
            name: None,
            tier: None,
            owner_email: some(crate::support::OWNER),
        };
        let other =
            keyrack_engine::Context::host(world.engine.create_organization(&world.host(), new).await.unwrap().id);
        let (id, _) = world.plain_key("billing").await;
        let keys = GuardText { keys: Some(vec![id.to_string()]), ..GuardText::default() };
        assert_eq!(code(world.engine.create_route(&other, guarded(keys)).await), "guard.keys[0]");
        let default = world.engine.directory().tenant(world.organization).unwrap().group("default").unwrap().id;
        let groups = GuardText { groups: Some(vec![default.to_string()]), ..GuardText::default() };
        assert_eq!(code(world.engine.create_route(&other, guarded(groups)).await), "guard.groups[0]");
    }

    async fn a_demand_for_a_resource_is_to_read_or_to_write_by_the_method(database: Database) {
        let world = World::new(database).await;
        let guard = GuardText { resource: some("contacts"), ..GuardText::default() };
        world.engine.create_route(&world.host(), guarded(guard)).await.unwrap();
        let door = world.engine.find_route("x", "/door", "GET").unwrap();
        let (id, text) = world.plain_key("billing").await;
        for (scopes, reads, writes) in [
            (vec!["contacts:read"], true, false),
            (vec!["contacts:write"], false, true),
            (vec!["contacts:admin"], true, true),
            (vec!["*:read", "deals:write"], true, false),
            (vec![], false, false),
        ] {
            let patch = KeyPatch { scopes: Some(texts(&scopes)), ..KeyPatch::default() };
            world.engine.update_key(&world.host(), id, patch).await.unwrap();
            for (method, passes) in [("GET", reads), ("HEAD", reads), ("POST", writes), ("DELETE", writes)] {
                let presented = keyrack_engine::Presented { method, ..crate::support::presented(&text) };
                let verdict = world.engine.verify(&door.route.guard, &presented).await.unwrap();
                assert_eq!(verdict.is_grant(), passes, "{method} with {scopes:?}");
            }
        }
    }
}
