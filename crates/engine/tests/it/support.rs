//! An engine of a test's own, with a clock that the test sets.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Poll, Waker};

use keyrack_core::carrier::Carried;
use keyrack_core::decide::Place;
use keyrack_core::guard::{Audience, Demand};
use keyrack_core::token::MasterKey;
use keyrack_core::{
    Decision, Guard, KeyId, OrganizationId, Pepper, Reason, Tier, Timestamp, UserId, from_micros, micros,
};
use keyrack_engine::{
    Actor, Call, Charge, Clock, Context, CreatedKey, Engine, EngineRole, Error, KeyView, NewInstance, NewKey,
    OrganizationPatch, OsRandom, Parts, Person, Presented, Store, Verdict,
};
use keyrack_testkit::Database;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

pub(crate) const OWNER: &str = "ada@example.com";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A clock that stands until it is set: as a machine has it, and the database. Each machine was started at another time.
#[derive(Debug)]
pub(crate) struct TestClock {
    now: Arc<AtomicI64>,
    /// What the database's clock is ahead of ours.
    database_ahead: Arc<AtomicI64>,
    started: AtomicI64,
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        let (now, started) = (1_800_000_000_123_457, 1_767_225_600_000_000);
        let (now, database_ahead) = (Arc::new(AtomicI64::new(now)), Arc::default());
        Arc::new(Self { now, database_ahead, started: AtomicI64::new(started) })
    }

    /// That of another machine, at which it is as late.
    pub(crate) fn of_another_machine(&self) -> Arc<Self> {
        const LATER: i64 = 98_765_432_109;
        let started = AtomicI64::new(self.started.load(Ordering::SeqCst) + LATER);
        Arc::new(Self { now: Arc::clone(&self.now), database_ahead: Arc::clone(&self.database_ahead), started })
    }

    pub(crate) fn set(&self, to: Timestamp) {
        self.now.store(micros(to), Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.advance_micros(seconds * 1_000_000);
    }

    pub(crate) fn advance_micros(&self, micros: i64) {
        self.now.fetch_add(micros, Ordering::SeqCst);
    }

    /// So much later this machine is thawed, which knows nothing of it.
    pub(crate) fn stand_still(&self, micros: i64) {
        self.advance_micros(micros);
        self.started.fetch_add(micros, Ordering::SeqCst);
    }

    /// Somebody sets the database's clock.
    pub(crate) fn move_database(&self, micros: i64) {
        self.database_ahead.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        from_micros(self.now.load(Ordering::SeqCst))
    }

    /// It is set by letting time pass.
    fn uptime(&self) -> i64 {
        self.now.load(Ordering::SeqCst) - self.started.load(Ordering::SeqCst)
    }

    fn common(&self, _: i64) -> i64 {
        self.now.load(Ordering::SeqCst) + self.database_ahead.load(Ordering::SeqCst)
    }
}

pub(crate) fn pepper(id: i64, byte: u8) -> Pepper {
    Pepper::new(id, &[byte; 32])
}

/// Starts an engine on a database, as a process of its own would.
pub(crate) async fn start(
    url: &str,
    clock: &Arc<TestClock>,
    peppers: Vec<Pepper>,
    role: EngineRole,
) -> keyrack_engine::Result<Arc<Engine>> {
    let store = Store::open(url, clock.now()).await?;
    let random = Arc::new(OsRandom::default());
    let master_keys = vec![MasterKey::new(1, &[9; 32])];
    Engine::start(
        Parts { store, clock: clock.clone(), random, peppers, master_keys, keyfile: None, master_key_days: None },
        role,
    )
    .await
}

/// A server's engine on a database with one organization, its owner and its first key.
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) organization: OrganizationId,
    pub(crate) owner: UserId,
    pub(crate) management_key: String,
    pub(crate) directory: TempDir,
}

impl World {
    pub(crate) async fn new(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        Self::at(url, directory).await
    }

