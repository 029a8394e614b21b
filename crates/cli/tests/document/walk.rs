//! A walk over every operation of the document.

use keyrack_testkit::{Database, Keyrack};
use serde_json::{Value, json};

use crate::KEYRACK;
use crate::recorder::Recorder;

const NOBODY: &str = "01900000-0000-7000-8000-000000000000";

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_as_the_document_says() {
    let keyrack = Keyrack::setup(KEYRACK, Database::Sqlite).start();
    let r = Recorder::new(keyrack.http(), &keyrack.management_key);
    health_and_session(&r, &keyrack).await;
    account(&r, &keyrack).await;
    let key = keys(&r).await;
    verification(&r, &key).await;
    groups_and_workspaces(&r).await;
    organizations_and_members(&r, &keyrack).await;
    routes_settings_and_audit(&r).await;
    assert_eq!(r.unseen(), [], "operations that no step calls");
    for (method, path) in r.operations() {
        let places = path.matches('{').count();
        let request = r.request(&method, &path, &vec!["1"; places]);
        let answer = request.send().await;
        assert_eq!(
            answer.status != 401,
            r.is_open(&method, &path),
            "{method} {path} without a credential: {}",
            answer.status
        );
    }
}

async fn health_and_session(r: &Recorder, keyrack: &Keyrack) {
    r.call("GET", "/health/live", &[], None, 200).await;
    r.call("GET", "/health/ready", &[], None, 200).await;
    r.call("GET", "/api/session", &[], None, 200).await;
    r.call("DELETE", "/api/session", &[], None, 403).await;
    let who = json!({"email": keyrack.owner_email, "password": "not the owner's password"});
    r.call("POST", "/api/session", &[], Some(who), 401).await;
    let who = json!({"email": keyrack.owner_email, "password": keyrack.owner_password});
    let signed_in = r.request("POST", "/api/session", &[]).json(&who).send().await.expect_status(201);
    let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    r.check("POST", "/api/session", r.request("POST", "/api/session", &[]).json(&who), 201).await;
    let me = r.check("GET", "/api/session", r.request("GET", "/api/session", &[]).header("cookie", &cookie), 200).await;
    assert_eq!(me["user"]["email"], json!(keyrack.owner_email));
    r.check("DELETE", "/api/session", r.request("DELETE", "/api/session", &[]).header("cookie", &cookie), 204).await;
    r.check("GET", "/api/session", r.request("GET", "/api/session", &[]).header("cookie", &cookie), 401).await;
}

