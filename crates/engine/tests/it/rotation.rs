//! Rotation: a new secret for the same key, while the old one lives on for a stated time.

use keyrack_core::{KeyId, Reason, Timestamp};
use keyrack_engine::{DEFAULT_OVERLAP, EngineRole, MAX_OVERLAP, NewKey, RotateKey};
use keyrack_testkit::{Database, both_databases};

use crate::following::Serving;
use crate::support::{World, code, named};

const PLAIN: RotateKey = RotateKey { overlap_seconds: None, force: false };

fn overlap(seconds: i64) -> RotateKey {
    RotateKey { overlap_seconds: Some(seconds), ..PLAIN }
}

async fn rotate(world: &World, id: KeyId, how: RotateKey) -> (String, Option<Timestamp>) {
    let rotated = world.engine.rotate_key(&world.host(), id, how).await.unwrap();
    assert_eq!(rotated.key.key.id, id, "the key stays who it is");
    assert!(!rotated.is_replay);
    let text = rotated.secret.unwrap().expose().to_owned();
    assert_eq!(rotated.key.key.last4, text[text.len() - 4..]);
    (text, rotated.previous_secret_expires_at)
}

async fn passing(world: &World, texts: &[&String]) -> Vec<bool> {
    let mut passing = Vec::new();
    for text in texts {
        passing.push(world.passes(text).await);
    }
    passing
}

