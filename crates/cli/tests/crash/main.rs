//! The process dies at any moment, under load, again and again: nothing that it acknowledged is lost, nobody whose key was
//! taken away is let in, and every change has its event. A journal outside the process knows what was asked and answered.
//!
//! `KEYRACK_TEST_CRASHES` says how often, `KEYRACK_TEST_SEED` with which choices, `KEYRACK_TEST_BINARY` which program.
#![cfg(test)]

mod change;
mod check;
mod journal;
mod load;
mod master_key;
mod pepper;
mod question;
mod times;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use keyrack_testkit::postgres::PrivateCluster;
use keyrack_testkit::server::Setup;
use keyrack_testkit::{Database, Http, Keyrack, Upstream};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::check::{Audit, certain, check};
use crate::journal::{Fault, Journal};
use crate::load::{Client, watch};
use crate::question::{DOOR, Question, ask, knock};
use crate::times::Times;

/// How many clients change things at once.
const CLIENTS: usize = 6;
/// How often the process dies, unless somebody says otherwise. It is stopped in good order a fifth as often, and a
/// PostgreSQL under it killed a tenth as often: that takes longer.
const CRASHES: usize = 20;
/// One cycle in so many goes on for longer.
const LONG: usize = 20;
/// How long before a crash uses of keys must have been written down: a second, and another one for a busy machine.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

fn setting(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let text = setting(name)?.into_string().ok();
    Some(text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} is no number")))
}

fn crashes() -> usize {
    number("KEYRACK_TEST_CRASHES").map_or(CRASHES, |crashes| usize::try_from(crashes).expect("a number of cycles"))
}

fn program() -> PathBuf {
    setting("KEYRACK_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_keyrack").into(), PathBuf::from)
}

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "the server under test reads the clock of this machine too")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Waits for one's turn: two at once would take each other the time that is measured.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Looks until a look finds something.
async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A keyrack with clients that are let loose on it.
struct Trial {
    title: String,
    keyrack: Keyrack,
    url: String,
    journal: Arc<Journal>,
    clients: Vec<Client>,
    audit: Audit,
    random: Rng,
    seed: u64,
    cycles: usize,
    ready: Times,
    verified: Times,
    _upstream: Upstream,
    _turn: MutexGuard<'static, ()>,
}

