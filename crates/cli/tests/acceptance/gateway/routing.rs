//! Which route a request finds, and from when on.

use keyrack_testkit::{Database, Http, Upstream};
use serde_json::{Value, json};

use crate::support::{Caller as _, Person, each, expect_refusal, expect_unknown, start, text};

fn route(path: &str, upstream: &Upstream, more: &Value) -> Value {
    let target = json!({"kind": "upstream", "url": upstream.url()});
    let mut route = json!({"path": path, "guard": {"public": true}, "target": target});
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    route
}

keyrack_testkit::both_databases! {
    async fn each_organization_has_a_place_of_its_own(database: Database) {
        let (keyrack, ours, theirs) = (start(database), Upstream::start().await, Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        owner.make("/api/organizations", json!({"slug": "beta", "owner_email": keyrack.owner_email})).await;
        let beta = Person::owner(&keyrack).await.within("beta");
        let guard = json!({"scope": "a:read"});
        owner.make_route("/svc/a", guard.clone(), &ours.url()).await;
        beta.make_route("/svc/a", guard.clone(), &theirs.url()).await;
        beta.make_route("/svc/only", guard, &theirs.url()).await;
        let wanted = json!({"name": "k", "scopes": ["a:read"]});
        let (our_key, their_key) = (owner.make_key(wanted.clone()).await, beta.make_key(wanted).await);

        // The first organization owns the default host; both have /o/{slug}/, which the service does not see.
        for (path, key, upstream) in [
            ("/svc/a?x=1", &our_key, &ours),
            ("/o/acme/svc/a?x=1", &our_key, &ours),
            ("/o/beta/svc/a?x=1", &their_key, &theirs),
        ] {
            let reached = upstream.count();
            let seen = http.get(path).bearer(&key.secret).send().await.expect_status(200).json();
            assert_eq!(seen["target"], "/svc/a?x=1");
            assert_eq!(upstream.count(), reached + 1);
        }
        // A key of one is unknown at the other's door.
        let reached = (ours.count(), theirs.count());
        for (path, key) in [("/svc/a", &their_key), ("/o/acme/svc/a", &their_key), ("/o/beta/svc/a", &our_key)] {
            expect_unknown(http.get(path).bearer(&key.secret).send().await);
        }
        for path in ["/svc/only", "/o/acme/svc/only", "/o/nobody/svc/a", "/o/beta", "/o/beta/", "/o/beta/o/acme/svc/a"] {
            expect_refusal(http.get(path).bearer(&our_key.secret).send().await, 404, "not_found");
        }
        // Our own paths are reached by themselves alone.
        for path in ["/o/acme/api/keys", "/o/acme/health/live"] {
            expect_refusal(http.get(path).bearer(&keyrack.management_key).send().await, 404, "not_found");
        }
        assert_eq!((ours.count(), theirs.count()), reached);
    }

    async fn a_host_has_routes_of_its_own(database: Database) {
        let (keyrack, ours, theirs) = (start(database), Upstream::start().await, Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        owner.make("/api/organizations", json!({"slug": "beta", "owner_email": keyrack.owner_email})).await;
        let ada = Person::owner(&keyrack).await;
        let beta = ada.within("beta");
        owner.make("/api/routes", route("/svc/a", &ours, &json!({}))).await;
        beta.make("/api/routes", route("/svc/a", &theirs, &json!({"host": "API.beta.test"}))).await;

        let at = |host: &str, path: &str| http.get(path).header("host", host).send();
        for host in ["api.beta.test", "API.Beta.TEST", "api.beta.test:8000"] {
            at(host, "/svc/a").await.expect_status(200);
        }
        assert_eq!((ours.count(), theirs.count()), (0, 3));
        for host in ["acme.test", "x.api.beta.test", "api.beta.test.evil.test"] {
            at(host, "/svc/a").await.expect_status(200);
        }
        assert_eq!((ours.count(), theirs.count()), (3, 3));
        // Nobody else's routes are on it.
        at("api.beta.test", "/o/acme/svc/a").await.expect_status(404);

        // Only an instance admin gives hosts.
        let bob = beta.add("bob", "owner").await;
        let wanted = route("/svc/b", &theirs, &json!({"host": "other.beta.test"}));
        expect_refusal(bob.ask("POST", "/api/routes").json(&wanted).send().await, 403, "insufficient_scope");
        for host in ["beta.test:8000", "beta test", "", "*.beta.test", "beta..test"] {
            let wanted = route("/svc/b", &theirs, &json!({"host": host}));
            expect_refusal(owner.post("/api/routes").json(&wanted).send().await, 400, "invalid_request");
        }
    }

    async fn two_routes_for_one_request_are_refused(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let owner = keyrack.owner();
        owner.make("/api/organizations", json!({"slug": "beta", "owner_email": keyrack.owner_email})).await;
        let beta = Person::owner(&keyrack).await.within("beta");
        let wanted = |path: &str, more: Value| route(path, &upstream, &more);
        owner.make("/api/routes", wanted("/svc/:id", json!({"name": "first", "methods": ["GET"]}))).await;
        let hosted = json!({"name": "hidden", "host": "api.test"});
        owner.make("/api/routes", wanted("/svc/x", hosted)).await;

        for same in [json!({}), json!({"methods": ["POST", "GET"]}), json!({"methods": ["HEAD"]}), json!({"enabled": false})] {
            let refused = owner.post("/api/routes").json(&wanted("/svc/:name", same)).send().await;
            let refused = expect_refusal(refused, 409, "route_clash").json();
            assert!(refused["details"].to_string().contains("first"), "{refused}");
        }
        let refused = beta.ask("POST", "/api/routes").json(&wanted("/svc/x", json!({"host": "api.test"})));
        let refused = expect_refusal(refused.send().await, 409, "route_clash").json();
        assert!(!refused.to_string().contains("hidden"), "another organization's route is not named: {refused}");

        let post = owner.make("/api/routes", wanted("/svc/:id", json!({"methods": ["POST"]}))).await;
        owner.make("/api/routes", wanted("/svc/x", json!({}))).await;
        beta.make("/api/routes", wanted("/svc/:id", json!({}))).await;
        let change = owner.request("PATCH", &format!("/api/routes/{}", text(&post["id"])));
        expect_refusal(change.json(&json!({"methods": ["GET"]})).send().await, 409, "route_clash");
        // The more specific one takes what both match, with the methods it has.
        keyrack.http().request("DELETE", "/svc/y").send().await.expect_status(404);
        keyrack.http().request("DELETE", "/svc/x").send().await.expect_status(200);

        for path in ["/api/x", "/hooks", "/o/acme/x", "/-/x", "/login", "/.well-known/keyrack/x", "/docs", "/health/:x"] {
            let refused = owner.post("/api/routes").json(&wanted(path, json!({})));
            expect_refusal(refused.send().await, 400, "invalid_request");
        }
    }

    async fn a_change_of_a_route_holds_from_the_next_request_on(database: Database) {
        let (keyrack, first, second) = (start(database), Upstream::start().await, Upstream::start().await);
        let (owner, http) = (keyrack.owner(), keyrack.http());
        let path = format!("/api/routes/{}", owner.make_route("/svc/a", json!({"scope": "a:read"}), &first.url()).await);
        let key = owner.make_key(json!({"name": "k", "scopes": ["a:read"]})).await;
        let knock = |path: &'static str| http.get(path).bearer(&key.secret).send();
        // More than once: a change that is slow to arrive would be caught now and then only.
        for _ in 0..5 {
            knock("/svc/a").await.expect_status(200);
            owner.change(&path, json!({"enabled": false})).await;
            expect_refusal(knock("/svc/a").await, 404, "not_found");
            owner.change(&path, json!({"enabled": true, "guard": {"scope": "b:read"}})).await;
            expect_refusal(knock("/svc/a").await, 403, "insufficient_scope");
            owner.change(&path, json!({"guard": {"groups": ["management"]}})).await;
            expect_unknown(knock("/svc/a").await);
            owner.change(&path, json!({"guard": {"scope": "a:read"}, "path": "/svc/moved"})).await;
            expect_refusal(knock("/svc/a").await, 404, "not_found");
            knock("/svc/moved").await.expect_status(200);
            owner.change(&path, json!({"path": "/svc/a", "methods": ["POST"]})).await;
            expect_refusal(knock("/svc/a").await, 404, "not_found");
            let reached = second.count();
            let target = json!({"kind": "upstream", "url": second.url()});
            owner.change(&path, json!({"methods": ["GET"], "target": target})).await;
            knock("/svc/a").await.expect_status(200);
            assert_eq!(second.count(), reached + 1);
            let target = json!({"kind": "upstream", "url": first.url()});
            owner.change(&path, json!({"target": target})).await;
        }
        owner.delete(&path).await;
        expect_refusal(knock("/svc/a").await, 404, "not_found");
        assert!(each(&owner.show("/api/routes").await, "id").is_empty());
    }

    /// A guard that names a workspace is not led elsewhere by the path.
    async fn the_workspace_of_a_guard_and_that_of_a_path_must_both_hold(database: Database) {
        let (keyrack, upstream) = (start(database), Upstream::start().await);
        let (owner, http): (Http, Http) = (keyrack.owner(), keyrack.http());
        let mut keys = Vec::new();
        for workspace in ["sales", "inventory"] {
            owner.make("/api/workspaces", json!({"slug": workspace})).await;
            keys.push(owner.make_key(json!({"name": workspace, "workspace": workspace})).await);
        }
        let [sales, inventory] = &keys[..] else { unreachable!() };
        owner.make_route("/svc/:workspace/x", json!({"workspace": "sales"}), &upstream.url()).await;
        http.get("/svc/sales/x").bearer(&sales.secret).send().await.expect_status(200);
        for (path, key) in [("/svc/inventory/x", inventory), ("/svc/inventory/x", sales), ("/svc/sales/x", inventory)] {
            expect_unknown(http.get(path).bearer(&key.secret).send().await);
        }
        expect_unknown(http.get("/svc/inventory/x").bearer(&keyrack.management_key).send().await);
        assert_eq!(upstream.count(), 1);
    }
}
