//! Routes: how they are found, which clash, who makes them.

use keyrack_core::decide::Place;
use keyrack_core::{OrganizationId, RouteId};
use keyrack_engine::{
    Context, EngineRole, Error, GuardText, NewGroup, NewKey, NewOrganization, NewRoute, RoutePatch, Target,
};
use keyrack_testkit::{Database, both_databases};

use crate::support::{OWNER, World, code, named, texts};

pub(crate) fn upstream(url: &str) -> Target {
    Target::upstream(url)
}

pub(crate) fn at(path: &str) -> NewRoute {
    NewRoute {
        name: path.to_owned(),
        host: None,
        path: path.to_owned(),
        methods: None,
        disabled: false,
        guard: GuardText { scope: Some("a:read".to_owned()), ..GuardText::default() },
        target: upstream("http://localhost:9"),
        cors: None,
    }
}

fn on(host: &str, path: &str) -> NewRoute {
    NewRoute { host: Some(host.to_owned()), name: format!("{host}{path}"), ..at(path) }
}

fn methods(path: &str, methods: &[&str]) -> NewRoute {
    NewRoute { methods: Some(texts(methods)), ..at(path) }
}

async fn make(world: &World, route: NewRoute) -> RouteId {
    world.engine.create_route(&world.host(), route).await.unwrap().id
}

async fn other_organization(world: &World) -> Context {
    let new = NewOrganization { slug: "other".to_owned(), name: None, tier: None, owner_email: Some(OWNER.to_owned()) };
    Context::host(world.engine.create_organization(&world.host(), new).await.unwrap().id)
}

/// The name of the route for a request, and the path its target is to see.
fn found(world: &World, host: &str, path: &str, method: &str) -> Option<(String, String)> {
    world.engine.find_route(host, path, method).map(|m| (m.route.route.name.clone(), m.path.to_owned()))
}

fn name_of(world: &World, path: &str) -> Option<String> {
    found(world, "anywhere.example", path, "GET").map(|(name, _)| name)
}