both_databases! {
    async fn the_old_secret_lives_a_day_unless_said_otherwise_and_not_a_moment_longer(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let start = world.now();
        let (new, end) = rotate(&world, id, PLAIN).await;
        assert_eq!(end, Some(world.later(DEFAULT_OVERLAP)));
        assert_eq!(passing(&world, &[&old, &new]).await, [true, true]);
        world.clock.advance(DEFAULT_OVERLAP - 1);
        assert_eq!(passing(&world, &[&old, &new]).await, [true, true]);
        world.clock.advance(1);
        assert_eq!(passing(&world, &[&old, &new]).await, [false, true]);
        assert_eq!(world.reason(&old).await, Some(Reason::Expired));

        let secrets = world.engine.list_key_secrets(&world.host(), id).await.unwrap();
        let told: Vec<_> = secrets.iter().map(|s| (s.version, s.expires_at, s.created_at)).collect();
        assert_eq!(told, [(1, end, start), (2, None, start)]);
    }

    async fn an_overlap_of_nothing_ends_the_old_secret_at_once(database: Database) {
        let world = World::new(database).await;
        let (id, mut old) = world.plain_key("billing").await;
        for _ in 0..3 {
            let (new, end) = rotate(&world, id, overlap(0)).await;
            assert_eq!(end, Some(world.now()));
            assert_eq!(passing(&world, &[&old, &new]).await, [false, true]);
            old = new;
        }
    }

    async fn an_overlap_is_at_most_30_days(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let head = world.head().await;
        for seconds in [-1, MAX_OVERLAP + 1, i64::MAX, i64::MIN] {
            assert_eq!(code(world.engine.rotate_key(&world.host(), id, overlap(seconds)).await), "overlap_seconds");
        }
        assert_eq!(world.head().await, head);
        let (_, end) = rotate(&world, id, overlap(MAX_OVERLAP)).await;
        assert_eq!(end, Some(world.later(30 * 24 * 60 * 60)));
        world.clock.advance(MAX_OVERLAP - 1);
        assert!(world.passes(&old).await);
    }

    async fn the_old_secret_never_outlives_the_key(database: Database) {
        let world = World::new(database).await;
        let expires_at = world.later(60);
        let (view, old) = world.key(NewKey { expires_at: Some(expires_at), ..named("short") }).await;
        let (new, end) = rotate(&world, view.key.id, overlap(3600)).await;
        assert_eq!(end, Some(expires_at));
        world.clock.advance(60);
        assert_eq!(passing(&world, &[&old, &new]).await, [false, false]);
        assert_eq!(code(world.engine.rotate_key(&world.host(), view.key.id, PLAIN).await), "key_final");
    }

    async fn a_disabled_key_can_be_rotated_and_stays_disabled(database: Database) {
        let world = World::new(database).await;
        let (view, old) = world.key(NewKey { disabled: true, ..named("off") }).await;
        let (new, _) = rotate(&world, view.key.id, PLAIN).await;
        for text in [old, new] {
            assert_eq!(world.reason(&text).await, Some(Reason::Disabled));
        }
    }

    async fn rotating_in_an_overlap_replaces_a_newer_secret_that_was_never_used(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let (lost, end) = rotate(&world, id, PLAIN).await;
        world.clock.advance(60);
        let (new, same_end) = rotate(&world, id, PLAIN).await;
        assert_eq!(same_end, end, "the old secret keeps the time it was given");
        assert_eq!(passing(&world, &[&old, &lost]).await, [true, false]);

        // Another overlap that is asked for is given.
        let (newer, end) = rotate(&world, id, overlap(30)).await;
        assert_eq!(end, Some(world.later(30)));
        assert_eq!(passing(&world, &[&old, &lost, &new, &newer]).await, [true, false, false, true]);
        world.clock.advance(30);
        assert_eq!(passing(&world, &[&old, &newer]).await, [false, true]);
    }

    async fn rotating_in_an_overlap_with_both_secrets_in_use_is_refused_unless_forced(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let (new, _) = rotate(&world, id, PLAIN).await;
        // In use from this moment on, though nothing has been written down yet.
        assert!(world.passes(&new).await);
        let head = world.head().await;
        for how in [PLAIN, overlap(0), overlap(60)] {
            assert_eq!(code(world.engine.rotate_key(&world.host(), id, how).await), "overlap_in_progress");
        }
        assert_eq!(world.head().await, head);
        assert_eq!(passing(&world, &[&old, &new]).await, [true, true]);

        let (newest, end) = rotate(&world, id, RotateKey { overlap_seconds: Some(60), force: true }).await;
        assert_eq!(end, Some(world.later(60)));
        assert_eq!(passing(&world, &[&old, &new, &newest]).await, [false, true, true]);
    }

    async fn after_an_overlap_a_key_is_rotated_like_any_other(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let (new, _) = rotate(&world, id, overlap(60)).await;
        assert!(world.passes(&new).await);
        world.clock.advance(60);
        let (newest, _) = rotate(&world, id, overlap(60)).await;
        assert_eq!(passing(&world, &[&old, &new, &newest]).await, [false, true, true]);
        let versions: Vec<_> =
            world.engine.list_key_secrets(&world.host(), id).await.unwrap().iter().map(|s| s.version).collect();
        assert_eq!(versions, [1, 2, 3]);
    }

    async fn an_overlap_can_be_ended_early(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let host = world.host();
        assert_eq!(code(world.engine.end_overlap(&host, id, 1).await), "newest_secret");
        let (new, _) = rotate(&world, id, PLAIN).await;
        assert_eq!(code(world.engine.end_overlap(&host, id, 2).await), "newest_secret");
        assert_eq!(code(world.engine.end_overlap(&host, id, 3).await), "no secret");
        assert_eq!(code(world.engine.end_overlap(&host, id, 1).await), "done");
        assert_eq!(passing(&world, &[&old, &new]).await, [false, true]);
        let head = world.head().await;
        assert_eq!(code(world.engine.end_overlap(&host, id, 1).await), "done");
        assert_eq!(world.head().await, head, "ended once is ended");
    }

    async fn both_secrets_end_with_the_key(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let (new, _) = rotate(&world, id, PLAIN).await;
        world.engine.revoke_key(&world.host(), id, None).await.unwrap();
        for text in [&old, &new] {
            assert_eq!(world.reason(text).await, Some(Reason::Revoked));
        }
        world.engine.delete_key(&world.host(), id).await.unwrap();
        for text in [&old, &new] {
            assert_eq!(world.reason(text).await, Some(Reason::NotFound));
        }
    }

    async fn a_restart_knows_every_secret_s_end(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let (new, _) = rotate(&world, id, overlap(60)).await;
        let again = world.another(EngineRole::Guest { keys: true }).await;
        let passes = async |text: &str| {
            let verdict = again.verify(&world.any_key(), &crate::support::presented(text)).await.unwrap();
            verdict.reason().is_none()
        };
        assert!(passes(&old).await && passes(&new).await);
        world.clock.advance(60);
        assert!(!passes(&old).await && passes(&new).await);
    }

    async fn of_two_rotations_at_once_one_is_told_of_the_other(database: Database) {
        let world = World::new(database).await;
        let (id, _) = world.plain_key("billing").await;
        let (host, engine) = (world.host(), &world.engine);
        let (one, other) = tokio::join!(engine.rotate_key(&host, id, PLAIN), engine.rotate_key(&host, id, PLAIN));
        let done = [&one, &other].into_iter().filter(|r| r.is_ok()).count();
        let secrets = engine.list_key_secrets(&host, id).await.unwrap();
        assert_eq!(secrets.len(), done + 1);
        assert!(done > 0);
        let live = secrets.iter().filter(|s| s.expires_at.is_none_or(|at| at > world.now())).count();
        assert_eq!(live, 2);
        for refused in [one, other].into_iter().filter(Result::is_err) {
            assert_eq!(code(refused), "rotation_in_progress");
        }
    }

    async fn a_use_is_told_apart_by_secret(database: Database) {
        let world = World::new(database).await;
        let (id, old) = world.plain_key("billing").await;
        let (new, _) = rotate(&world, id, PLAIN).await;
        assert!(world.passes(&old).await);
        let first = world.now();
        world.clock.advance(9);
        assert!(world.passes(&new).await);
        // What has stopped has written everything down.
        Serving::start(&world).await.stop().await;
        let secrets = world.engine.list_key_secrets(&world.host(), id).await.unwrap();
        assert_eq!(secrets.iter().map(|s| s.last_used_at).collect::<Vec<_>>(), [Some(first), Some(world.now())]);
        assert_eq!(world.engine.get_key(&world.host(), id).await.unwrap().key.last_used_at, Some(world.now()));
    }

    async fn a_refusal_is_no_use(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.plain_key("billing").await;
        assert!(world.ask(&text, &world.scope("deals:write")).await.reason().is_some());
        Serving::start(&world).await.stop().await;
        assert_eq!(world.engine.get_key(&world.host(), id).await.unwrap().key.last_used_at, None);
    }
}
