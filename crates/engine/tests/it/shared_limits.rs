//! Rate limits that several processes on one PostgreSQL database count together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use keyrack_core::{RateLimit, Reason};
use keyrack_engine::{Charge, Engine, EngineRole, Error, KeyPatch, NewKey, Presented, Verdict};
use keyrack_testkit::{Database, postgres::PrivateCluster};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::following::{Serving, until};
use crate::support::{IsGrant as _, TestClock, World, code, named, presented, runner};

/// Three servers on one database, each on a machine of its own.
struct Nodes {
    world: World,
    clocks: Vec<Arc<TestClock>>,
    engines: Vec<Arc<Engine>>,
    serving: Vec<Serving>,
}

impl Nodes {
    /// `None` where there is no PostgreSQL.
    async fn start() -> Option<Self> {
        if !Database::Postgres.is_available() {
            return None;
        }
        Some(Self::of(World::new(Database::Postgres).await).await)
    }

    async fn of(world: World) -> Self {
        let (mut clocks, mut engines) = (vec![Arc::clone(&world.clock)], vec![Arc::clone(&world.engine)]);
        for at in 0..2 {
            clocks.push(clocks[at].of_another_machine());
            engines.push(world.another_at(&clocks[at + 1], EngineRole::Server).await);
        }
        let mut serving = Vec::new();
        for engine in &engines {
            serving.push(Serving::of(engine).await);
        }
        Self { world, clocks, engines, serving }
    }

    /// Kills one, with all it held in memory, and starts another in its place.
    async fn replace(&mut self, node: usize) {
        self.engines[node] = self.world.another_at(&self.clocks[node], EngineRole::Server).await;
        let begun = Serving::of(&self.engines[node]).await;
        std::mem::replace(&mut self.serving[node], begun).crash().await;
    }

    async fn limited_key(&self, limits: &[(i64, i64)]) -> (keyrack_core::KeyId, String) {
        let name = format!("limited {}", self.world.head().await);
        let (key, text) = self.world.key(NewKey { rate_limits: Some(limits.to_vec()), ..named(&name) }).await;
        (key.key.id, text)
    }

    async fn ask(&self, node: usize, text: &str, charge: Charge) -> Verdict {
        let asked = Presented { charge, ..presented(text) };
        self.engines[node].verify(&self.world.any_key(), &asked).await.unwrap()
    }

    async fn passes(&self, node: usize, text: &str) -> bool {
        self.ask(node, text, Charge::Units(1)).await.is_grant()
    }

    /// How many of so many requests, asked one after another, a node lets in.
    async fn let_in(&self, node: usize, text: &str, asked: usize) -> usize {
        let mut let_in = 0;
        for _ in 0..asked {
            let_in += usize::from(self.passes(node, text).await);
        }
        let_in
    }

    /// The same of as many at every node, all at once.
    async fn let_in_at_once(&self, text: &str, asked: usize) -> usize {
        let asked = (0..asked * self.engines.len()).map(|at| self.passes(at % self.engines.len(), text));
        join_all(asked).await.into_iter().filter(|passed| *passed).count()
    }
}

fn remaining(verdict: &Verdict) -> u32 {
    verdict.standing.as_deref().unwrap().windows[0].remaining
}

/// The most units that were let in within any window of this length.
fn most_within(let_in: &[(i64, u32)], length: i64) -> u32 {
    let ending_at = |end: i64| let_in.iter().filter(move |(at, _)| *at <= end && *at > end - length);
    let_in.iter().map(|(at, _)| ending_at(*at).map(|(_, units)| units).sum()).max().unwrap_or(0)
}

