//! Several processes that serve one PostgreSQL database: what one has answered, every other decides by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyrack_core::{NodeId, Reason};
use keyrack_engine::{Engine, EngineRole, Error, KeyPatch};
use keyrack_testkit::Database;

use crate::following::{Serving, decides, until};
use crate::support::{IsGrant as _, World, named, presented, shown};

/// Longer than a lease runs, shorter than nobody would wait for.
const FENCED: std::ops::Range<Duration> = Duration::from_millis(1100)..Duration::from_secs(10);

/// Servers on one database.
struct Cluster {
    world: Arc<World>,
    engines: Vec<Arc<Engine>>,
    serving: Vec<Serving>,
}

impl Cluster {
    /// `None` where there is no PostgreSQL.
    async fn of(size: usize) -> Option<Self> {
        if !Database::Postgres.is_available() {
            return None;
        }
        let world = Arc::new(World::new(Database::Postgres).await);
        let mut engines = vec![Arc::clone(&world.engine)];
        while engines.len() < size {
            engines.push(world.another(EngineRole::Server).await);
        }
        let mut serving = Vec::new();
        for engine in &engines {
            serving.push(Serving::of(engine).await);
        }
        Some(Self { world, engines, serving })
    }

    /// What every node decides now, without waiting for anything.
    fn decide(&self, text: &str) -> Vec<Option<Reason>> {
        self.engines.iter().map(|engine| decides(engine, &self.world, text)).collect()
    }

    async fn stop(self) {
        for serving in self.serving {
            serving.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_has_answered_every_other_decides_by() {
    let Some(cluster) = Cluster::of(3).await else { return };
    let host = cluster.world.host();
    for round in 0..20 {
        let [making, changing, ending] = [0, 1, 2].map(|n| &cluster.engines[(round + n) % 3]);
        let (view, text) = shown(making.create_key(&host, named(&format!("key {round}"))).await.unwrap());
        assert_eq!(cluster.decide(&text), [None; 3], "round {round}");
        let off = KeyPatch { enabled: Some(false), ..KeyPatch::default() };
        changing.update_key(&host, view.key.id, off).await.unwrap();
        assert_eq!(cluster.decide(&text), [Some(Reason::Disabled); 3], "round {round}");
        let on = KeyPatch { enabled: Some(true), ..KeyPatch::default() };
        making.update_key(&host, view.key.id, on).await.unwrap();
        assert_eq!(cluster.decide(&text), [None; 3], "round {round}");
        ending.revoke_key(&host, view.key.id, None).await.unwrap();
        assert_eq!(cluster.decide(&text), [Some(Reason::Revoked); 3], "round {round}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_grants_what_any_node_has_revoked_however_hard_they_are_asked() {
    let Some(cluster) = Cluster::of(3).await else { return };
    for round in 0..30 {
        let (id, text) = cluster.world.plain_key(&format!("round {round}")).await;
        let (revoked, granted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let asking: Vec<_> = cluster
            .engines
            .iter()
            .map(|engine| {
                let (engine, world, text) = (Arc::clone(engine), Arc::clone(&cluster.world), text.clone());
                let (revoked, granted) = (Arc::clone(&revoked), Arc::clone(&granted));
                tokio::spawn(async move {
                    let mut after = 0;
                    while after < 3 {
                        let is_over = revoked.load(Ordering::SeqCst);
                        let verdict = engine.verify(&world.any_key(), &presented(&text)).await;
                        let is_granted = verdict.is_ok_and(|verdict| verdict.is_grant());
                        assert!(!(is_over && is_granted), "let in after the revocation");
                        after += usize::from(is_over);
                        granted.fetch_add(usize::from(is_granted), Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        until(|| async { granted.load(Ordering::SeqCst) > 0 }).await;
        cluster.engines[round % 3].revoke_key(&cluster.world.host(), id, None).await.unwrap();
        revoked.store(true, Ordering::SeqCst);
        for asking in asking {
            asking.await.unwrap();
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stopped_in_the_middle_decides_by_nothing_that_has_been_answered_since() {
    let Some(mut cluster) = Cluster::of(2).await else { return };
    let (id, text) = cluster.world.plain_key("billing").await;
    cluster.serving.pop().unwrap().crash().await;
    // Its memory stays as it was, and its lease may run on for a while.
    let begun = Instant::now();
    cluster.engines[0].revoke_key(&cluster.world.host(), id, None).await.unwrap();
    assert!(FENCED.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let verdict = cluster.engines[1].verify(&cluster.world.any_key(), &presented(&text)).await;
    assert!(matches!(verdict, Err(Error::Unavailable(..))), "it knows nothing of the revocation");
    assert_eq!(decides(&cluster.engines[0], &cluster.world, &text), Some(Reason::Revoked));

    // Its successor does not wait for it to be forgotten.
    let successor = cluster.world.another(EngineRole::Server).await;
    let serving = Serving::of(&successor).await;
    assert_eq!(decides(&successor, &cluster.world, &text), Some(Reason::Revoked));
    serving.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_left_is_waited_for_by_nobody_and_decides_nothing() {
    let Some(mut cluster) = Cluster::of(2).await else { return };
    let (id, text) = cluster.world.plain_key("billing").await;
    cluster.serving.pop().unwrap().stop().await;
    let begun = Instant::now();
    cluster.engines[0].revoke_key(&cluster.world.host(), id, None).await.unwrap();
    assert!(begun.elapsed() < FENCED.start, "{:?}", begun.elapsed());
    let verdict = cluster.engines[1].verify(&cluster.world.any_key(), &presented(&text)).await;
    assert!(matches!(verdict, Err(Error::Unavailable(..))));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_waits_for_every_node_and_for_a_silent_one_no_longer_than_its_lease() {
    let Some(cluster) = Cluster::of(2).await else { return };
    let (world, host) = (&cluster.world, cluster.world.host());
    let guest = world.another(EngineRole::Guest { keys: false }).await;
    for round in 0..10 {
        let (view, text) = shown(guest.create_key(&host, named(&format!("key {round}"))).await.unwrap());
        assert_eq!(cluster.decide(&text), [None; 2]);
        guest.revoke_key(&host, view.key.id, None).await.unwrap();
        assert_eq!(cluster.decide(&text), [Some(Reason::Revoked); 2]);
    }
    // A process that is listed, holds no lease and never says anything.
    let store = world.store().await;
    let silent = NodeId::new(world.now(), [9; 10]);
    store.membership(silent, "silent".to_owned(), "1".to_owned()).unwrap().join(0, &[]).await.unwrap();
    let begun = Instant::now();
    guest.create_key(&host, named("late")).await.unwrap();
    assert!(FENCED.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_decides_while_nothing_is_changed_for_many_leases() {
    let Some(cluster) = Cluster::of(3).await else { return };
    let (_, text) = cluster.world.plain_key("billing").await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(cluster.decide(&text), [None; 3], "after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.stop().await;
}