/// A person's own account, from one step-up to the next.
async fn account(r: &Recorder, keyrack: &Keyrack) {
    let password = &keyrack.owner_password;
    let who = json!({"email": keyrack.owner_email, "password": password});
    let cookie_of =
        |answer: &keyrack_testkit::Answer| answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let signed_in = r.request("POST", "/api/session", &[]).json(&who).send().await.expect_status(201);
    let cookie = cookie_of(&signed_in);
    let ask = |method: &str, path: &str, cookie: &str| r.request(method, path, &[]).header("cookie", cookie);
    let wrong = ask("POST", "/api/session/step-up", &cookie).json(&json!({"password": "not the owner's"}));
    r.check("POST", "/api/session/step-up", wrong, 403).await;
    let begin = "/api/profile/second-factor";
    r.check("POST", begin, ask("POST", begin, &cookie), 403).await;
    let again = json!({"password": password});
    r.check("POST", "/api/session/step-up", ask("POST", "/api/session/step-up", &cookie).json(&again), 200).await;
    let stepping = r.request("POST", "/api/session", &[]).json(&who).send().await.expect_status(201);
    let stepped = ask("POST", "/api/session/step-up", &cookie_of(&stepping)).json(&again).send().await;
    let cookie = cookie_of(&stepped);

    let profile = r.check("GET", "/api/profile", ask("GET", "/api/profile", &cookie), 200).await;
    assert_eq!((&profile["has_second_factor"], &profile["has_stepped_up"]), (&json!(false), &json!(true)));
    r.check("PATCH", "/api/profile", ask("PATCH", "/api/profile", &cookie).json(&json!({"name": "Ada"})), 200).await;
    r.check("PATCH", "/api/profile", ask("PATCH", "/api/profile", &cookie).json(&json!({"name": ""})), 400).await;
    let sessions = r.check("GET", "/api/profile/sessions", ask("GET", "/api/profile/sessions", &cookie), 200).await;
    let other = sessions["data"].as_array().unwrap().iter().find(|session| session["is_current"] == false).unwrap();
    let end = "/api/profile/sessions/{session_id}";
    for status in [204, 404] {
        let request = r.request("DELETE", end, &[other["id"].as_str().unwrap()]).header("cookie", &cookie);
        r.check("DELETE", end, request, status).await;
    }

    let confirm = "/api/profile/second-factor/confirm";
    let codes = "/api/profile/recovery-codes";
    r.check("POST", codes, ask("POST", codes, &cookie), 404).await;
    let factor = r.check("POST", begin, ask("POST", begin, &cookie), 201).await;
    r.check("POST", confirm, ask("POST", confirm, &cookie).json(&json!({"code": "nothing"})), 400).await;
    let code = shown_by_device(factor["secret"].as_str().unwrap());
    r.check("POST", confirm, ask("POST", confirm, &cookie).json(&json!({"code": code})), 200).await;
    r.check("POST", begin, ask("POST", begin, &cookie), 409).await;
    let needs_code = r.check("POST", "/api/session", r.request("POST", "/api/session", &[]).json(&who), 401).await;
    assert_eq!(needs_code["error"], "second_factor_required");
    r.check("POST", codes, ask("POST", codes, &cookie), 200).await;
    r.check("DELETE", begin, ask("DELETE", begin, &cookie), 204).await;
    r.check("DELETE", begin, ask("DELETE", begin, &cookie), 404).await;

    let change = "/api/profile/password";
    let wrong = json!({"current_password": "not the owner's", "new_password": "quite another password"});
    r.check("POST", change, ask("POST", change, &cookie).json(&wrong), 403).await;
    let same = json!({"current_password": password, "new_password": password});
    r.check("POST", change, ask("POST", change, &cookie).json(&same), 200).await;
    r.call("GET", "/api/profile", &[], None, 403).await;
}

/// What a device shows now that has this secret.
#[expect(clippy::disallowed_methods, reason = "the server under test reads the clock of this machine too")]
fn shown_by_device(secret: &str) -> String {
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    keyrack_core::totp::code(&secret, i64::try_from(now).unwrap() / keyrack_core::totp::PERIOD)
}

