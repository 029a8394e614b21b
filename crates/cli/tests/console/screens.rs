//! Pictures of every page, to be looked at: light, dark and on a phone. `./test --screenshots` draws them.

use std::path::{Path, PathBuf};

use keyrack_testkit::Upstream;
use serde_json::{Value, json};

use crate::support::{Desk, text};

/// What stands on the pages: keys of every kind, routes, people, traffic.
pub(crate) struct Furnished {
    pub(crate) desk: Desk,
    pub(crate) key: String,
    pub(crate) rotating: String,
    /// A secret.
    secret: String,
    pub(crate) group: String,
    pub(crate) route: String,
    script: String,
    _service: Upstream,
}

impl Furnished {
    pub(crate) async fn new(desk: Desk) -> Self {
        let service = Upstream::start().await;
        for (slug, name) in [("sales", "Sales"), ("inventory", "Inventory")] {
            desk.make("/api/workspaces", json!({"slug": slug, "name": name})).await;
        }
        let group = desk
            .make(
                "/api/groups",
                json!({"name": "analytics", "description": "Reports at night",
            "key_format": {"prefix": "", "body": "base64url"}, "default_scopes": ["reports:read"],
            "rate_limits": [{"limit": 600, "window_seconds": 60}]}),
            )
            .await;
        let guard = json!({"resource": "contacts"});
        let target = json!({"kind": "upstream", "url": service.url()});
        let route = desk
            .make(
                "/api/routes",
                json!({"name": "Contacts", "path": "/contacts/*rest", "guard": guard, "target": target}),
            )
            .await;
        let public = json!({"name": "Status", "path": "/status", "guard": {"public": true}, "target": target});
        desk.make("/api/routes", public).await;
        let door = json!({"name": "Contacts list", "path": "/contacts", "guard": guard, "target": target});
        desk.make("/api/routes", door).await;
        let source = "export default async (request, ctx) => {\n  console.log('asked', ctx.query);\n  if (ctx.query.fail) throw new Error('it fails');\n  return Response.json({ hello: 'world' });\n};\n";
        let target = json!({"kind": "script", "source": source});
        let script = json!({"name": "Report", "path": "/run/report", "guard": {"public": true}, "target": target});
        let script = text(&desk.make("/api/routes", script).await["id"]);
        desk.http().get("/run/report?a=b").send().await.expect_status(200);
        desk.http().get("/run/report?fail=1").send().await.expect_status(500);
        let mut secret = None;
        for new in [
            json!({"name": "DATABASE_URL", "value": "postgres://prod", "scope": "global", "comment": "The production database"}),
            json!({"name": "DATABASE_URL", "value": "postgres://readonly", "scope": "group", "owner": "analytics"}),
            json!({"name": "PARTNER_TOKEN", "value": "-----BEGIN-----\nabc", "scope": "route", "owner": "Contacts"}),
        ] {
            secret = Some(text(&desk.make("/api/secrets", new).await["id"]));
        }
        let mut made = Vec::new();
        for key in [
            json!({"name": "Website form", "description": "The form on the landing page", "scopes": ["contacts:write"], "workspace": "sales"}),
            json!({"name": "Dashboard", "scopes": ["contacts:read", "incidents:read", "orders:read", "reports:read", "invoices:write"], "expires_at": "2027-01-31T23:59:59Z"}),
            json!({"name": "Nightly report", "group": "analytics", "ip_allowlist": ["10.0.0.0/8", "2001:db8::/32"], "rate_limits": [{"limit": 10, "window_seconds": 1}], "metadata": {"team": "data"}}),
            json!({"name": "Partner import", "level": "read_write", "enabled": false}),
            json!({"name": "An old integration with quite a long name that has to go somewhere", "level": "read_only"}),
        ] {
            made.push(desk.make("/api/keys", key).await);
        }
        let id = |at: usize| text(&made[at]["key"]["id"]);
        let value = |at: usize| text(&made[at]["secret"]);
        let (owner, http) = (desk.keyrack.owner(), desk.http());
        for _ in 0..40 {
            http.get("/contacts").bearer(value(1)).send().await;
        }
        for _ in 0..7 {
            http.get("/contacts").bearer(value(0)).send().await;
            http.get("/contacts").bearer("sk_live_nobody").send().await;
        }
        let revoke = format!("/api/keys/{}/revoke", id(4));
        owner.post(&revoke).json(&json!({"reason": "nobody knows what it is for"})).send().await.expect_status(200);
        let rotate = format!("/api/keys/{}/rotate", id(1));
        owner.post(&rotate).json(&json!({"overlap_seconds": 3600})).send().await.expect_status(200);
        desk.add_person("grace@acme.test", "admin", "the password of grace").await;
        desk.make("/api/members", json!({"email": "linus@acme.test", "role": "member"})).await;
        let (key, rotating, secret) = (id(2), id(1), secret.unwrap());
        Self {
            desk,
            key,
            rotating,
            secret,
            group: text(&group["id"]),
            route: text(&route["id"]),
            script,
            _service: service,
        }
    }

