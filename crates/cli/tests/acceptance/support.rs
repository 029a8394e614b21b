//! What the walks share: callers, the few calls that all of them make, and a look into the database.

use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use keyrack_testkit::http::Request;
use keyrack_testkit::{Answer, Database, Http, Keyrack};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

/// The program.
pub(crate) const KEYRACK: &str = env!("CARGO_BIN_EXE_keyrack");
/// The body of every 401, byte for byte.
pub(crate) const INVALID_API_KEY: &str = r#"{"error":"invalid_api_key","message":"Invalid API key"}"#;
/// What tells a service who calls.
pub(crate) const IDENTITY: [&str; 8] = [
    "x-consumer-id",
    "x-consumer-username",
    "x-consumer-groups",
    "x-credential-identifier",
    "x-keyrack-key-name",
    "x-keyrack-workspace",
    "x-keyrack-scopes",
    "x-keyrack-role",
];
/// How long to look for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts a keyrack that may reach upstreams on this machine.
pub(crate) fn start(database: Database) -> Keyrack {
    Keyrack::setup(KEYRACK, database).args(["--egress-allow", "127.0.0.1/32"]).start()
}

/// Waits for one's turn to keep the machine busy: two at once would take each other's database the time to answer.
pub(crate) async fn busy() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Somebody who calls: a key, or a person.
pub(crate) trait Caller {
    /// A request of theirs.
    fn ask(&self, method: &str, path: &str) -> Request;

    /// Makes something.
    async fn make(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path).json(&body).send().await.expect_status(201).json()
    }

    /// Makes a key.
    async fn make_key(&self, body: Value) -> Key {
        Key::of(&self.make("/api/keys", body).await)
    }

    /// Makes a route to an upstream; its id.
    async fn make_route(&self, path: &str, guard: Value, upstream: &str) -> String {
        let target = json!({"kind": "upstream", "url": upstream});
        text(&self.make("/api/routes", json!({"path": path, "guard": guard, "target": target})).await["id"])
    }

    /// Shows something.
    async fn show(&self, path: &str) -> Value {
        self.ask("GET", path).send().await.expect_status(200).json()
    }

    /// Changes something.
    async fn change(&self, path: &str, body: Value) -> Value {
        self.ask("PATCH", path).json(&body).send().await.expect_status(200).json()
    }

    /// Deletes something.
    async fn delete(&self, path: &str) {
        self.ask("DELETE", path).send().await.expect_status(204);
    }

    /// Revokes a key.
    async fn revoke(&self, key: &Key) -> Value {
        self.ask("POST", &format!("{}/revoke", key.path())).send().await.expect_status(200).json()
    }
}

impl Caller for Http {
    fn ask(&self, method: &str, path: &str) -> Request {
        self.request(method, path)
    }
}

/// A person who is signed in.
#[derive(Clone)]
pub(crate) struct Person {
    http: Http,
    /// The name and value of their cookie.
    pub(crate) cookie: String,
    organization: Option<String>,
}

impl Person {
    /// Signs in.
    pub(crate) async fn sign_in(http: &Http, email: &str, password: &str) -> Self {
        let credentials = json!({"email": email, "password": password});
        let answer = http.post("/api/session").json(&credentials).send().await.expect_status(201);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { http: http.clone(), cookie, organization: None }
    }

    /// The owner of the first organization.
    pub(crate) async fn owner(keyrack: &Keyrack) -> Self {
        let owner = Self::sign_in(&keyrack.http(), &keyrack.owner_email, &keyrack.owner_password).await;
        owner.step_up(&keyrack.owner_password).await
    }

    /// Has them enter the password again, for what needs that.
    async fn step_up(self, password: &str) -> Self {
        let again = self.http.post("/api/session/step-up").header("cookie", &self.cookie);
        let answer = again.json(&json!({"password": password})).send().await.expect_status(200);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { cookie, ..self }
    }

    /// The same person, speaking of this organization of theirs.
    pub(crate) fn within(&self, organization: &str) -> Self {
        Self { organization: Some(organization.to_owned()), ..self.clone() }
    }