async fn keys(r: &Recorder) -> Value {
    let full = json!({
        "name": "Full", "description": "Everything that can be said", "environment": "test", "group": "default",
        "scopes": ["contacts:read", "*:write"], "expires_at": "2099-12-31T00:00:00Z", "never_expires": false,
        "enabled": true, "ip_allowlist": ["127.0.0.1", "2001:db8::/32"], "metadata": {"team": {"size": 3}},
    });
    let created = r.call("POST", "/api/keys", &[], Some(full.clone()), 201).await;
    r.call("POST", "/api/keys", &[], Some(full), 409).await;
    let simple = r.call("POST", "/api/keys", &[], Some(json!({"name": "Simple"})), 201).await;
    let key = id(&simple["key"]);
    for (body, status) in [
        (json!({}), 400),
        (json!({"name": "x", "nonsense": 1}), 400),
        (json!({"name": "x", "level": "all"}), 400),
        (json!({"name": "x", "group": "nowhere"}), 400),
        (json!("x".repeat(300_000)), 413),
    ] {
        r.call("POST", "/api/keys", &[], Some(body), status).await;
    }
    let bare = r.request("POST", "/api/keys", &[]).header("x-api-key", r.key()).body("{}");
    r.check("POST", "/api/keys", bare, 415).await;
    let problem = r.request("POST", "/api/keys", &[]).header("x-api-key", r.key());
    let problem = problem.header("accept", "application/problem+json").json(&json!({}));
    let problem = r.check("POST", "/api/keys", problem, 400).await;
    assert_eq!(problem["status"], json!(400));
    for (body, status) in
        [(json!({"name": "Once"}), 201), (json!({"name": "Once"}), 201), (json!({"name": "Other"}), 422)]
    {
        let request = r.request("POST", "/api/keys", &[]).header("x-api-key", r.key()).header("idempotency-key", "a");
        r.check("POST", "/api/keys", request.json(&body), status).await;
    }
    r.call("GET", "/api/keys", &[], None, 200).await;
    for (query, status) in
        [("?group=default&status=active&unused_for=0d&sort=last_used_at&limit=1", 200), ("?limit=0", 400)]
    {
        let request = r.raw("GET", &format!("/api/keys{query}")).header("x-api-key", r.key());
        r.check("GET", "/api/keys", request, status).await;
    }
    r.call("GET", "/api/keys/{id}", &[&key], None, 200).await;
    r.call("GET", "/api/keys/{id}", &[NOBODY], None, 404).await;
    r.call("GET", "/api/keys/{id}/usage", &[&key], None, 200).await;
    r.call("GET", "/api/keys/{id}/usage?from=3000-01-01T00:00:00Z", &[&key], None, 400).await;
    r.call("GET", "/api/keys/{id}/usage", &[NOBODY], None, 404).await;
    let patch = json!({"expires_at": null, "enabled": false, "metadata": {"a": 1}, "level": "read_write"});
    r.call("PATCH", "/api/keys/{id}", &[&key], Some(patch), 200).await;
    r.call("PATCH", "/api/keys/{id}", &[&key], Some(json!({"secret": "x"})), 400).await;
    r.call("POST", "/api/keys/{id}/rotate", &[&id(&created["key"])], Some(json!({"overlap_seconds": 60})), 200).await;
    r.call("POST", "/api/keys/{id}/rotate", &[NOBODY], None, 404).await;
    r.call("GET", "/api/keys/{id}/secrets", &[&id(&created["key"])], None, 200).await;
    r.call("DELETE", "/api/keys/{id}/secrets/{version}", &[&id(&created["key"]), "1"], None, 204).await;
    r.call("DELETE", "/api/keys/{id}/secrets/{version}", &[&id(&created["key"]), "2"], None, 409).await;
    r.call("DELETE", "/api/keys/{id}/secrets/{version}", &[&id(&created["key"]), "9"], None, 404).await;
    r.call("POST", "/api/keys/{id}/revoke", &[&key], Some(json!({"reason": "for the walk"})), 200).await;
    r.call("POST", "/api/keys/{id}/revoke", &[&key], None, 200).await;
    r.call("PATCH", "/api/keys/{id}", &[&key], Some(json!({"enabled": true})), 409).await;
    r.call("POST", "/api/keys/{id}/rotate", &[&key], None, 409).await;
    r.call("DELETE", "/api/keys/{id}", &[&key], None, 204).await;
    r.call("DELETE", "/api/keys/{id}", &[&key], None, 404).await;
    let text = json!({"key": "an-imported-key-of-another-system", "name": "Imported"});
    r.call("POST", "/api/keys/import", &[], Some(json!({"keys": [text]})), 201).await;
    r.call("POST", "/api/keys/import", &[], Some(json!({"keys": [text]})), 409).await;
    r.call("POST", "/api/keys/import", &[], Some(json!({"keys": []})), 400).await;
    created
}

async fn tokens(r: &Recorder, secret: &str) {
    let create = || r.request("POST", "/api/tokens", &[]).header("x-api-key", secret);
    let made = r.check("POST", "/api/tokens", create().json(&json!({"scopes": [], "expires_in": 60})), 201).await;
    let token = made["token"].as_str().unwrap();
    r.check("POST", "/api/tokens", create().json(&json!({"expires_in": 3601})), 400).await;
    r.check("POST", "/api/tokens", create().json(&json!({"scopes": ["keyrack.instance:admin"]})), 403).await;
    let again = r.request("POST", "/api/tokens", &[]).bearer(token).json(&json!({}));
    r.check("POST", "/api/tokens", again, 403).await;
    r.call("POST", "/api/tokens/signing-keys", &[], None, 201).await;
    r.call("GET", "/.well-known/keyrack/keys", &[], None, 200).await;
    r.call("POST", "/api/verify", &[], Some(json!({"key": token})), 200).await;
    let found = r.call("POST", "/api/keys", &[], Some(json!({"name": "Found"})), 201).await;
    for text in [found["secret"].as_str().unwrap(), "sk_live_nothing", token] {
        let form = r.request("POST", "/api/revoke", &[]).header("content-type", "application/x-www-form-urlencoded");
        r.check("POST", "/api/revoke", form.body(format!("token={text}&token_type_hint=x")), 200).await;
    }
}