/// What happens, one after another.
#[derive(Clone, Debug)]
enum Step {
    /// So many microseconds later, at a window of a minute, all this is asked at once: at which node, for how many units.
    Burst(i64, Vec<(usize, u32)>),
    /// A node is killed and started again.
    Kill(usize),
    /// The database's clock is set back.
    SetBack(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let asked = prop::collection::vec((0..3_usize, 1..4_u32), 1..30);
    prop_oneof![
        12 => (0..20_000_000_i64, asked).prop_map(|(later, asked)| Step::Burst(later, asked)),
        1 => (0..3_usize).prop_map(Step::Kill),
        1 => (1..90_000_000_i64).prop_map(Step::SetBack),
    ]
}

#[test]
fn no_window_ever_holds_more_than_the_limit_whichever_nodes_are_asked() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(nodes) = runtime.block_on(Nodes::start()) else { return };
    let nodes = Mutex::new(nodes);
    let limits = prop::sample::select(vec![(1_i64, 60_i64), (20, 60), (300, 60), (50, 100), (1000, 3600)]);
    let play = async |(limit, seconds): (i64, i64), steps: Vec<Step>| {
        let mut nodes = nodes.lock().await;
        let (_, text) = nodes.limited_key(&[(limit, seconds)]).await;
        let mut let_in = Vec::new();
        for step in steps {
            match step {
                Step::Kill(node) => nodes.replace(node).await,
                Step::SetBack(micros) => nodes.world.clock.move_database(-micros),
                Step::Burst(later, asked) => {
                    nodes.world.clock.advance_micros(later * seconds / 60);
                    let at = keyrack_core::micros(nodes.world.now());
                    let verdicts =
                        join_all(asked.iter().map(|(node, units)| nodes.ask(*node, &text, Charge::Units(*units))));
                    let granted = asked.iter().zip(verdicts.await).filter(|(_, verdict)| verdict.is_grant());
                    let_in.extend(granted.map(|((_, units), _)| (at, *units)));
                }
            }
        }
        (most_within(&let_in, seconds * 1_000_000), limit)
    };
    let mut runner = runner(24);
    let outcome = runner.run(&(limits, prop::collection::vec(step(), 1..25)), |(limit, steps)| {
        let (most, limit) = runtime.block_on(play(limit, steps));
        prop_assert!(i64::from(most) <= limit, "{} of {}", most, limit);
        Ok(())
    });
    outcome.unwrap();
}

#[tokio::test]
async fn whoever_asks_steadily_at_nine_tenths_of_the_rate_is_refused_by_no_node() {
    let Some(nodes) = Nodes::start().await else { return };
    for (limit, seconds) in [(7, 60), (20, 60), (48, 60), (400, 60), (30, 3600), (1000, 86_400)] {
        let (_, text) = nodes.limited_key(&[(limit, seconds)]).await;
        let start = keyrack_core::micros(nodes.world.now());
        for at in 0..limit * 9 / 10 * 3 {
            let moment = start
                + i64::try_from(i128::from(at) * i128::from(seconds) * 10_000_000 / i128::from(limit * 9)).unwrap();
            nodes.world.clock.set(keyrack_core::from_micros(moment));
            // At now this node and now that, as a balancer would send them.
            let node = usize::try_from(at * at % 7 % 3).unwrap();
            assert!(nodes.passes(node, &text).await, "request {at} of {limit} in {seconds} s at node {node}");
        }
        nodes.world.clock.advance(2 * seconds);
    }
}

#[tokio::test]
async fn all_nodes_together_let_in_exactly_what_is_allowed() {
    let Some(nodes) = Nodes::start().await else { return };
    for (limit, seconds) in [(1, 60), (3, 60), (100, 60), (250, 3600)] {
        let (_, text) = nodes.limited_key(&[(limit, seconds)]).await;
        for _ in 0..2 {
            let wanted = usize::try_from(limit).unwrap();
            assert_eq!(nodes.let_in_at_once(&text, wanted + 5).await, wanted);
            // Whatever a node held was asked of it, so it is refused with nothing left.
            let verdict = nodes.ask(1, &text, Charge::Units(1)).await;
            assert_eq!((verdict.reason(), remaining(&verdict)), (Some(Reason::RateLimited), 0));
            let wait = verdict.standing.unwrap().retry_after.unwrap();
            assert!(wait <= Duration::from_secs(u64::try_from(seconds * 17 / 16 + 1).unwrap()), "{wait:?}");
            nodes.world.clock.advance_micros(i64::try_from(wait.as_micros()).unwrap() - 1);
            assert!(!nodes.passes(2, &text).await, "not a moment sooner");
            nodes.world.clock.advance_micros(1);
        }
    }
}

#[tokio::test]
async fn of_windows_under_a_minute_each_node_counts_its_own() {
    let Some(nodes) = Nodes::start().await else { return };
    let (_, text) = nodes.limited_key(&[(10, 59)]).await;
    assert_eq!(nodes.let_in_at_once(&text, 15).await, 30);
}

#[tokio::test]
async fn what_a_node_does_not_need_the_others_get() {
    let Some(mut nodes) = Nodes::start().await else { return };
    let (_, text) = nodes.limited_key(&[(240, 60)]).await;
    for node in 0..3 {
        assert!(nodes.passes(node, &text).await);
    }
    let held = 240 - 3 - nodes.let_in(0, &text, 250).await;
    assert!((1..30).contains(&held), "{held} are held by two nodes");
    // One stops in good order: another has what it gives back, once it asks again.
    nodes.serving.pop().unwrap().stop().await;
    nodes.world.clock.advance(1);
    let got = nodes.let_in(0, &text, 250).await;
    assert!(got > 0 && got < held, "{got} of {held}");
    // The other is killed: what it held is lost until the window has gone on.
    nodes.serving.pop().unwrap().crash().await;
    nodes.world.clock.advance(1);
    assert_eq!(nodes.let_in(0, &text, 5).await, 0);
    nodes.world.clock.advance(64);
    assert_eq!(nodes.let_in(0, &text, 250).await, 240);
}

