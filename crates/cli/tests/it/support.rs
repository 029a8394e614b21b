//! What the modules share: two organizations with something of each kind in them, and a look at everything they hold.

use std::net::TcpListener;
use std::time::Duration;

use jiff::Timestamp;
use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Database, Http, Keyrack};
use serde_json::{Value, json};

/// The program.
pub(crate) const KEYRACK: &str = env!("CARGO_BIN_EXE_keyrack");
/// The body of every 401, byte for byte.
pub(crate) const INVALID_API_KEY: &str = r#"{"error":"invalid_api_key","message":"Invalid API key"}"#;
/// An id that nothing has.
pub(crate) const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
/// How long to look for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Starts a keyrack that may reach upstreams on this machine.
pub(crate) fn start(database: Database) -> Keyrack {
    Keyrack::setup(KEYRACK, database).args(["--egress-allow", "127.0.0.1/32"]).start()
}

/// A port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An organization with one of each kind of thing in it.
pub(crate) struct Tenant {
    /// Its id.
    pub(crate) id: String,
    /// Presents a key that may manage it.
    pub(crate) manager: Http,
    /// The text of that key.
    pub(crate) manager_key: String,
    /// The id of a group, `readers`.
    pub(crate) group: String,
    /// The id of a workspace, `sales`.
    pub(crate) workspace: String,
    /// The id of a key.
    pub(crate) key: String,
    /// The text of that key.
    pub(crate) secret: String,
    /// The id of a route, at `/door`.
    pub(crate) route: String,
    /// The id of a secret of everybody, `DATABASE_URL`.
    pub(crate) secret_id: String,
    /// The id of a user who is a member.
    pub(crate) member: String,
}

/// A running keyrack with two organizations. `acme`'s manager is an instance admin, `beta`'s is none.
pub(crate) struct World {
    /// What serves them.
    pub(crate) keyrack: Keyrack,
    /// The first.
    pub(crate) acme: Tenant,
    /// The second.
    pub(crate) beta: Tenant,
    /// The owner of both.
    pub(crate) owner: Person,
}

impl World {
    /// Starts it all.
    pub(crate) async fn start(database: Database) -> Self {
        Self::around(start(database)).await
    }

    /// Fills a keyrack that has been started.
    pub(crate) async fn around(keyrack: Keyrack) -> Self {
        let acme = Tenant::furnish(&keyrack, keyrack.organization_id.clone(), keyrack.management_key.clone()).await;
        let owner = keyrack.owner();
        let new = json!({"slug": "beta", "owner_email": keyrack.owner_email});
        let beta = owner.post("/api/organizations").json(&new).send().await.expect_status(201).json();
        let made = keyrack.command("keys").args(["create", "--organization", "beta", "--group", "management"]);
        let manager = made.args(["--name", "manager", "--json"]).run().success().json();
        let beta = Tenant::furnish(&keyrack, text(&beta["id"]), text(&manager["secret"])).await;
        let owner = Person::sign_in(&keyrack.http(), &keyrack.owner_email, &keyrack.owner_password).await;
        Self { keyrack, acme, beta, owner }
    }

    /// Everything that is shown of both organizations, but for what looking changes.
    pub(crate) async fn state(&self) -> Value {
        json!([self.acme.state().await, self.beta.state().await])
    }
}

impl Tenant {
    async fn furnish(keyrack: &Keyrack, id: String, manager_key: String) -> Self {
        let manager = keyrack.http().with_bearer(&manager_key);
        let make =
            async |path: &str, body: Value| manager.post(path).json(&body).send().await.expect_status(201).json();
        let group = text(&make("/api/groups", json!({"name": "readers"})).await["id"]);
        let workspace = text(&make("/api/workspaces", json!({"slug": "sales"})).await["id"]);
        let reader = make("/api/keys", json!({"name": "reader", "group": "readers", "description": "reads"})).await;
        let guard = json!({"scope": "contacts:read"});
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let route = make("/api/routes", json!({"path": "/door", "guard": guard, "target": target})).await;
        let everybody_s = json!({"name": "DATABASE_URL", "value": "postgres://db", "scope": "global"});
        let secret = make("/api/secrets", everybody_s).await;
        // Somebody who is known, and invited here, is a member once they say yes with their password.
        let (email, password) = ("member@acme.test", "the password of the member");
        let invited = make("/api/members", json!({"email": email, "role": "member"})).await;
        let yes = json!({"token": invited["invitation"]["token"], "password": password});
        let member = keyrack.http().post("/api/members/accept").json(&yes).send().await.expect_status(201).json();
        Self {
            id,
            manager,
            manager_key,
            group,
            workspace,
            key: text(&reader["key"]["id"]),
            secret: text(&reader["secret"]),
            route: text(&route["id"]),
            secret_id: text(&secret["id"]),
            member: text(&member["user_id"]),
        }
    }

    /// Everything that is shown of the organization, but for what looking changes.
    pub(crate) async fn state(&self) -> Value {
        let mut state = Vec::new();
        for path in [
            "/api/keys?limit=200",
            "/api/groups",
            "/api/workspaces",
            "/api/members?limit=200",
            "/api/routes",
            "/api/secrets",
            "/api/settings",
            "/api/organizations",
            "/api/audit?limit=200",
            &format!("/api/keys/{}/secrets", self.key),
        ] {
            state.push(self.manager.get(path).send().await.expect_status(200).json());
        }
        without(json!(state), "last_used_at")
    }
}

/// The same without the fields of this name, at whatever depth.
fn without(value: Value, name: &str) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(|v| without(v, name)).collect(),
        Value::Object(members) => {
            members.into_iter().filter(|(n, _)| n != name).map(|(n, v)| (n, without(v, name))).collect()
        }
        other => other,
    }
}

/// A person who is signed in.
#[derive(Clone)]
pub(crate) struct Person {
    http: Http,
    /// The name and value of their cookie.
    pub(crate) cookie: String,
}

impl Person {
    /// Signs in.
    pub(crate) async fn sign_in(http: &Http, email: &str, password: &str) -> Self {
        let credentials = json!({"email": email, "password": password});
        let answer = http.post("/api/session").json(&credentials).send().await.expect_status(201);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { http: http.clone(), cookie }
    }

    /// Has them enter the password again, for what needs that.
    pub(crate) async fn step_up(self, password: &str) -> Self {
        let again = self.ask("POST", "/api/session/step-up").json(&json!({"password": password}));
        let answer = again.send().await.expect_status(200);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { cookie, ..self }
    }

    /// A request of theirs.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Request {
        self.http.request(method, path).header("cookie", &self.cookie)
    }
}

/// The text that a JSON value is.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Fails unless this refuses with this status, code and field (the first one named, or none).
#[track_caller]
pub(crate) fn expect_refusal(answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    let got = (answer.status, answer.json()["error"].clone(), answer.json()["details"][0]["field"].clone());
    assert_eq!(got, (status, json!(code), json!(field)), "{}", answer.text());
}

/// Looks until a look finds something.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "{what} did not come in {PATIENCE:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The `OpenAPI` document as it is committed.
pub(crate) fn document() -> Value {
    serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap()
}

/// A moment in whole milliseconds from now, for a key that is to expire.
#[expect(clippy::disallowed_methods, reason = "the server under test reads the clock of this machine too")]
pub(crate) fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond() + seconds * 1000).unwrap()
}