async fn verification(r: &Recorder, created: &Value) {
    let fresh = r.call("POST", "/api/keys", &[], Some(json!({"name": "Asked about", "metadata": {"a": 1}})), 201).await;
    let secret = fresh["secret"].as_str().unwrap();
    for question in [
        json!({"key": secret}),
        json!({"key": secret, "scope": "contacts:read", "groups": ["default"], "roles": ["member"], "ip": "::1"}),
        json!({"key": secret, "scope": "contacts:admin"}),
        json!({"key": created["secret"], "method": "GET", "path": "/contacts"}),
        json!({"key": "sk_live_nothing"}),
    ] {
        r.call("POST", "/api/verify", &[], Some(question), 200).await;
    }
    r.call("POST", "/api/verify", &[], Some(json!({"key": secret, "scope": "nonsense"})), 400).await;
    tokens(r, secret).await;
    r.call("POST", "/api/verify/batch", &[], Some(json!({"keys": [{"key": secret}, {"key": "x"}]})), 200).await;
    for (token, active) in [(secret, true), ("sk_live_nothing", false)] {
        let form = r.request("POST", "/api/introspect", &[]).header("x-api-key", r.key());
        let form = form.header("content-type", "application/x-www-form-urlencoded").body(format!("token={token}"));
        assert_eq!(r.check("POST", "/api/introspect", form, 200).await["active"], json!(active));
    }
}

async fn groups_and_workspaces(r: &Recorder) {
    let new = json!({"name": "analytics", "description": "d", "key_format": {"prefix": "", "body": "base64url"},
        "hash_profile": "hmac-sha256", "default_scopes": ["reports:read"]});
    let group = id(&r.call("POST", "/api/groups", &[], Some(new.clone()), 201).await);
    r.call("POST", "/api/groups", &[], Some(new), 409).await;
    r.call("POST", "/api/groups", &[], Some(json!({"name": "Bad Name"})), 400).await;
    r.call("GET", "/api/groups", &[], None, 200).await;
    r.call("GET", "/api/groups/{id}", &[&group], None, 200).await;
    r.call("GET", "/api/groups/{id}", &[NOBODY], None, 404).await;
    r.call("PATCH", "/api/groups/{id}", &[&group], Some(json!({"key_format": null, "name": "reports"})), 200).await;
    r.call("POST", "/api/keys", &[], Some(json!({"name": "in it", "group": "reports"})), 201).await;
    r.call("DELETE", "/api/groups/{id}", &[&group], None, 409).await;
    let anyway = delete(r, &format!("/api/groups/{group}?revoke_keys=true"));
    r.check("DELETE", "/api/groups/{id}", anyway, 204).await;
    let workspace =
        id(&r.call("POST", "/api/workspaces", &[], Some(json!({"slug": "sales", "name": "Sales"})), 201).await);
    r.call("POST", "/api/workspaces", &[], Some(json!({"slug": "sales"})), 409).await;
    r.call("GET", "/api/workspaces", &[], None, 200).await;
    r.call("GET", "/api/workspaces/{id}", &[&workspace], None, 200).await;
    r.call("PATCH", "/api/workspaces/{id}", &[&workspace], Some(json!({"name": "Selling"})), 200).await;
    r.call("POST", "/api/keys", &[], Some(json!({"name": "bound", "workspace": "sales"})), 201).await;
    r.call("DELETE", "/api/workspaces/{id}", &[&workspace], None, 409).await;
    r.call("DELETE", "/api/workspaces/{id}", &[NOBODY], None, 404).await;
}

fn delete(r: &Recorder, path: &str) -> keyrack_testkit::http::Request {
    r.raw("DELETE", path).header("x-api-key", r.key())
}