    /// Makes an account for somebody in the organization, and signs in with it.
    pub(crate) async fn add(&self, name: &str, role: &str) -> Self {
        let (email, password) = (format!("{name}@acme.test"), format!("the password of {name}"));
        self.make("/api/members", json!({"email": email, "role": role, "password": password})).await;
        Self::sign_in(&self.http, &email, &password).await
    }

    /// Their id.
    pub(crate) async fn id(&self) -> String {
        text(&self.show("/api/session").await["user"]["id"])
    }
}

impl Caller for Person {
    fn ask(&self, method: &str, path: &str) -> Request {
        let request = self.http.request(method, path).header("cookie", &self.cookie);
        match &self.organization {
            Some(organization) => request.header("keyrack-organization", organization),
            None => request,
        }
    }
}

/// A key that was made, with its text.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its id.
    pub(crate) id: String,
    /// Its text.
    pub(crate) secret: String,
}

impl Key {
    /// The one in the answer to a create.
    pub(crate) fn of(created: &Value) -> Self {
        Self { id: text(&created["key"]["id"]), secret: text(&created["secret"]) }
    }

    /// Where it is managed.
    pub(crate) fn path(&self) -> String {
        format!("/api/keys/{}", self.id)
    }
}

/// The text that a JSON value is.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// The values of a field in a list.
pub(crate) fn each(list: &Value, field: &str) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|entry| text(&entry[field])).collect()
}

/// Fails unless this is the one 401 that there is.
#[track_caller]
pub(crate) fn expect_unknown(answer: Answer) -> Answer {
    let answer = answer.expect_status(401);
    assert_eq!(answer.text(), INVALID_API_KEY);
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="keyrack""#));
    answer
}

/// Fails unless this refuses with this status and code.
#[track_caller]
pub(crate) fn expect_refusal(answer: Answer, status: u16, code: &str) -> Answer {
    let answer = answer.expect_status(status);
    assert_eq!(answer.json()["error"], code, "{}", answer.text());
    answer
}

/// The values of a header in what an upstream has seen.
pub(crate) fn seen_headers(seen: &Value, name: &str) -> Vec<String> {
    let headers = seen["headers"].as_array().unwrap();
    headers.iter().filter(|header| header[0] == name).map(|header| text(&header[1])).collect()
}

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "the server under test reads the clock of this machine too")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A moment in whole milliseconds from now, for a key that is to expire.
pub(crate) fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(now().as_millisecond() + seconds * 1000).unwrap()
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

/// Knocks from now, while the key still works, until it no longer does: neither a moment too early nor one too late, and
/// for good.
pub(crate) async fn expect_expiry(ends: Timestamp, knock: impl AsyncFn() -> Answer) {
    knock().await.expect_status(200);
    let mut refusals = 0;
    while refusals < 3 {
        let began = now();
        let answer = knock().await;
        if answer.status == 200 {
            assert!(began < ends && refusals == 0, "let in at {began}, although the key ended at {ends}");
            tokio::time::sleep(PAUSE).await;
        } else {
            expect_unknown(answer);
            assert!(now() >= ends, "refused before {ends}");
            refusals += 1;
        }
    }
}

/// The first column of what SQL finds, as text.
pub(crate) async fn select(keyrack: &Keyrack, sql: &str) -> Vec<String> {
    let (url, sql) = (&keyrack.database_url, AssertSqlSafe(sql));
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
    }
}

/// Everything the database holds: the bytes of its files, or the text of each row.
pub(crate) async fn everything_stored(keyrack: &Keyrack) -> Vec<u8> {
    if let Some(path) = keyrack.database_url.strip_prefix("sqlite:") {
        let log = std::fs::read(format!("{path}-wal")).unwrap_or_default();
        return [std::fs::read(path).unwrap(), log].concat();
    }
    let tables =
        select(keyrack, "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'");
    let mut rows = Vec::new();
    for table in tables.await {
        rows.extend(select(keyrack, &format!(r#"SELECT t::text FROM "{table}" t"#)).await);
    }
    rows.join("\n").into_bytes()
}

/// Whether bytes hold a text, as it is or (as PostgreSQL shows bytes) in hexadecimal digits.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    let hex = HEXLOWER.encode(text.as_bytes());
    [text.as_bytes(), hex.as_bytes()].into_iter().any(|wanted| bytes.windows(wanted.len()).any(|part| part == wanted))
}
