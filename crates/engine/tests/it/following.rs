//! How a change reaches decisions: before it is acknowledged, here and in the process that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use keyrack_core::{PlainKey, Reason, UserId};
use keyrack_engine::{
    Engine, EngineRole, Error, GuardText, ImportKey, KeyPatch, NewGroup, NewOrganization, NewRoute, OrganizationPatch,
    Target,
};
use keyrack_testkit::postgres::PrivateCluster;
use keyrack_testkit::{Database, both_databases};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{IsGrant as _, OWNER, World, at_once, code, named, presented, shown};

const GUEST: EngineRole = EngineRole::Guest { keys: false };

/// An engine that serves in a task of its own.
pub(crate) struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    pub(crate) async fn start(world: &World) -> Self {
        Self::of(&world.engine).await
    }

    pub(crate) async fn of(engine: &Arc<Engine>) -> Self {
        let seat = engine.take_seat("here").await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        Self { stop, task: tokio::spawn(Arc::clone(engine).run(seat, stopped)) }
    }

    /// Ends it in the middle of whatever it does, as a crash would. What it holds in memory can still be asked.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// What memory decides now, without waiting for anything.
pub(crate) fn decides(engine: &Engine, world: &World, text: &str) -> Option<Reason> {
    at_once(engine.verify(&world.any_key(), &presented(text))).unwrap().unwrap().reason()
}

/// Waits until something holds that a loop brings about in its own time.
pub(crate) async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