async fn organizations_and_members(r: &Recorder, keyrack: &Keyrack) {
    r.call("GET", "/api/organizations", &[], None, 200).await;
    r.call("GET", "/api/organizations/{id}", &[&keyrack.organization_id], None, 200).await;
    let new = json!({"slug": "other", "tier": "pro", "owner_email": keyrack.owner_email});
    let other = id(&r.call("POST", "/api/organizations", &[], Some(new.clone()), 201).await);
    r.call("POST", "/api/organizations", &[], Some(new), 409).await;
    for path in ["/api/organizations/{id}/quota", "/api/organizations/{id}"] {
        r.call("GET", path, &[&other], None, 200).await;
        r.call("GET", path, &[NOBODY], None, 404).await;
    }
    let limits = json!({"rate_limits": [{"limit": 10, "window_seconds": 1}], "quota_used": 7});
    r.call("PATCH", "/api/organizations/{id}", &[&other], Some(limits), 200).await;
    r.call("PATCH", "/api/organizations/{id}", &[&other], Some(json!({"rate_limits": [], "quota_used": 0})), 400).await;
    for query in ["", "?by=day&from=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z", "?instance=true"] {
        r.call("GET", &format!("/api/usage{query}"), &[], None, 200).await;
    }
    r.call("GET", "/api/usage?group=nothing", &[], None, 404).await;
    r.call("GET", "/api/usage?by=minute&from=2020-01-01T00:00:00Z", &[], None, 400).await;
    let told = r.call("GET", "/api/notifications", &[], None, 200).await;
    assert!(told["unread"].as_u64() > Some(0) && told["data"][0]["read"] == false, "{told}");
    r.call("POST", "/api/notifications/{id}/read", &[&id(&told["data"][0])], None, 204).await;
    r.call("POST", "/api/notifications/{id}/read", &[NOBODY], None, 404).await;
    assert_eq!(r.call("GET", "/api/notifications", &[], None, 200).await["unread"], 0);
    r.call("GET", "/api/tiers", &[], None, 200).await;
    r.call("PATCH", "/api/tiers", &[], Some(json!({"free": {"monthly_limit": 10_000}, "pro": {}})), 200).await;
    r.call("PATCH", "/api/tiers", &[], Some(json!({"free": {"monthly_limit": -1}})), 400).await;
    r.call("PATCH", "/api/organizations/{id}", &[&other], Some(json!({"state": "suspended"})), 200).await;
    r.call("PATCH", "/api/organizations/{id}", &[NOBODY], Some(json!({"name": "x"})), 404).await;
    let invited = json!({"email": "grace@acme.test", "role": "admin"});
    let invitation = r.call("POST", "/api/members", &[], Some(invited), 201).await;
    let accept = json!({"token": invitation["invitation"]["token"], "password": "a password that is long"});
    let grace = r.call("POST", "/api/members/accept", &[], Some(accept.clone()), 201).await;
    r.call("POST", "/api/members/accept", &[], Some(accept), 404).await;
    let at_once = json!({"email": "ada@acme.test", "role": "member", "password": "another long password"});
    let ada = r.call("POST", "/api/members", &[], Some(at_once.clone()), 201).await;
    r.call("POST", "/api/members", &[], Some(at_once), 409).await;
    r.call("GET", "/api/members", &[], None, 200).await;
    let grace = grace["user_id"].as_str().unwrap();
    r.call("PATCH", "/api/members/{user_id}", &[grace], Some(json!({"role": "member"})), 200).await;
    r.call("PATCH", "/api/members/{user_id}", &[grace], Some(json!({"role": "owner"})), 403).await;
    let ada = ada["member"]["user_id"].as_str().unwrap();
    r.call("DELETE", "/api/members/{user_id}", &[ada], None, 204).await;
    r.call("DELETE", "/api/members/{user_id}", &[ada], None, 404).await;
}