#[tokio::test]
async fn what_was_granted_in_one_part_of_a_window_is_given_out_in_no_other() {
    let Some(nodes) = Nodes::start().await else { return };
    let (_, text) = nodes.limited_key(&[(240, 60)]).await;
    nodes.world.clock.set("2027-02-01T00:00:00Z".parse().unwrap());
    assert!(nodes.passes(0, &text).await, "more than that is held");
    // Parts are 3.75 s. All that is asked now counts in the second one, whoever lets it in.
    nodes.world.clock.advance(5);
    assert_eq!(nodes.let_in(0, &text, 8).await, 8);
    assert_eq!(nodes.let_in_at_once(&text, 240).await, 231);
    nodes.world.clock.set("2027-02-01T00:01:03.75Z".parse().unwrap());
    assert_eq!(nodes.let_in_at_once(&text, 240).await, 1, "what was let in in the first");
    nodes.world.clock.set("2027-02-01T00:01:07.5Z".parse().unwrap());
    assert_eq!(nodes.let_in_at_once(&text, 240).await, 239);
}

/// A machine that is frozen and thawed does not know how late it is: what it held may have been granted to others since.
#[tokio::test]
async fn whoever_has_stood_still_gives_out_nothing_of_what_it_held() {
    let Some(mut nodes) = Nodes::start().await else { return };
    let (_, text) = nodes.limited_key(&[(240, 60)]).await;
    // The last one does all its work on one thread.
    let one_thread = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    nodes.serving.pop().unwrap().stop().await;
    let engine = nodes.world.another_at(&nodes.clocks[2], EngineRole::Server).await;
    nodes.engines[2] = Arc::clone(&engine);
    let _serving = one_thread.spawn(async move { Serving::of(&engine).await }).await.unwrap();
    assert!(nodes.passes(2, &text).await, "more than that is held");

    let (thaw, frozen) = std::sync::mpsc::channel::<()>();
    one_thread.spawn(async move { frozen.recv() });
    until(async || nodes.engines[2].require_serving().is_err()).await;
    nodes.clocks[2].stand_still(70_000_000);
    assert_eq!(nodes.let_in(0, &text, 250).await, 240, "the window has gone on");
    thaw.send(()).unwrap();
    until(async || nodes.engines[2].require_serving().is_ok()).await;
    assert_eq!(nodes.let_in(2, &text, 5).await, 0);
    one_thread.shutdown_background();
}

/// Parts are numbered by the database's clock. Where that is set back, a part lasts longer there, and no longer here.
#[tokio::test]
async fn what_is_held_is_given_out_for_no_longer_than_a_part_whatever_the_database_says() {
    let Some(nodes) = Nodes::start().await else { return };
    let (_, text) = nodes.limited_key(&[(240, 60)]).await;
    assert!(nodes.passes(0, &text).await);
    nodes.world.clock.move_database(-3_600_000_000);
    assert!(nodes.passes(1, &text).await, "more than that is held");
    nodes.world.clock.advance(4);
    nodes.world.clock.move_database(3_600_000_000);
    // All that is let in now is counted now.
    let let_in = nodes.let_in_at_once(&text, 240).await;
    assert!((230..=238).contains(&let_in), "{let_in}");
    nodes.world.clock.advance_micros(59_700_000);
    assert!(nodes.let_in_at_once(&text, 240).await <= 240 - let_in, "the window has not gone on yet");
}

#[tokio::test]
async fn a_look_costs_nothing_and_sees_what_others_have_taken() {
    let Some(nodes) = Nodes::start().await else { return };
    let (id, text) = nodes.limited_key(&[(10, 60)]).await;
    for _ in 0..20 {
        let verdict = nodes.ask(0, &text, Charge::Peek(10)).await;
        assert_eq!((verdict.reason(), remaining(&verdict)), (None, 10));
    }
    assert_eq!(nodes.let_in(1, &text, 6).await, 6);
    for (units, reason) in [(4, None), (5, Some(Reason::RateLimited))] {
        let verdict = nodes.ask(2, &text, Charge::Peek(units)).await;
        assert_eq!((verdict.reason(), remaining(&verdict)), (reason, 4));
    }
    assert_eq!(nodes.let_in(0, &text, 6).await, 4);
    // And a window that is full; also if what the database says of it is old when it comes.
    let mut writer = nodes.world.store().await.write(&[]).await.unwrap();
    writer.lock_window(id.0, RateLimit::new(10, 60).unwrap()).await.unwrap();
    let (verdict, ()) = tokio::join!(nodes.ask(2, &text, Charge::Peek(1)), async {
        nodes.world.head().await;
        nodes.world.clock.advance(5);
        drop(writer);
    });
    assert_eq!((verdict.reason(), remaining(&verdict)), (Some(Reason::RateLimited), 0));
    assert!(verdict.standing.unwrap().retry_after.unwrap() > Duration::from_secs(50));
}