both_databases! {
    async fn no_decision_that_begins_after_a_revocation_has_answered_is_a_grant(database: Database) {
        let world = Arc::new(World::new(database).await);
        for round in 0..200 {
            let (id, text) = world.plain_key(&format!("round {round}")).await;
            let revoked = Arc::new(AtomicBool::new(false));
            let before = Arc::new(AtomicUsize::new(0));
            let verifiers: Vec<_> = (0..3)
                .map(|_| {
                    tokio::spawn({
                        let (world, text) = (Arc::clone(&world), text.clone());
                        let (revoked, before) = (Arc::clone(&revoked), Arc::clone(&before));
                        async move {
                            let mut after = 0;
                            while after < 3 {
                                let is_over = revoked.load(Ordering::SeqCst);
                                let granted = world.passes(&text).await;
                                assert!(!(is_over && granted), "let in after the revocation");
                                after += usize::from(is_over);
                                before.fetch_add(usize::from(granted), Ordering::SeqCst);
                                tokio::task::yield_now().await;
                            }
                        }
                    })
                })
                .collect();
            until(|| async { before.load(Ordering::SeqCst) > 0 }).await;
            world.engine.revoke_key(&world.host(), id, None).await.unwrap();
            revoked.store(true, Ordering::SeqCst);
            for verifier in verifiers {
                verifier.await.unwrap();
            }
        }
    }

    async fn what_a_guest_changes_is_decided_by_the_server_before_the_guest_is_answered(database: Database) {
        let world = World::new(database).await;
        let serving = Serving::start(&world).await;
        let guest = world.another(GUEST).await;
        let (host, server) = (world.host(), &world.engine);
        let (view, text) = shown(guest.create_key(&host, named("billing")).await.unwrap());
        assert_eq!(decides(server, &world, &text), None);
        let switch = |enabled| KeyPatch { enabled: Some(enabled), ..KeyPatch::default() };
        guest.update_key(&host, view.key.id, switch(false)).await.unwrap();
        assert_eq!(decides(server, &world, &text), Some(Reason::Disabled));
        guest.update_key(&host, view.key.id, switch(true)).await.unwrap();
        assert_eq!(decides(server, &world, &text), None);
        guest.revoke_key(&host, view.key.id, None).await.unwrap();
        assert_eq!(decides(server, &world, &text), Some(Reason::Revoked));
        guest.delete_key(&host, view.key.id).await.unwrap();
        assert_eq!(decides(server, &world, &text), Some(Reason::NotFound));

        let import =
            ImportKey { new: named("old"), text: Some(PlainKey::new("a-16-char-secret".into())), sha256: None };
        guest.import_keys(&host, vec![import]).await.unwrap();
        assert_eq!(decides(server, &world, "a-16-char-secret"), None);

        guest.create_workspace(&host, "sales", None).await.unwrap();
        assert!(server.directory().tenant(world.organization).unwrap().workspace("sales").is_some());
        guest.create_group(&host, NewGroup { name: "third".to_owned(), ..NewGroup::default() }).await.unwrap();
        guest.set_access_groups(&host, &["third".to_owned()]).await.unwrap();
        assert_eq!(server.access_groups(&host).unwrap(), ["third"]);
        let route = NewRoute {
            name: "door".to_owned(),
            host: None,
            path: "/door".to_owned(),
            methods: None,
            disabled: false,
            guard: GuardText { public: true, ..GuardText::default() },
            target: Target::upstream("http://localhost:9"),
            cors: None,
        };
        guest.create_route(&host, route).await.unwrap();
        assert!(server.find_route("x", "/door", "GET").is_some());
        let new =
            NewOrganization { slug: "other".to_owned(), name: None, tier: None, owner_email: Some(OWNER.to_owned()) };
        guest.create_organization(&host, new).await.unwrap();
        assert!(server.directory().resolve("other").is_some());
        let state = Some(keyrack_core::OrganizationState::Suspended);
        guest.update_organization(&host, OrganizationPatch { state, ..OrganizationPatch::default() }).await.unwrap();
        assert_eq!(decides(server, &world, "a-16-char-secret"), Some(Reason::OrganizationInactive));
        serving.stop().await;
    }

    async fn a_guest_without_a_server_is_answered_at_once(database: Database) {
        let world = World::new(database).await;
        let guest = world.another(GUEST).await;
        let mut fastest = Duration::MAX;
        for n in 0..5 {
            let started = tokio::time::Instant::now();
            assert_eq!(code(guest.create_key(&world.host(), named(&format!("key {n}"))).await), "done");
            fastest = fastest.min(started.elapsed());
        }
        assert!(fastest < Duration::from_secs(1), "it waited for nobody: {fastest:?}");
        // Nor after a server that has gone.
        Serving::start(&world).await.stop().await;
        until(|| async { world.store().await.served_up_to().await.unwrap().is_none() }).await;
        assert_eq!(code(guest.create_key(&world.host(), named("later")).await), "done");
    }

    async fn many_guests_at_once_are_each_answered_after_their_own_change_is_seen(database: Database) {
        let world = Arc::new(World::new(database).await);
        let serving = Serving::start(&world).await;
        let guests: Vec<_> = (0..4)
            .map(|guest| {
                tokio::spawn({
                    let world = Arc::clone(&world);
                    async move {
                        let engine = world.another(GUEST).await;
                        for n in 0..10 {
                            let made =
                                engine.create_key(&world.host(), named(&format!("key {guest} {n}"))).await.unwrap();
                            let (view, text) = shown(made);
                            assert_eq!(decides(&world.engine, &world, &text), None);
                            engine.revoke_key(&world.host(), view.key.id, None).await.unwrap();
                            assert_eq!(decides(&world.engine, &world, &text), Some(Reason::Revoked));
                        }
                    }
                })
            })
            .collect();
        for guest in guests {
            guest.await.unwrap();
        }
        serving.stop().await;
    }

    async fn uses_are_written_down_while_serving_and_at_its_end(database: Database) {
        let world = World::new(database).await;
        let (first, first_text) = world.plain_key("first").await;
        let (last, last_text) = world.plain_key("last").await;
        let last_used = async |id| world.engine.get_key(&world.host(), id).await.unwrap().key.last_used_at;
        let serving = Serving::start(&world).await;
        assert!(world.passes(&first_text).await);
        until(|| async { last_used(first).await == Some(world.now()) }).await;
        assert!(world.passes(&last_text).await);
        serving.stop().await;
        assert_eq!(last_used(last).await, Some(world.now()));
    }
}