impl Trial {
    async fn start(title: String, setup: Setup) -> Self {
        let turn = turn().await;
        let seed = number("KEYRACK_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
        let mut random = Rng::with_seed(seed);
        let setup = setup.at_one_address().args(["--egress-allow", "127.0.0.1/32"]);
        let keyrack = tokio::task::block_in_place(|| setup.start());
        let (owner, upstream, journal) = (keyrack.owner(), Upstream::start().await, Arc::new(Journal::default()));
        let door = change::route(DOOR, &upstream.url());
        owner.post("/api/routes").json(&door).send().await.expect_status(201);
        let made = owner.post("/api/keys").json(&json!({"name": "elder"})).send().await.expect_status(201).json();
        let elder = Question::about("elder", 1, made["secret"].as_str().expect("a secret"), None);
        journal.settle([elder.passing()]);
        let mut audit = Audit::default();
        audit.begin(&owner, &journal).await;
        let clients = (1..=CLIENTS)
            .map(|number| Client::new(number, random.fork(), Arc::clone(&journal), upstream.url()))
            .collect();
        Self {
            title,
            url: keyrack.url(),
            keyrack,
            journal,
            clients,
            audit,
            random,
            seed,
            cycles: 0,
            ready: Times::default(),
            verified: Times::default(),
            _upstream: upstream,
            _turn: turn,
        }
    }

    fn http(&self) -> Http {
        Http::new(&self.url)
    }

    fn owner(&self) -> Http {
        self.http().with_bearer(&self.keyrack.management_key)
    }

    /// Whether this cycle is one of those in which there is time for more than a second's matters.
    fn is_long(&self) -> bool {
        self.cycles % LONG == LONG - 1
    }

    /// Changes things for a random time, until the end that is given; returns when that began.
    async fn load_until(&mut self, end: impl FnOnce(&mut Keyrack)) -> Timestamp {
        let stop = Arc::new(AtomicBool::new(false));
        let watching = watch(self.owner(), Arc::clone(&self.journal), self.random.fork(), Arc::clone(&stop));
        let watching = tokio::spawn(watching);
        let clients = std::mem::take(&mut self.clients);
        let working: Vec<_> = clients.into_iter().map(|client| tokio::spawn(client.work(self.owner()))).collect();
        let range = if self.is_long() { 2_100_000..3_000_000 } else { 5_000..300_000 };
        tokio::time::sleep(Duration::from_micros(self.random.u64(range))).await;
        let moment = now();
        tokio::task::block_in_place(|| end(&mut self.keyrack));
        for client in working {
            self.clients.push(client.await.expect("a client"));
        }
        stop.store(true, Ordering::Relaxed);
        watching.await.expect("the one who watches");
        moment
    }

    /// Starts again what had ended, while keys are tried from before it is ready.
    async fn come_back(&mut self, start: impl FnOnce(&mut Keyrack)) {
        let mut questions = certain(&self.clients);
        questions.extend(self.journal.some_settled(100, &mut self.random));
        self.random.shuffle(&mut questions);
        let (questions, is_ready) = (Arc::new(questions), Arc::new(AtomicBool::new(false)));
        let begun = Instant::now();
        let ready = tokio::spawn(until_ready(self.http(), begun, Arc::clone(&is_ready)));
        let knocking = Arc::clone(&questions);
        let (journal, http, stop) = (Arc::clone(&self.journal), self.http(), Arc::clone(&is_ready));
        let knocking = tokio::spawn(async move {
            for question in knocking.iter().filter(|question| question.is_for_the_door()).cycle() {
                let is_over = stop.load(Ordering::SeqCst);
                if knock(&http, question, &journal).await.is_none() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if is_over {
                    return;
                }
            }
        });
        let asking = first_answers(self.owner(), questions, Arc::clone(&self.journal), begun, is_ready);
        let asking = tokio::spawn(asking);
        tokio::task::block_in_place(|| start(&mut self.keyrack));
        self.ready.add(ready.await.expect("readiness"));
        self.verified.extend(asking.await.expect("answers"));
        knocking.await.expect("answers");
    }

    /// Compares everything with the journal, and fails if something is not as it must be.
    async fn check(&mut self, uses: Option<Timestamp>) {
        let owner = self.owner();
        check(&owner, &mut self.clients, &mut self.audit, &self.journal, uses).await;
        self.cycles += 1;
        self.expect_no_fault();
    }

    fn count(&self, wanted: Fault) -> usize {
        self.journal.faults().iter().filter(|(fault, _)| *fault == wanted).count()
    }

    fn line(&self) -> String {
        let [lost, resurrected, events] =
            [Fault::Lost, Fault::Resurrected, Fault::Event].map(|fault| self.count(fault));
        format!(
            "{}: {} cycles, {} acknowledged changes, {lost} lost, {resurrected} resurrected, {events} events missing; \
             ready after {}; first right answer after {} (seed {})",
            self.title,
            self.cycles,
            self.journal.acknowledged(),
            self.ready,
            self.verified,
            self.seed
        )
    }

    fn expect_no_fault(&self) {
        let faults = self.journal.faults();
        let shown: Vec<_> = faults.iter().take(20).map(|(fault, what)| format!("{fault:?}: {what}")).collect();
        assert!(faults.is_empty(), "{}\n{}\n{}", self.line(), shown.join("\n"), self.keyrack.output());
    }

    /// Looks once more at all there ever was, and tells how it went.
    async fn finish(self) {
        let owner = self.owner();
        let settled = self.journal.settled();
        wait_for("decisions", async || ask(&owner, &settled, &self.journal).await).await;
        self.audit.check_whole(&owner, &self.journal).await;
        self.expect_no_fault();
        // Not by eprintln, which the test harness would swallow.
        drop(writeln!(std::io::stderr(), "{}", self.line()));
        for (what, times) in self.journal.notes() {
            drop(writeln!(std::io::stderr(), "    {times} times: {what}"));
        }
    }
}

/// Waits until it is ready, says so and returns how long that took.
async fn until_ready(http: Http, begun: Instant, is_ready: Arc<AtomicBool>) -> Duration {
    while http.get("/health/ready").try_send().await.map_or(0, |answer| answer.status) != 200 {
        assert!(begun.elapsed() < PATIENCE, "not ready after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    is_ready.store(true, Ordering::SeqCst);
    begun.elapsed()
}

/// Asks about keys from before anybody can answer until all have been asked about once more after it was ready. Returns when
/// the first answer came.
async fn first_answers(
    owner: Http,
    questions: Arc<Vec<Question>>,
    journal: Arc<Journal>,
    begun: Instant,
    is_ready: Arc<AtomicBool>,
) -> Option<Duration> {
    let mut first = None;
    loop {
        let is_last = is_ready.load(Ordering::SeqCst);
        for questions in questions.chunks(10) {
            if ask(&owner, questions, &journal).await.is_some() {
                first.get_or_insert_with(|| begun.elapsed());
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if is_last {
            return first;
        }
    }
}

/// Takes away what the dead left at the database, as the others do after 15 seconds. Until then every change waits for the
/// end of a lease that nobody holds any more.
async fn forget_the_dead(keyrack: &Keyrack) {
    if keyrack.database_url.starts_with("postgres") {
        let mut connection = PgConnection::connect(&keyrack.database_url).await.unwrap();
        sqlx::query("DELETE FROM node").execute(&mut connection).await.unwrap();
    }
}

keyrack_testkit::both_databases! {
    async fn killed_at_any_moment_it_has_lost_nothing(database: Database) {
        let setup = Keyrack::setup(program(), database);
        let mut trial = Trial::start(format!("{database}, killed"), setup).await;
        for _ in 0..crashes() {
            let moment = trial.load_until(|keyrack| _ = keyrack.crash()).await;
            if !trial.is_long() {
                forget_the_dead(&trial.keyrack).await;
            }
            trial.come_back(Keyrack::start_again).await;
            trial.check(Some(moment - WRITTEN_WITHIN)).await;
        }
        trial.finish().await;
    }

    async fn stopped_in_good_order_it_has_lost_not_even_a_use(database: Database) {
        let setup = Keyrack::setup(program(), database);
        let mut trial = Trial::start(format!("{database}, stopped"), setup).await;
        for _ in 0..crashes().div_ceil(5) {
            let mut status = None;
            let moment = trial.load_until(|keyrack| status = Some(keyrack.terminate())).await;
            assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", trial.keyrack.output());
            trial.come_back(Keyrack::start_again).await;
            trial.check(Some(moment)).await;
        }
        trial.finish().await;
    }
}

/// The program lives on while the server of its database dies.
#[test]
fn when_postgresql_is_killed_it_has_lost_nothing_and_serves_again() {
    let Some(mut cluster) = PrivateCluster::start() else { return };
    let url = cluster.fresh_database();
    let name = url.rsplit('/').next().unwrap();
    // What a user's server does.
    cluster.sql("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = on"));
    keyrack_testkit::database::run(async {
        let setup = Keyrack::setup(program(), Database::Postgres).database_url(&url);
        let mut trial = Trial::start("postgres, its server killed".to_owned(), setup).await;
        for _ in 0..crashes().div_ceil(10) {
            trial.load_until(|_| cluster.crash()).await;
            // Also for so long that what is known in memory may no longer be decided by.
            tokio::time::sleep(Duration::from_millis(trial.random.u64(..1500))).await;
            trial.come_back(|_| cluster.start_again()).await;
            trial.check(None).await;
        }
        trial.finish().await;
    });
}