both_databases! {
    async fn static_beats_parameter_beats_rest_segment_by_segment(database: Database) {
        let world = World::new(database).await;
        for path in ["/v1/users/me", "/v1/users/:id", "/v1/*rest", "/v1/:kind/me", "/*all"] {
            make(&world, at(path)).await;
        }
        for (path, name) in [
            ("/v1/users/me", Some("/v1/users/me")),
            ("/v1/users/7", Some("/v1/users/:id")),
            ("/v1/teams/me", Some("/v1/:kind/me")),
            ("/v1/teams/7", Some("/v1/*rest")),
            ("/v1/users/7/photo", Some("/v1/*rest")),
            ("/v2", Some("/*all")),
            ("/v1", Some("/*all")),
            ("/", None),
        ] {
            assert_eq!(name_of(&world, path).as_deref(), name, "{path}");
        }
    }

    async fn what_the_best_pattern_does_not_take_is_not_passed_on_to_a_weaker_one(database: Database) {
        let world = World::new(database).await;
        let closed = make(&world, NewRoute { disabled: true, ..at("/v1/closed") }).await;
        make(&world, methods("/v1/posts", &["POST"])).await;
        make(&world, at("/v1/:any")).await;
        make(&world, at("/*all")).await;
        assert_eq!(name_of(&world, "/v1/closed"), None, "closed is closed");
        assert_eq!(name_of(&world, "/v1/posts"), None, "and so is another method");
        assert_eq!(name_of(&world, "/v1/other").as_deref(), Some("/v1/:any"));
        assert!(found(&world, "x", "/v1/posts", "POST").is_some());

        let open = RoutePatch { enabled: Some(true), ..RoutePatch::default() };
        world.engine.update_route(&world.host(), closed, open).await.unwrap();
        assert_eq!(name_of(&world, "/v1/closed").as_deref(), Some("/v1/closed"));
    }

    async fn a_route_takes_the_usual_methods_and_get_brings_head(database: Database) {
        let world = World::new(database).await;
        make(&world, at("/usual")).await;
        make(&world, methods("/get", &["GET"])).await;
        make(&world, methods("/options", &["OPTIONS", "DELETE"])).await;
        let taken = |path: &str| -> String {
            let all = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"];
            all.into_iter().filter(|m| found(&world, "x", path, m).is_some()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(taken("/usual"), "GET HEAD POST PUT PATCH DELETE");
        assert_eq!(taken("/get"), "GET HEAD");
        assert_eq!(taken("/options"), "DELETE OPTIONS");
        for (bad, field) in [(vec![], "methods"), (vec!["get"], "methods[0]"), (vec!["GET", "TRACE"], "methods[1]")] {
            assert_eq!(code(world.engine.create_route(&world.host(), methods("/x", &bad)).await), field);
        }
    }

    async fn a_host_of_its_own_then_the_organization_s_place_then_the_default(database: Database) {
        let world = World::new(database).await;
        let other = other_organization(&world).await;
        make(&world, at("/a")).await;
        make(&world, at("/o-like")).await;
        make(&world, on("api.example.com", "/a")).await;
        world.engine.create_route(&other, NewRoute { name: "theirs".to_owned(), ..at("/a") }).await.unwrap();
        world.engine.create_route(&other, NewRoute { name: "their root".to_owned(), ..at("/") }).await.unwrap();
        let named = |host: &str, path: &str| found(&world, host, path, "GET");
        let some = |name: &str, path: &str| Some((name.to_owned(), path.to_owned()));
        assert_eq!(named("www.example.com", "/a"), some("/a", "/a"), "any other host is the default one");
        assert_eq!(named("www.example.com", "/o/other/a"), some("theirs", "/a"), "and leads to the others");
        assert_eq!(named("www.example.com", "/o/other/"), some("their root", "/"));
        assert_eq!(named("www.example.com", "/o/acme/a"), some("/a", "/a"));
        assert_eq!(named("www.example.com", "/o/nobody/a"), None);
        assert_eq!(named("www.example.com", "/o/other/b"), None);
        assert_eq!(named("www.example.com", "/o-like"), some("/o-like", "/o-like"));
        assert_eq!(named("api.example.com", "/a"), some("api.example.com/a", "/a"));
        assert_eq!(named("api.example.com", "/o-like"), None, "a host of its own has nothing else");
        assert_eq!(named("api.example.com", "/o/acme/a"), None);
    }

    async fn a_change_moves_closes_and_reopens_a_route_at_once(database: Database) {
        let world = World::new(database).await;
        let id = make(&world, at("/old")).await;
        let patch = RoutePatch {
            name: Some("renamed".to_owned()),
            path: Some("/new/:id".to_owned()),
            methods: Some(texts(&["POST"])),
            target: Some(upstream("https://example.com/base")),
            ..RoutePatch::default()
        };
        let head = world.head().await;
        let after = world.engine.update_route(&world.host(), id, patch.clone()).await.unwrap();
        assert_eq!((&*after.name, &*after.path, &after.methods[..]), ("renamed", "/new/:id", &texts(&["POST"])[..]));
        assert_eq!(found(&world, "x", "/old", "GET"), None);
        let now = world.engine.find_route("x", "/new/1", "POST").unwrap();
        assert_eq!(now.route.target, upstream("https://example.com/base"));
        world.engine.update_route(&world.host(), id, patch).await.unwrap();
        assert_eq!(world.head().await, head + 1, "the same again is no change");

        world.engine.delete_route(&world.host(), id).await.unwrap();
        assert_eq!(found(&world, "x", "/new/1", "POST"), None);
        assert_eq!(code(world.engine.delete_route(&world.host(), id).await), "no route");
        assert_eq!(code(world.engine.update_route(&world.host(), id, RoutePatch::default()).await), "no route");
    }

    async fn two_routes_clash_when_host_methods_and_pattern_meet(database: Database) {
        let world = World::new(database).await;
        let other = other_organization(&world).await;
        make(&world, methods("/v1/:id", &["GET", "POST"])).await;
        make(&world, NewRoute { disabled: true, ..on("api.example.com", "/v1/x") }).await;
        make(&world, at("/x:run")).await;
        for (route, how) in [
            (methods("/v1/:id", &["GET"]), "route_clash"),
            (methods("/v1/:name", &["PATCH", "POST"]), "route_clash"),
            (methods("/v1/:id", &["HEAD"]), "route_clash"),
            (at("/x%3Arun"), "route_clash"),
            (on("API.example.com", "/v1/x"), "route_clash"),
            (methods("/v1/:id", &["DELETE"]), "done"),
            (at("/v1/fixed"), "done"),
            (at("/v1/:id/more"), "done"),
            (at("/v1/*rest"), "done"),
            (on("www.example.com", "/v1/x"), "done"),
            (at("/v1/x"), "done"),
        ] {
            let told = format!("{route:?}");
            assert_eq!(code(world.engine.create_route(&world.host(), route).await), how, "{told}");
        }
        // Each organization has its own place, but a host is one for all; of another's route nothing is told.
        assert_eq!(code(world.engine.create_route(&other, methods("/v1/:id", &["GET"])).await), "done");
        let clash = world.engine.create_route(&other, on("api.example.com", "/v1/x")).await;
        let Err(Error::Conflict { code: "route_clash", details, .. }) = clash else { panic!("{clash:?}") };
        assert!(details.is_empty(), "{details:?}");
        let clash = world.engine.create_route(&world.host(), at("/v1/:other")).await;
        let Err(Error::Conflict { details, .. }) = clash else { panic!("{clash:?}") };
        assert!(details.contains(&"route /v1/:id".to_owned()), "{details:?}");
    }

    async fn a_change_must_not_clash_either(database: Database) {
        let world = World::new(database).await;
        make(&world, methods("/a", &["GET"])).await;
        let id = make(&world, methods("/b", &["POST"])).await;
        let change = async |patch| code(world.engine.update_route(&world.host(), id, patch).await);
        let path = |path: &str| RoutePatch { path: Some(path.to_owned()), ..RoutePatch::default() };
        assert_eq!(change(path("/a")).await, "done", "with other methods");
        let get = RoutePatch { methods: Some(texts(&["GET"])), ..RoutePatch::default() };
        assert_eq!(change(get).await, "route_clash");
        assert_eq!(change(path("/api/x")).await, "path");
        assert_eq!(found(&world, "x", "/a", "POST").unwrap().0, "/b");
    }

    async fn paths_of_keyrack_s_own_and_paths_that_are_none_are_refused(database: Database) {
        let world = World::new(database).await;
        for path in [
            "/api",
            "/api/keys",
            "/hooks/x",
            "/forward-auth/nginx",
            "/extauthz",
            "/login",
            "/logout",
            "/setup",
            "/organizations",
            "/profile/x",
            "/static/a.js",
            "/docs",
            "/health",
            "/metrics",
            "/.well-known/keyrack/keys",
            "/.well-known/keyrack",
            "/o/acme/x",
            "/-/later",
            "/api/:any",
            "/o/*rest",
            "",
            "api",
            "/a//b",
            "/a/",
            "/a/../b",
            "/./a",
            "/a%2fb",
            "/%61pi",
            "/a;b",
            "/a?b",
            "/\u{fc}",
            "/:",
            "/a/*",
            "/*a/b",
            "/:a/:a",
        ] {
            let route = NewRoute { name: "door".to_owned(), ..at(path) };
            assert_eq!(code(world.engine.create_route(&world.host(), route).await), "path", "{path}");
        }
        for path in ["/apis", "/v1/api", "/healthz", "/.well-known/other", "/%C3%A9"] {
            assert_eq!(code(world.engine.create_route(&world.host(), at(path)).await), "done", "{path}");
        }
    }

    async fn targets_hosts_and_names_that_are_none_are_refused(database: Database) {
        let world = World::new(database).await;
        let target = |url: &str| NewRoute { target: upstream(url), ..at("/x") };
        for (route, field) in [
            (NewRoute { name: " ".to_owned(), ..at("/x") }, "name"),
            (target("ftp://example.com"), "target.url"),
            (target("example.com"), "target.url"),
            (target("http://"), "target.url"),
            (target("http:///path"), "target.url"),
            (target("http://user@example.com/"), "target.url"),
            (target("http://example.com/a b"), "target.url"),
            (target("http://example.com/?q=1"), "target.url"),
            (target("http://example.com/a/../b"), "target.url"),
            (target("http://example.com/#x"), "target.url"),
            (on("", "/x"), "host"),
            (on("a..b", "/x"), "host"),
            (on("example.com:80", "/x"), "host"),
            (on("exa_mple.com", "/x"), "host"),
            (on(&"a".repeat(254), "/x"), "host"),
        ] {
            let told = format!("{route:?}");
            assert_eq!(code(world.engine.create_route(&world.host(), route).await), field, "{told}");
        }
    }

    async fn hosts_and_doors_for_every_organization_are_given_by_instance_admins(database: Database) {
        let world = World::new(database).await;
        let admin = NewKey { group: Some("management".to_owned()), ..named("admin") };
        let admin = world.acting(&world.key(admin).await.1).await;
        let any = || NewRoute {
            guard: GuardText { organizations: Some("any".to_owned()), ..GuardText::default() },
            ..at("/any")
        };
        assert_eq!(code(world.engine.create_route(&admin, on("a.example", "/x")).await), "insufficient_scope");
        assert_eq!(code(world.engine.create_route(&admin, any()).await), "insufficient_scope");
        let id = world.engine.create_route(&admin, at("/x")).await.unwrap().id;
        let patch = RoutePatch { guard: Some(any().guard), ..RoutePatch::default() };
        assert_eq!(code(world.engine.update_route(&admin, id, patch).await), "insufficient_scope");
        let instance = world.acting(&world.management_key).await;
        assert_eq!(code(world.engine.create_route(&instance, on("a.example", "/x")).await), "done");
        assert_eq!(code(world.engine.create_route(&instance, any()).await), "done");
    }

    async fn the_place_of_a_door_is_its_guard_s_or_its_path_s(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let sales = engine.create_workspace(&host, "sales", None).await.unwrap().id;
        make(&world, at("/nowhere")).await;
        let guard = GuardText { workspace: Some("sales".to_owned()), ..GuardText::default() };
        make(&world, NewRoute { guard, ..at("/guarded") }).await;
        make(&world, at("/v1/:org/:workspace/:entity")).await;
        for (path, place) in [
            ("/nowhere", Some(Place::Nowhere)),
            ("/guarded", Some(Place::In(sales))),
            ("/v1/acme/sales/Customer", Some(Place::In(sales))),
            ("/v1/acme/support/Customer", None),
            ("/v1/other/sales/Customer", None),
        ] {
            let found = engine.find_route("x", path, "GET").unwrap();
            assert_eq!(found.route.place(found.path, engine.directory()), place, "{path}");
        }
    }

    async fn another_organization_s_route_is_not_found(database: Database) {
        let world = World::new(database).await;
        let id = make(&world, at("/x")).await;
        let other = other_organization(&world).await;
        let close = RoutePatch { enabled: Some(false), ..RoutePatch::default() };
        assert_eq!(code(world.engine.get_route(&other, id).await), "no route");
        assert_eq!(code(world.engine.update_route(&other, id, close).await), "no route");
        assert_eq!(code(world.engine.delete_route(&other, id).await), "no route");
        assert!(world.engine.list_routes(&other).await.unwrap().is_empty());
        assert_eq!(world.engine.list_routes(&world.host()).await.unwrap().len(), 1);
        let nowhere = Context::host(OrganizationId(uuid::Uuid::from_u128(3)));
        assert_eq!(code(world.engine.create_route(&nowhere, at("/y")).await), "no organization");
    }

    async fn a_restart_finds_the_same_routes(database: Database) {
        let world = World::new(database).await;
        make(&world, at("/a/:b")).await;
        make(&world, on("api.example.com", "/c")).await;
        let again = world.another(EngineRole::Guest { keys: false }).await;
        assert_eq!(again.find_route("x", "/a/1", "GET").unwrap().route.route.name, "/a/:b");
        assert_eq!(again.find_route("api.example.com", "/c", "GET").unwrap().route.route.name, "api.example.com/c");
        assert_eq!(again.default_organization().await.unwrap(), Some(world.organization));
    }

    async fn a_route_that_cannot_be_read_stays_closed_and_opens_no_weaker_one(database: Database) {
        let world = World::new(database).await;
        let id = make(&world, at("/secret/door")).await;
        make(&world, NewRoute { guard: GuardText { public: true, ..GuardText::default() }, ..at("/*all") }).await;
        let store = world.store().await;
        let mut writer = store.write(&[world.organization]).await.unwrap();
        let mut route = writer.find_route(world.organization, id).await.unwrap().unwrap();
        route.guard = serde_json::json!({ "scope": "a:read", "of_a_later_version": true });
        writer.update_route(&route).await.unwrap();
        let event = keyrack_store::NewEvent {
            id: keyrack_core::EventId(id.0),
            at: world.now(),
            organization: Some(world.organization),
            kind: "route.changed",
            actor_kind: keyrack_engine::ActorKind::System,
            actor_id: None,
            actor_name: "test".to_owned(),
            subject_kind: keyrack_engine::SubjectKind::Route,
            subject_id: Some(id.0),
            subject_name: "door".to_owned(),
            data: serde_json::json!({}),
            request_id: None,
        };
        writer.commit(event, vec![]).await.unwrap();
        let again = world.another(EngineRole::Guest { keys: false }).await;
        assert!(again.find_route("x", "/secret/door", "GET").is_none());
        assert!(again.find_route("x", "/secret/other", "GET").is_some());
    }

    async fn what_a_route_names_is_not_deleted(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let group = engine.create_group(&host, NewGroup { name: "g".to_owned(), ..NewGroup::default() }).await.unwrap();
        let workspace = engine.create_workspace(&host, "sales", None).await.unwrap();
        let guard = GuardText {
            groups: Some(texts(&["g", "default"])),
            workspace: Some("sales".to_owned()),
            ..GuardText::default()
        };
        let id = make(&world, NewRoute { name: "door".to_owned(), guard, ..at("/x") }).await;
        for deleted in
            [engine.delete_group(&host, group.id, true).await, engine.delete_workspace(&host, workspace.id, true).await]
        {
            let Err(Error::Conflict { code: "in_use", details, .. }) = deleted else { panic!("{deleted:?}") };
            assert_eq!(details, ["route door"]);
        }
        engine.delete_route(&host, id).await.unwrap();
        engine.delete_group(&host, group.id, false).await.unwrap();
        engine.delete_workspace(&host, workspace.id, false).await.unwrap();
    }
}