    /// Every page that is opened by its address, with a name for its picture.
    pub(crate) fn pages(&self) -> Vec<(&'static str, String)> {
        let at = |path: &str| format!("/organizations/acme{path}");
        let Self { key, rotating, secret, group, route, script, .. } = self;
        vec![
            ("organizations", "/organizations".to_owned()),
            ("overview", at("")),
            ("keys", at("/keys")),
            ("keys-filtered", at("/keys?name=nothing&status=active")),
            ("key-new", at("/keys/new")),
            ("key", at(&format!("/keys/{key}"))),
            ("key-rotating", at(&format!("/keys/{rotating}"))),
            ("key-edit", at(&format!("/keys/{key}/edit"))),
            ("key-rotate", at(&format!("/keys/{key}/rotate"))),
            ("key-revoke", at(&format!("/keys/{rotating}/revoke"))),
            ("groups", at("/groups")),
            ("group-new", at("/groups/new")),
            ("group", at(&format!("/groups/{group}"))),
            ("workspaces", at("/workspaces")),
            ("members", at("/members")),
            ("routes", at("/routes")),
            ("route-new", at("/routes/new")),
            ("route", at(&format!("/routes/{route}"))),
            ("route-script", at(&format!("/routes/{script}"))),
            ("script", at(&format!("/routes/{script}/script"))),
            ("secrets", at("/secrets")),
            ("secrets-filtered", at("/secrets?scope=group&owner=analytics")),
            ("secret-new", at("/secrets/new")),
            ("secret", at(&format!("/secrets/{secret}"))),
            ("explain", at(&format!("/explain?key={rotating}&path=/contacts"))),
            ("usage", at("/usage?by=hour")),
            ("audit", at("/audit")),
            ("notifications", at("/notifications")),
            ("settings", at("/settings")),
            ("profile", "/profile".to_owned()),
            ("step-up", "/profile/step-up?next=/profile".to_owned()),
            ("nothing", at("/nothing")),
        ]
    }
}

/// Draws what the browser shows, three times.
async fn draw(desk: &Desk, folder: &Path, name: &str) {
    for (look, is_dark, width) in [("light", false, 1280), ("dark", true, 1280), ("phone", false, 390)] {
        desk.browser.set_dark(is_dark).await;
        desk.browser.set_size(width, 900).await;
        desk.browser.draw(&folder.join(format!("{name}-{look}.png"))).await;
    }
    desk.browser.set_size(1280, 900).await;
    desk.browser.set_dark(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn screenshots() {
    let Some(folder) = std::env::var_os("KEYRACK_TEST_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    let Some(desk) = Desk::start().await else { return };
    desk.open("/login").await;
    draw(&desk, &folder, "login").await;
    desk.browser.fill("E-mail address", "ada@acme.test").await;
    desk.browser.fill("Password", "not the password").await;
    desk.browser.press("Sign in").await;
    desk.browser.wait_for_text("Wrong e-mail").await;
    draw(&desk, &folder, "login-wrong").await;
    desk.sign_in(&desk.keyrack.owner_email, &desk.keyrack.owner_password).await;
    desk.open("/organizations/acme").await;
    draw(&desk, &folder, "overview-empty").await;
    let furnished = Furnished::new(desk).await;
    for (name, path) in furnished.pages() {
        furnished.desk.open(&path).await;
        draw(&furnished.desk, &folder, name).await;
    }
    let desk = &furnished.desk;
    desk.open("/organizations/acme/keys/new").await;
    desk.browser.fill("What is it for?", "Shop").await;
    desk.browser.press("Create API key").await;
    desk.browser.wait_for_text("will not be shown again").await;
    draw(desk, &folder, "key-created").await;
    desk.browser
        .run("document.querySelector('[data-uncopied]').removeAttribute('data-uncopied')", Vec::<Value>::new())
        .await;
    desk.open(&format!("/organizations/acme/explain?key={}&path=/contacts", furnished.key)).await;
    desk.browser.press("Explain").await;
    desk.browser.wait_for_text("asks for").await;
    draw(desk, &folder, "explained").await;
    desk.open("/profile/step-up?next=/profile").await;
    desk.browser.fill("Password", &desk.keyrack.owner_password).await;
    desk.browser.press("Go on").await;
    desk.browser.press("Set up a second factor").await;
    desk.browser.wait_for_text("Scan this").await;
    draw(desk, &folder, "second-factor").await;
}
