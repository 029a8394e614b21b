//! While the database takes no writes, nothing is changed and everything is decided as before.

use std::pin::Pin;
use std::task::Poll;

use keyrack_core::{PlainKey, Reason};
use keyrack_engine::{GuardText, ImportKey, KeyPatch, NewGroup, NewRoute, RotateKey, Target};
use keyrack_testkit::Database;
use keyrack_testkit::postgres::PrivateCluster;

use crate::following::Serving;
use crate::support::{IsGrant as _, OWNER, PASSWORD, World, at_once, code, named, presented};

type Change<'c> = Pin<Box<dyn Future<Output = String> + 'c>>;

/// Does all of them beside each other.
async fn join_all(mut changes: Vec<Change<'_>>) -> Vec<String> {
    let mut done = vec![None; changes.len()];
    std::future::poll_fn(|cx| {
        for (change, done) in changes.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(how) = change.as_mut().poll(cx) {
                *done = Some(how);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[test]
fn while_another_keeps_the_file_locked_changes_are_refused_and_decisions_go_on() {
    keyrack_testkit::database::run(async {
        let world = World::new(Database::Sqlite).await;
        let (engine, host) = (&world.engine, world.host());
        let (id, text) = world.plain_key("billing").await;
        let (off, off_text) = world.plain_key("off").await;
        let switch = |enabled| KeyPatch { enabled: Some(enabled), ..KeyPatch::default() };
        engine.update_key(&host, off, switch(false)).await.unwrap();
        let head = world.head().await;

        let serving = Serving::start(&world).await;
        let lock = world.lock().await;
        let import =
            ImportKey { new: named("old"), text: Some(PlainKey::new("a-16-char-secret".into())), sha256: None };
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
        let group = NewGroup { name: "third".to_owned(), ..NewGroup::default() };
        // All of them wait as long as a store has patience, so they wait together.
        let changes: Vec<Change<'_>> = vec![
            Box::pin(async { code(engine.create_key(&host, named("new")).await) }),
            Box::pin(async { code(engine.update_key(&host, id, switch(false)).await) }),
            Box::pin(async { code(engine.update_key(&host, off, switch(true)).await) }),
            Box::pin(async { code(engine.revoke_key(&host, id, None).await) }),
            Box::pin(async { code(engine.delete_key(&host, id).await) }),
            Box::pin(async { code(engine.rotate_key(&host, id, RotateKey::default()).await) }),
            Box::pin(async { code(engine.import_keys(&host, vec![import]).await) }),
            Box::pin(async { code(engine.create_group(&host, group).await) }),
            Box::pin(async { code(engine.create_route(&host, route).await) }),
            Box::pin(async { code(engine.sign_in(OWNER, PASSWORD, (None, None)).await) }),
        ];
        let decisions = async {
            let started = tokio::time::Instant::now();
            let mut decided = 0;
            while started.elapsed() < std::time::Duration::from_secs(1) {
                let verdict = at_once(engine.verify(&world.any_key(), &presented(&text))).unwrap().unwrap();
                assert!(verdict.is_grant());
                let verdict = at_once(engine.verify(&world.any_key(), &presented(&off_text))).unwrap().unwrap();
                assert_eq!(verdict.reason(), Some(Reason::Disabled));
                assert_eq!(engine.get_key(&host, id).await.unwrap().key.name, "billing", "and can be looked at");
                decided += 1;
            }
            decided
        };
        let (refusals, decided) = tokio::join!(join_all(changes), decisions);
        assert_eq!(refusals, ["unavailable"; 10]);
        assert!(decided > 10);
        drop(lock);

        assert_eq!(world.head().await, head);
        assert!(world.passes(&text).await);
        assert_eq!(world.reason(&off_text).await, Some(Reason::Disabled));
        assert_eq!(world.reason("a-16-char-secret").await, Some(Reason::NotFound));
        assert!(engine.find_route("x", "/door", "GET").is_none());
        // The uses of that time are not lost: they are written down with the next occasion.
        serving.stop().await;
        assert_eq!(engine.get_key(&host, id).await.unwrap().key.last_used_at, Some(world.now()));
        engine.revoke_key(&host, id, None).await.unwrap();
        assert_eq!(world.reason(&text).await, Some(Reason::Revoked));
    });
}

#[test]
fn while_the_server_is_away_changes_are_refused_and_nothing_of_them_is_there_afterwards() {
    let Some(mut cluster) = PrivateCluster::start() else { return };
    keyrack_testkit::database::run(async {
        let world = World::at(cluster.fresh_database(), tempfile::tempdir().unwrap()).await;
        let (id, text) = world.plain_key("billing").await;
        let head = world.head().await;
        cluster.stop();
        let (engine, host) = (&world.engine, world.host());
        let (made, revoked, seen) = tokio::join!(
            engine.create_key(&host, named("new")),
            engine.revoke_key(&host, id, None),
            engine.get_key(&host, id),
        );
        assert_eq!([code(made), code(revoked), code(seen)], ["unavailable"; 3]);
        cluster.start_again();
        assert_eq!(world.head().await, head);
        assert!(world.passes(&text).await);
        engine.revoke_key(&host, id, None).await.unwrap();
        assert_eq!(world.reason(&text).await, Some(Reason::Revoked));
    });
}
