//! A request that is repeated under its idempotency key does its work once.

use keyrack_core::KeyId;
use keyrack_engine::{Context, Idempotency, NewKey, RotateKey};
use keyrack_testkit::{Database, both_databases};

use crate::support::{World, at_once, code, named, texts};

fn repeated(ctx: &Context, key: &str, hash: u8) -> Context {
    let idempotency = Some(Idempotency { key: key.to_owned(), request_hash: [hash; 32] });
    Context { idempotency, ..ctx.clone() }
}

async fn manager(world: &World, name: &str) -> Context {
    let new = NewKey {
        group: Some("management".to_owned()),
        scopes: Some(texts(&["*:admin", "keyrack.*:admin"])),
        ..named(name)
    };
    let (_, text) = world.key(new).await;
    world.acting(&text).await
}

async fn create(world: &World, ctx: &Context, name: &str) -> Result<(KeyId, bool, bool), String> {
    match world.engine.create_key(ctx, named(name)).await {
        Ok(made) => Ok((made.key.key.id, made.secret.is_some(), made.is_replay)),
        Err(error) => Err(code::<()>(Err(error))),
    }
}

both_databases! {
    async fn a_replay_answers_with_the_same_key_and_without_its_text(database: Database) {
        let world = World::new(database).await;
        let ctx = repeated(&manager(&world, "actor").await, "one", 1);
        let (id, has_secret, is_replay) = create(&world, &ctx, "billing").await.unwrap();
        assert!(has_secret && !is_replay);
        let head = world.head().await;
        for _ in 0..2 {
            assert_eq!(create(&world, &ctx, "billing").await, Ok((id, false, true)));
        }
        assert_eq!(world.head().await, head);
    }

    async fn a_replay_of_a_rotation_makes_no_further_secret(database: Database) {
        let world = World::new(database).await;
        let ctx = repeated(&manager(&world, "actor").await, "one", 1);
        let (id, old) = world.plain_key("billing").await;
        let first = world.engine.rotate_key(&ctx, id, RotateKey::default()).await.unwrap();
        let again = world.engine.rotate_key(&ctx, id, RotateKey::default()).await.unwrap();
        assert!(again.is_replay && again.secret.is_none());
        assert_eq!(again.previous_secret_expires_at, first.previous_secret_expires_at);
        assert_eq!(world.engine.list_key_secrets(&world.host(), id).await.unwrap().len(), 2);
        assert!(world.passes(&old).await && world.passes(first.secret.unwrap().expose()).await);
    }

    async fn the_same_key_for_something_else_is_refused(database: Database) {
        let world = World::new(database).await;
        let actor = manager(&world, "actor").await;
        create(&world, &repeated(&actor, "one", 1), "billing").await.unwrap();
        let head = world.head().await;
        assert_eq!(create(&world, &repeated(&actor, "one", 2), "other").await, Err("mismatch".to_owned()));
        assert_eq!(world.head().await, head);
        let (_, _, is_replay) = create(&world, &repeated(&actor, "two", 1), "other").await.unwrap();
        assert!(!is_replay);
    }

    async fn each_actor_has_keys_of_its_own(database: Database) {
        let world = World::new(database).await;
        let (one, other) = (manager(&world, "one").await, manager(&world, "other").await);
        let (first, ..) = create(&world, &repeated(&one, "same", 1), "billing").await.unwrap();
        let (second, _, is_replay) = create(&world, &repeated(&other, "same", 1), "shipping").await.unwrap();
        assert!(first != second && !is_replay);
    }

    async fn while_one_is_worked_on_its_repetition_is_told_so(database: Database) {
        let world = World::new(database).await;
        let ctx = repeated(&manager(&world, "actor").await, "one", 1);
        let lock = world.lock().await;
        let mut first = Box::pin(world.engine.create_key(&ctx, named("billing")));
        assert!(at_once(first.as_mut()).is_none(), "it waits for the lock");
        assert_eq!(create(&world, &ctx, "billing").await, Err("idempotency_in_flight".to_owned()));
        drop(lock);
        let made = first.await.unwrap();
        assert!(made.secret.is_some());
        assert_eq!(create(&world, &ctx, "billing").await, Ok((made.key.key.id, false, true)));
    }

    async fn of_two_at_once_in_two_processes_one_does_the_work(database: Database) {
        let world = World::new(database).await;
        let other = world.another(keyrack_engine::EngineRole::Guest { keys: false }).await;
        let ctx = repeated(&manager(&world, "actor").await, "one", 1);
        let (mine, theirs) =
            tokio::join!(world.engine.create_key(&ctx, named("billing")), other.create_key(&ctx, named("billing")));
        let outcomes = [&mine, &theirs].map(|made| made.as_ref().map(|m| m.is_replay).map_err(|_| ()));
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(false)).count(), 1, "{outcomes:?}");
        for made in [mine, theirs] {
            let how = match made {
                Ok(made) if made.is_replay => "replay".to_owned(),
                made => code(made),
            };
            assert!(["done", "replay", "idempotency_in_flight", "name_taken"].contains(&&*how), "{how}");
        }
        let (_, _, is_replay) = create(&world, &ctx, "billing").await.unwrap();
        assert!(is_replay);
    }

    async fn one_that_failed_or_was_given_up_is_free_again(database: Database) {
        let world = World::new(database).await;
        let ctx = repeated(&manager(&world, "actor").await, "one", 1);
        let bad = NewKey { scopes: Some(texts(&["x"])), ..named("billing") };
        assert_eq!(code(world.engine.create_key(&ctx, bad).await), "scopes[0]");
        let lock = world.lock().await;
        let mut given_up = Box::pin(world.engine.create_key(&ctx, named("billing")));
        assert!(at_once(given_up.as_mut()).is_none(), "it waits for the lock");
        drop(given_up);
        drop(lock);
        let (_, has_secret, is_replay) = create(&world, &ctx, "billing").await.unwrap();
        assert!(has_secret && !is_replay);
    }

    async fn after_a_day_it_is_forgotten(database: Database) {
        let world = World::new(database).await;
        let ctx = repeated(&manager(&world, "actor").await, "one", 1);
        let (first, ..) = create(&world, &ctx, "billing").await.unwrap();
        world.clock.advance(24 * 60 * 60 - 1);
        assert_eq!(create(&world, &ctx, "billing").await, Ok((first, false, true)));
        world.clock.advance(1);
        let (second, has_secret, is_replay) = create(&world, &ctx, "billing again").await.unwrap();
        assert!(first != second && has_secret && !is_replay);
    }
}
