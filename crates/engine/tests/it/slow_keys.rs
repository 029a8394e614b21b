//! Groups whose keys are remembered with bcrypt: the slow hash runs once for each process, and never for junk.

use keyrack_core::{Reason, TextHash};
use keyrack_engine::{EngineRole, Error, HashProfile, KeyPatch, NewGroup, NewKey, RotateKey};
use keyrack_testkit::{Database, both_databases};

use crate::support::{IsGrant as _, World, at_once, code, named, presented};

async fn slow_world(database: Database) -> World {
    let world = World::new(database).await;
    let group = NewGroup { name: "slow".to_owned(), hash_profile: Some(HashProfile::Bcrypt), ..NewGroup::default() };
    world.engine.create_group(&world.host(), group).await.unwrap();
    world
}

fn slow(name: &str) -> NewKey {
    NewKey { group: Some("slow".to_owned()), ..named(name) }
}

/// Whether a key is decided about from memory alone, and passes.
fn passes_at_once(engine: &keyrack_engine::Engine, world: &World, text: &str) -> Option<bool> {
    at_once(engine.verify(&world.any_key(), &presented(text))).map(|verdict| verdict.unwrap().is_grant())
}

both_databases! {
    async fn the_slow_hash_runs_at_the_first_use_in_each_process_and_never_again(database: Database) {
        let world = slow_world(database).await;
        let (view, text) = world.key(slow("billing")).await;
        assert_eq!(passes_at_once(&world.engine, &world, &text), None, "the first use waits for the hash");
        assert!(world.passes(&text).await);
        assert_eq!(passes_at_once(&world.engine, &world, &text), Some(true));

        // A change of the key does not make it slow again.
        let patch = KeyPatch { description: Some("x".to_owned()), ..KeyPatch::default() };
        world.engine.update_key(&world.host(), view.key.id, patch).await.unwrap();
        assert_eq!(passes_at_once(&world.engine, &world, &text), Some(true));

        let again = world.another(EngineRole::Guest { keys: true }).await;
        assert_eq!(passes_at_once(&again, &world, &text), None);
        assert!(again.verify(&world.any_key(), &presented(&text)).await.unwrap().is_grant());
        assert_eq!(passes_at_once(&again, &world, &text), Some(true));
    }

    async fn a_wrong_key_never_runs_the_slow_hash(database: Database) {
        let world = slow_world(database).await;
        let (_, text) = world.key(slow("billing")).await;
        let (_, other) = world.key(slow("other")).await;
        world
            .engine
            .delete_key(&world.host(), world.ask(&other, &world.any_key()).await.into_key().unwrap().record.key)
            .await
            .unwrap();
        // Well formed, of the group, and not in use.
        assert_eq!(passes_at_once(&world.engine, &world, &other), Some(false));
        let format = keyrack_core::KeyFormat::default();
        for n in 0..200_u8 {
            let junk = format.write(keyrack_core::Environment::Live, &[n; 32]);
            assert_eq!(passes_at_once(&world.engine, &world, junk.expose()), Some(false));
        }
        assert_eq!(passes_at_once(&world.engine, &world, &text[..56]), Some(false));
    }

    async fn a_slow_key_that_is_revoked_is_refused_proven_or_not(database: Database) {
        let world = slow_world(database).await;
        let (proven, proven_text) = world.key(slow("proven")).await;
        let (fresh, fresh_text) = world.key(slow("fresh")).await;
        assert!(world.passes(&proven_text).await);
        for view in [proven, fresh] {
            world.engine.revoke_key(&world.host(), view.key.id, None).await.unwrap();
        }
        // At once, both: a quarter of a second would tell that it was a key.
        for text in [proven_text, fresh_text] {
            let verdict = at_once(world.engine.verify(&world.any_key(), &presented(&text)));
            assert_eq!(verdict.unwrap().unwrap().reason(), Some(Reason::Revoked));
        }
    }

    async fn a_key_that_is_revoked_while_its_hash_runs_is_refused(database: Database) {
        let world = slow_world(database).await;
        for delete in [false, true] {
            let (view, text) = world.key(slow(if delete { "deleted" } else { "revoked" })).await;
            let (guard, presented) = (world.any_key(), presented(&text));
            let mut verify = std::pin::pin!(world.engine.verify(&guard, &presented));
            let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(verify.as_mut().poll(cx).is_pending())).await;
            assert!(begun, "the hash runs");
            let wanted = if delete {
                world.engine.delete_key(&world.host(), view.key.id).await.unwrap();
                Reason::NotFound
            } else {
                world.engine.revoke_key(&world.host(), view.key.id, None).await.unwrap();
                Reason::Revoked
            };
            assert_eq!(verify.await.unwrap().reason(), Some(wanted));
        }
    }

    async fn each_secret_of_a_slow_key_is_proven_by_itself(database: Database) {
        let world = slow_world(database).await;
        let (view, old) = world.key(slow("billing")).await;
        assert!(world.passes(&old).await);
        let rotated = world.engine.rotate_key(&world.host(), view.key.id, RotateKey::default()).await.unwrap();
        let new = rotated.secret.unwrap().expose().to_owned();
        assert_eq!(passes_at_once(&world.engine, &world, &old), Some(true));
        assert_eq!(passes_at_once(&world.engine, &world, &new), None);
        assert!(world.passes(&new).await);
        world.clock.advance(keyrack_engine::DEFAULT_OVERLAP);
        assert_eq!(passes_at_once(&world.engine, &world, &old), Some(false));
        assert_eq!(passes_at_once(&world.engine, &world, &new), Some(true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_hashes_than_the_queue_holds_are_refused_and_the_rest_are_done() {
    let world = slow_world(Database::Sqlite).await;
    let (_, text) = world.key(slow("billing")).await;
    let (_, fast) = world.plain_key("fast").await;
    let (guard, presented) = (world.any_key(), presented(&text));
    let mut waiting = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut verify = Box::pin(world.engine.verify(&guard, &presented));
        match at_once(verify.as_mut()) {
            None => waiting.push(verify),
            Some(Err(Error::Overloaded)) => refused += 1,
            Some(other) => panic!("{:?}", other.map(|verdict| verdict.decision)),
        }
    }
    assert_eq!((waiting.len(), refused), (32, 8));
    assert!(world.passes(&fast).await, "keys that need no slow hash go on");
    assert_eq!(code(world.engine.create_key(&world.host(), slow("more")).await), "overloaded");
    waiting.truncate(2);
    for verify in waiting {
        assert!(verify.await.unwrap().is_grant());
    }
    assert!(world.passes(&text).await);
}

#[test]
fn the_hash_that_is_kept_is_bcrypt_of_cost_12_over_sha_256() {
    keyrack_testkit::database::run(async {
        let world = slow_world(Database::Sqlite).await;
        let (view, text) = world.key(slow("billing")).await;
        let rows = world.store().await.read().await.unwrap().verifications_of(&[view.key.id]).await.unwrap();
        let hash = rows[0].rare.as_ref().unwrap().slow_hash.as_deref().unwrap();
        assert!(hash.starts_with("$2b$12$"), "{hash}");
        assert!(keyrack_core::slow::verify(&TextHash::of(&text), hash));
        assert_eq!(rows[0].digest[8..], [0; 24], "no more of the digest than finds the row");
    });
}