    /// On a database that is already made.
    pub(crate) async fn at(url: String, directory: TempDir) -> Self {
        let clock = TestClock::new();
        let engine = start(&url, &clock, vec![pepper(1, 1)], EngineRole::Server).await.unwrap();
        let new = NewInstance {
            slug: "acme".to_owned(),
            name: None,
            // Without a quota: most tests are not about it, and some ask for very much.
            tier: Some(Tier::Enterprise),
            owner_email: OWNER.to_owned(),
            owner_password: PASSWORD.to_owned(),
            with_management_key: true,
        };
        let made = engine.initialize(new).await.unwrap().unwrap();
        let management_key = made.management_key.unwrap().expose().to_owned();
        Self { url, clock, engine, organization: made.organization, owner: made.user, management_key, directory }
    }

    /// One whose organization has the quota of the free tier.
    pub(crate) async fn with_quota(database: Database) -> Self {
        let world = Self::new(database).await;
        world.set_tier_of(Tier::Free).await;
        world
    }

    pub(crate) async fn set_tier_of(&self, tier: Tier) {
        let patch = OrganizationPatch { tier: Some(tier), ..OrganizationPatch::default() };
        self.engine.update_organization(&self.host(), patch).await.unwrap();
    }

    /// Another engine on the same database, as another process has one.
    pub(crate) async fn another(&self, role: EngineRole) -> Arc<Engine> {
        self.another_at(&self.clock, role).await
    }

    /// The same on another machine.
    pub(crate) async fn another_at(&self, clock: &Arc<TestClock>, role: EngineRole) -> Arc<Engine> {
        start(&self.url, clock, vec![pepper(1, 1)], role).await.unwrap()
    }

    /// Another store on the same database.
    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.url, self.now()).await.unwrap()
    }

    /// Keeps every change of the organization waiting, until dropped.
    pub(crate) async fn lock(&self) -> keyrack_store::Writer {
        self.store().await.write(&[self.organization]).await.unwrap()
    }

    /// The number of the newest change. Nothing is changed without one.
    pub(crate) async fn head(&self) -> i64 {
        self.store().await.read().await.unwrap().feed_head().await.unwrap().unwrap().seq
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A moment so many seconds from now.
    pub(crate) fn later(&self, seconds: i64) -> Timestamp {
        from_micros(micros(self.now()) + seconds * 1_000_000)
    }

    /// The host's command line.
    pub(crate) fn host(&self) -> Context {
        Context::host(self.organization)
    }

    /// A signed-in person who has entered the password again.
    pub(crate) async fn stepped_up(&self, email: &str, password: &str) -> (Context, Person) {
        let (_, person) = self.signed_in(email, password).await;
        let again = self.engine.step_up(&person, password, None).await.unwrap();
        self.behind(again.token.expose()).await
    }

    /// A signed-in person.
    pub(crate) async fn signed_in(&self, email: &str, password: &str) -> (Context, Person) {
        let signed_in = self.engine.sign_in(email, password, (None, None)).await.unwrap();
        self.behind(signed_in.token.expose()).await
    }

    /// The person behind a cookie.
    pub(crate) async fn behind(&self, cookie: &str) -> (Context, Person) {
        let person = self.engine.person(cookie, Some(self.organization)).await.unwrap().unwrap();
        let actor = Actor::User {
            id: person.user,
            name: person.email.clone(),
            session: person.session,
            is_instance_admin: person.is_instance_admin,
            role: person.role,
        };
        (Context { actor, ..self.host() }, person)
    }

    /// Makes a key, as the host.
    pub(crate) async fn key(&self, new: NewKey) -> (KeyView, String) {
        shown(self.engine.create_key(&self.host(), new).await.unwrap())
    }

    /// Makes a key of this name in the default group, as the host.
    pub(crate) async fn plain_key(&self, name: &str) -> (KeyId, String) {
        let (key, text) = self.key(named(name)).await;
        (key.key.id, text)
    }

    /// What a door asks that any live key of the organization passes.
    pub(crate) fn any_key(&self) -> Guard {
        Guard::new(Audience::Own(self.organization))
    }

    /// What a door asks that wants this scope.
    pub(crate) fn scope(&self, scope: &str) -> Guard {
        Guard { demand: Some(Demand::Scope(scope.parse().unwrap())), ..self.any_key() }
    }

    /// Decides about a key at a door outside all workspaces.
    pub(crate) async fn ask(&self, text: &str, guard: &Guard) -> Verdict {
        self.engine.verify(guard, &presented(text)).await.unwrap()
    }

    /// Whether a key passes a door that any live key passes.
    pub(crate) async fn passes(&self, text: &str) -> bool {
        self.ask(text, &self.any_key()).await.is_grant()
    }

    /// Why a key does not pass it, if it does not.
    pub(crate) async fn reason(&self, text: &str) -> Option<Reason> {
        self.ask(text, &self.any_key()).await.reason()
    }

    /// Acts with a key, as the door made of it.
    pub(crate) async fn acting(&self, text: &str) -> Context {
        let verdict = self.ask_anywhere(text).await;
        let key = verdict.into_key().unwrap();
        let facts = key.facts();
        let actor = Actor::Key {
            id: facts.key,
            name: key.record.name.to_string(),
            organization: facts.organization,
            workspace: facts.workspace,
            is_instance_admin: facts.in_access_group && facts.scopes.grants(&keyrack_engine::instance_scope()),
        };
        Context { actor, ..Context::host(facts.organization) }
    }

    async fn ask_anywhere(&self, text: &str) -> Verdict {
        let presented = Presented { place: Place::Anywhere, charge: Charge::Nothing, ..presented(text) };
        self.engine.verify(&Guard::new(Audience::Any), &presented).await.unwrap()
    }
}