#[tokio::test]
async fn a_guest_that_does_not_see_the_server_follow_says_so_and_the_change_is_made() {
    let world = World::new(Database::Sqlite).await;
    // A server that holds the claim and hangs.
    let claim = world.store().await.claim().await.unwrap();
    let guest = world.another(GUEST).await;
    assert!(matches!(guest.create_key(&world.host(), named("billing")).await, Err(Error::NotYetSeen)));
    drop(claim);
    let keys = guest.list_keys(&world.host(), keyrack_engine::KeyQuery { limit: 9, ..Default::default() }).await;
    assert!(keys.unwrap().data.iter().any(|view| view.key.name == "billing"));
}

#[test]
fn after_a_restore_nothing_of_the_database_before_is_decided_by() {
    let Some(cluster) = PrivateCluster::start() else { return };
    keyrack_testkit::database::run(async {
        let url = cluster.fresh_database();
        let database = url.rsplit_once('/').unwrap().1.to_owned();
        let world = World::at(url.clone(), tempfile::tempdir().unwrap()).await;
        let (_, text) = world.plain_key("billing").await;
        let (_, later_text) = world.plain_key("made after the backup").await;
        // As a backup has it: another life of the database, in which the key was revoked and the last one never made.
        let restore = "UPDATE feed_head SET epoch = gen_random_uuid(), seq = seq - 1; \
            DELETE FROM event WHERE seq > (SELECT seq FROM feed_head); \
            UPDATE api_key SET switch = 'revoked' WHERE name = 'billing'; \
            DELETE FROM key_secret WHERE key_id = (SELECT id FROM api_key WHERE name LIKE 'made after%'); \
            DELETE FROM api_key WHERE name LIKE 'made after%'";
        cluster.sql(&database, restore);
        assert_eq!((world.reason(&text).await, world.reason(&later_text).await), (None, None), "not yet noticed");
        let (_, new_text) = world.plain_key("made after the restore").await;
        assert_eq!(world.reason(&text).await, Some(Reason::Revoked));
        assert_eq!(world.reason(&later_text).await, Some(Reason::NotFound));
        assert!(world.passes(&new_text).await);
    });
}

#[test]
fn a_server_whose_database_is_away_decides_nothing_and_goes_on_when_it_is_back() {
    let Some(mut cluster) = PrivateCluster::start() else { return };
    keyrack_testkit::database::run(async {
        let url = cluster.fresh_database();
        let database = url.rsplit_once('/').unwrap().1.to_owned();
        let world = World::at(url.clone(), tempfile::tempdir().unwrap()).await;
        let (_, text) = world.plain_key("billing").await;
        let serving = Serving::start(&world).await;
        assert!(world.passes(&text).await);
        let is_unavailable = async || {
            matches!(world.engine.verify(&world.any_key(), &presented(&text)).await, Err(Error::Unavailable(..)))
        };

        cluster.stop();
        let stopped = tokio::time::Instant::now();
        until(|| async { is_unavailable().await }).await;
        assert!(stopped.elapsed() < Duration::from_secs(3), "another may serve by now: {:?}", stopped.elapsed());
        assert!(!world.engine.is_serving());
        cluster.start_again();
        until(|| async { !is_unavailable().await }).await;
        assert!(world.passes(&text).await && world.engine.is_serving());

        // The others drop it, and what they change then it is never told.
        cluster.sql(&database, "DELETE FROM node; UPDATE api_key SET switch = 'revoked'");
        let now = async || world.engine.verify(&world.any_key(), &presented(&text)).await;
        until(|| async { now().await.is_ok_and(|verdict| verdict.reason() == Some(Reason::Revoked)) }).await;
        serving.stop().await;
    });
}

#[tokio::test]
async fn a_person_that_is_not_there_is_none() {
    let world = World::new(Database::Sqlite).await;
    assert!(world.engine.find_user(UserId(uuid::Uuid::nil())).await.unwrap().is_none());
    assert_eq!(world.engine.find_user(world.owner).await.unwrap().unwrap().email, OWNER);
    assert!(world.ask(&world.management_key, &world.scope("keyrack.keys:read")).await.is_grant());
}