async fn routes_settings_and_audit(r: &Recorder) {
    let guard = json!({"scope": "contacts:read", "roles": ["member"], "query_key": true, "sessions": true});
    let new = json!({"path": "/contacts/:id", "methods": ["GET"], "guard": guard,
        "target": {"kind": "upstream", "url": "http://127.0.0.1:9"}});
    let route = id(&r.call("POST", "/api/routes", &[], Some(new.clone()), 201).await);
    r.call("POST", "/api/routes", &[], Some(new), 409).await;
    r.call("POST", "/api/routes", &[], Some(json!({"path": "/api/x", "guard": {}})), 400).await;
    r.call("GET", "/api/routes", &[], None, 200).await;
    r.call("GET", "/api/routes/{id}", &[&route], None, 200).await;
    r.call("PATCH", "/api/routes/{id}", &[&route], Some(json!({"enabled": false, "guard": {"public": true}})), 200)
        .await;
    r.call("GET", "/api/routes/{id}/metrics", &[&route], None, 200).await;
    secrets(r, &route).await;
    scripts(r).await;
    r.call("POST", "/api/keys/{id}/reveal", &[route.as_str()], None, 403).await;
    r.call("DELETE", "/api/routes/{id}", &[&route], None, 204).await;
    r.call("DELETE", "/api/routes/{id}", &[&route], None, 404).await;
    r.call("GET", "/api/settings", &[], None, 200).await;
    r.call("PATCH", "/api/settings", &[], Some(json!({"access_groups": ["management"]})), 200).await;
    r.call("PATCH", "/api/settings", &[], Some(json!({"second_factor": false, "session_hours": 12})), 200).await;
    r.call("PATCH", "/api/settings", &[], Some(json!({"session_hours": null})), 200).await;
    r.call("PATCH", "/api/settings", &[], Some(json!({"session_hours": 13})), 400).await;
    r.call("PATCH", "/api/settings", &[], Some(json!({"access_groups": ["nowhere"]})), 400).await;
    r.call("GET", "/api/audit", &[], None, 200).await;
    r.call("GET", "/api/nodes", &[], None, 200).await;
}

async fn scripts(r: &Recorder) {
    let source = "export default async (request, ctx) => Response.json({ hello: ctx.authenticatedKey?.name })";
    let new = |source: &str| json!({"path": "/run/hello", "guard": {"public": true}, "target": {"kind": "script", "source": source}});
    let script = id(&r.call("POST", "/api/routes", &[], Some(new(source)), 201).await);
    r.call("POST", "/api/routes", &[], Some(new("export default function (")), 400).await;
    r.call("GET", "/api/routes/{id}/versions", &[&script], None, 200).await;
    r.call("GET", "/api/routes/{id}/versions/{version}", &[&script, "1"], None, 200).await;
    r.call("GET", "/api/routes/{id}/versions/{version}", &[&script, "2"], None, 404).await;
    r.call("GET", "/api/routes/{id}/logs", &[&script], None, 200).await;
    let nobody = "00000000-0000-0000-0000-000000000000";
    r.call("GET", "/api/routes/{id}/metrics", &[nobody], None, 404).await;
    r.call("GET", "/api/routes/{id}/logs", &[nobody], None, 404).await;
    r.call("GET", "/api/routes/{id}/versions", &[nobody], None, 404).await;
    r.call("DELETE", "/api/routes/{id}", &[&script], None, 204).await;
}

async fn secrets(r: &Recorder, route: &str) {
    let new =
        json!({"name": "DATABASE_URL", "value": "postgres://db", "scope": "route", "owner": route, "comment": "c"});
    let secret = id(&r.call("POST", "/api/secrets", &[], Some(new.clone()), 201).await);
    r.call("POST", "/api/secrets", &[], Some(new), 409).await;
    r.call("POST", "/api/secrets", &[], Some(json!({"name": "A B", "value": "x", "scope": "global"})), 400).await;
    r.call("GET", "/api/secrets", &[], None, 200).await;
    r.call("GET", "/api/secrets/{id}", &[&secret], None, 200).await;
    r.call("PATCH", "/api/secrets/{id}", &[&secret], Some(json!({"value": "postgres://other"})), 200).await;
    r.call("DELETE", "/api/secrets/{id}", &[&secret], None, 204).await;
    r.call("DELETE", "/api/secrets/{id}", &[&secret], None, 404).await;
}

#[test]
fn committed_document_is_the_one_the_router_makes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let check = keyrack_testkit::Program::new(KEYRACK).args(["openapi", "--check"]).directory(folder).run();
    check.success();
}