/// A key of this name with nothing else said.
pub(crate) fn named(name: &str) -> NewKey {
    NewKey { name: Some(name.to_owned()), ..NewKey::default() }
}

pub(crate) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A made key and its text.
pub(crate) fn shown(created: CreatedKey) -> (KeyView, String) {
    let text = created.secret.unwrap().expose().to_owned();
    (created.key, text)
}

/// A request that carries this key and says little else.
pub(crate) fn presented(text: &str) -> Presented<'_> {
    Presented {
        credential: Carried::Key(text.into()),
        session: None,
        method: "GET",
        address: Some(IpAddr::from([192, 0, 2, 1])),
        place: Place::Nowhere,
        charge: Charge::Units(1),
        call: Call::default(),
    }
}

pub(crate) trait IsGrant {
    fn is_grant(&self) -> bool;
}

impl IsGrant for Verdict {
    fn is_grant(&self) -> bool {
        matches!(self.decision, Decision::Grant(_))
    }
}

/// What a future gives without waiting for anything, if it does.
pub(crate) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The stable word of a refusal: a code, or the field that cannot be taken.
pub(crate) fn code<T>(result: keyrack_engine::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(Error::Conflict { code, .. } | Error::Forbidden { code, .. }) => code.to_owned(),
        Err(Error::Invalid(field)) => field.field,
        Err(Error::NotFound(what)) => format!("no {what}"),
        Err(Error::Unauthorized) => "unauthorized".to_owned(),
        Err(Error::IdempotencyMismatch) => "mismatch".to_owned(),
        Err(Error::Unavailable(what, source)) => {
            // Shown where a test did not expect it.
            eprintln!("{what}: {source:?}");
            "unavailable".to_owned()
        }
        Err(Error::Overloaded) => "overloaded".to_owned(),
        Err(Error::NotYetSeen) => "not yet seen".to_owned(),
        Err(error) => panic!("{error:?}"),
    }
}

/// Runs so many cases of a property, or as many as `PROPTEST_CASES` asks for.
pub(crate) fn runner(usual: u32) -> TestRunner {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests, as proptest has it itself")]
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|number| number.parse().ok());
    TestRunner::new(Config { cases: asked.unwrap_or(usual), failure_persistence: None, ..Config::default() })
}
