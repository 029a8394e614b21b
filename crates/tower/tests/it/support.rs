//! A service on axum with keys in front of it, over an engine of a test's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use keyrack_core::token::MasterKey;
use keyrack_core::{KeyId, OrganizationId, Pepper, Tier, Timestamp, from_micros};
use keyrack_engine::{
    Clock, Context, Engine, EngineRole, NewGroup, NewInstance, NewKey, NewOrganization, OrganizationPatch, OsRandom,
    Parts, Store,
};
use keyrack_testkit::{Answer, Database, Http};
use keyrack_tower::{KeyLayer, Keyrack, RequireKey};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The body of every 401, byte for byte.
pub(crate) const INVALID_API_KEY: &str = r#"{"error":"invalid_api_key","message":"Invalid API key"}"#;

/// A clock that stands until it is set.
pub(crate) struct TestClock {
    now: AtomicI64,
    uptime: AtomicI64,
}

impl TestClock {
    /// Time passes.
    pub(crate) fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        self.uptime.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// Somebody sets the clock.
    pub(crate) fn set_forward(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        from_micros(self.now.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> i64 {
        self.uptime.load(Ordering::SeqCst)
    }

    fn common(&self, _: i64) -> i64 {
        self.now.load(Ordering::SeqCst)
    }
}

/// An engine with the organizations `acme` and `beta`. `acme` has a group `partners` and the workspaces `sales` and `support`.
pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) acme: OrganizationId,
    pub(crate) beta: OrganizationId,
    _directory: TempDir,
}

impl World {
    pub(crate) async fn new(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        let clock = Arc::new(TestClock { now: 1_800_000_000_000_000.into(), uptime: 1_000_000_000.into() });
        let parts = Parts {
            store: Store::open(&url, clock.now()).await.unwrap(),
            clock: clock.clone(),
            random: Arc::new(OsRandom::default()),
            peppers: vec![Pepper::new(1, &[1; 32])],
            master_keys: vec![MasterKey::new(1, &[9; 32])],
            keyfile: None,
            master_key_days: None,
        };
        let engine = Engine::start(parts, EngineRole::Server).await.unwrap();
        let new = NewInstance {
            slug: "acme".to_owned(),
            name: None,
            tier: Some(Tier::Enterprise),
            owner_email: "ada@example.com".to_owned(),
            owner_password: "correct horse battery staple".to_owned(),
            with_management_key: false,
        };
        let acme = engine.initialize(new).await.unwrap().unwrap().organization;
        let host = Context::host(acme);
        let new = NewOrganization {
            slug: "beta".to_owned(),
            name: None,
            tier: Some(Tier::Enterprise),
            owner_email: Some("ada@example.com".to_owned()),
        };
        let beta = engine.create_organization(&host, new).await.unwrap().id;
        let partners = NewGroup { name: "partners".to_owned(), ..NewGroup::default() };
        engine.create_group(&host, partners).await.unwrap();
        for slug in ["sales", "support"] {
            engine.create_workspace(&host, slug, None).await.unwrap();
        }
        Self { clock, engine, acme, beta, _directory: directory }
    }

    pub(crate) fn keyrack(&self) -> Keyrack {
        Keyrack::in_process(Arc::clone(&self.engine), self.acme)
    }

    pub(crate) fn require(&self, key: RequireKey) -> KeyLayer {
        self.keyrack().require(key).unwrap()
    }

    pub(crate) async fn set_tier(&self, tier: Tier) {
        let patch = OrganizationPatch { tier: Some(tier), ..OrganizationPatch::default() };
        self.engine.update_organization(&Context::host(self.acme), patch).await.unwrap();
    }

    /// Makes a key in an organization.
    pub(crate) async fn key_of(&self, organization: OrganizationId, new: NewKey) -> (KeyId, String) {
        let made = self.engine.create_key(&Context::host(organization), new).await.unwrap();
        (made.key.key.id, made.secret.unwrap().expose().to_owned())
    }

    /// Makes a key of `acme`.
    pub(crate) async fn key(&self, new: NewKey) -> (KeyId, String) {
        self.key_of(self.acme, new).await
    }

    /// Makes one that may read contacts.
    pub(crate) async fn reader(&self) -> (KeyId, String) {
        self.key(named("reader")).await
    }
}

/// A key of this name that may read contacts.
pub(crate) fn named(name: &str) -> NewKey {
    let scopes = Some(vec!["contacts:read".to_owned()]);
    NewKey { name: Some(name.to_owned()), scopes, ..NewKey::default() }
}

/// Serves over real HTTP until the test ends.
pub(crate) async fn serve(app: Router) -> Http {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Http::new(format!("http://{}", listener.local_addr().unwrap()));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    http
}

/// The same, called from another address.
pub(crate) fn from(http: &Http, address: [u8; 4]) -> Http {
    Http::from_address(http.base(), IpAddr::from(address))
}

/// Asks with a key.
pub(crate) async fn get(http: &Http, path: &str, key: &str) -> Answer {
    http.get(path).header("x-api-key", key).send().await
}

/// Fails unless this is the one 401.
#[track_caller]
pub(crate) fn is_unknown(what: &str, answer: &Answer) {
    assert_eq!((answer.status, &*answer.text()), (401, INVALID_API_KEY), "{what}");
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="keyrack""#), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
}