#[tokio::test]
async fn a_changed_limit_goes_on_from_what_was_counted() {
    let Some(nodes) = Nodes::start().await else { return };
    let (id, text) = nodes.limited_key(&[(240, 60)]).await;
    for node in 0..3 {
        assert_eq!(nodes.let_in(node, &text, 2).await, 2);
    }
    for (limit, more) in [(6, 0), (30, 24), (31, 1)] {
        let patch = KeyPatch { rate_limits: Some(Some(vec![(limit, 60)])), ..KeyPatch::default() };
        nodes.world.engine.update_key(&nodes.world.host(), id, patch).await.unwrap();
        // What was held under the limit before goes back as each node asks for the first time.
        let mut let_in = nodes.let_in_at_once(&text, 1).await;
        nodes.world.clock.advance(1);
        let_in += nodes.let_in_at_once(&text, 40).await;
        assert_eq!(let_in, more, "under a limit of {limit}");
    }
}

#[tokio::test]
async fn without_the_database_nobody_is_let_in_that_it_has_to_be_asked_about() {
    let Some(nodes) = Nodes::start().await else { return };
    let (id, text) = nodes.limited_key(&[(1600, 60)]).await;
    assert!(nodes.passes(0, &text).await);
    let limit = RateLimit::new(1600, 60).unwrap();
    // Somebody keeps the window to himself.
    let mut writer = nodes.world.store().await.write(&[]).await.unwrap();
    writer.lock_window(id.0, limit).await.unwrap();
    let guard = nodes.world.any_key();
    assert!(nodes.passes(0, &text).await, "what is held is given out");
    let (asked, begun) = (presented(&text), Instant::now());
    assert_eq!(code(nodes.engines[1].verify(&guard, &asked).await), "unavailable");
    assert!(begun.elapsed() >= Duration::from_secs(2), "it has waited");
    // A hundred that come together wait together.
    nodes.world.clock.advance(2);
    let begun = Instant::now();
    let many = join_all((0..100).map(|_| nodes.engines[1].verify(&guard, &asked))).await;
    assert!(many.into_iter().all(|answer| code(answer) == "unavailable"));
    assert!(begun.elapsed() < Duration::from_secs(4), "and not one after another");
    // The others need not find that out one after another.
    let begun = Instant::now();
    assert_eq!(code(nodes.engines[1].verify(&guard, &presented(&text)).await), "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(1));
    drop(writer);
    nodes.world.clock.advance(2);
    assert!(nodes.passes(1, &text).await);
}

#[tokio::test]
async fn what_happens_while_a_request_waits_for_units_counts() {
    let Some(nodes) = Nodes::start().await else { return };
    let (id, text) = nodes.limited_key(&[(10, 60)]).await;
    let mut writer = nodes.world.store().await.write(&[]).await.unwrap();
    writer.lock_window(id.0, RateLimit::new(10, 60).unwrap()).await.unwrap();
    let (verdict, ()) = tokio::join!(nodes.ask(0, &text, Charge::Units(1)), async {
        // It has been asked first, and waits.
        nodes.world.engine.revoke_key(&nodes.world.host(), id, None).await.unwrap();
        drop(writer);
    });
    assert_eq!(verdict.reason(), Some(Reason::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgresql_opens_no_window() {
    let Some(mut cluster) = tokio::task::block_in_place(PrivateCluster::start) else { return };
    let directory = TempDir::new().unwrap();
    let nodes = Nodes::of(World::at(cluster.fresh_database(), directory).await).await;
    let (_, text) = nodes.limited_key(&[(20, 86_400)]).await;
    // The first to ask knows nothing of what the others were granted after that.
    assert!(nodes.passes(0, &text).await);
    assert_eq!(nodes.let_in(1, &text, 30).await, 19);
    tokio::task::block_in_place(|| {
        cluster.crash();
        cluster.start_again();
    });
    for engine in &nodes.engines {
        let guard = nodes.world.any_key();
        until(async || {
            // Connections that are broken are found out one after another.
            nodes.world.clock.advance(2);
            let verdict = match engine.verify(&guard, &presented(&text)).await {
                Err(Error::Unavailable(..)) => return false,
                verdict => verdict.unwrap(),
            };
            assert_eq!((verdict.reason(), remaining(&verdict)), (Some(Reason::RateLimited), 0));
            true
        })
        .await;
    }
}
