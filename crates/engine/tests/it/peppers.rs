//! The pepper lives outside the database: the right one is needed, and it can be changed.

use keyrack_core::{Pepper, TextHash};
use keyrack_engine::{EngineRole, Error, HashProfile, NewGroup, NewKey};
use keyrack_testkit::{Database, both_databases};

use crate::support::{IsGrant as _, TestClock, World, named, pepper, presented, shown, start};

const WITH_KEYS: EngineRole = EngineRole::Guest { keys: true };

async fn refused(world: &World, peppers: Vec<Pepper>) -> bool {
    match start(&world.url, &world.clock, peppers, WITH_KEYS).await {
        Err(Error::Refused(text)) => text.contains("pepper"),
        Err(error) => panic!("{error:?}"),
        Ok(_) => false,
    }
}

both_databases! {
    async fn a_wrong_or_missing_pepper_is_refused_at_the_start(database: Database) {
        let world = World::new(database).await;
        assert!(refused(&world, vec![]).await);
        assert!(refused(&world, vec![pepper(1, 9)]).await, "of the same number, but another one");
        assert!(refused(&world, vec![pepper(2, 1)]).await, "the same one, but of another number");
        assert!(refused(&world, vec![pepper(2, 2)]).await, "the new one without the old one");
        assert!(refused(&world, vec![pepper(2, 2), pepper(1, 9)]).await);
        assert!(!refused(&world, vec![pepper(1, 1)]).await);
    }

    async fn keys_of_every_pepper_in_the_file_pass_and_new_ones_are_made_under_the_one_in_use(database: Database) {
        let world = World::new(database).await;
        let slow = NewGroup { name: "slow".to_owned(), hash_profile: Some(HashProfile::Bcrypt), ..NewGroup::default() };
        world.engine.create_group(&world.host(), slow).await.unwrap();
        let in_slow = |name| NewKey { group: Some("slow".to_owned()), ..named(name) };
        let (_, old) = world.plain_key("old").await;
        let (_, old_slow) = world.key(in_slow("old")).await;

        let next = start(&world.url, &world.clock, vec![pepper(2, 2), pepper(1, 1)], EngineRole::Server).await.unwrap();
        let (view, new) = shown(next.create_key(&world.host(), named("new")).await.unwrap());
        let (_, new_slow) = shown(next.create_key(&world.host(), in_slow("new")).await.unwrap());
        for text in [&old, &new, &old_slow, &new_slow] {
            assert!(next.verify(&world.any_key(), &presented(text)).await.unwrap().is_grant());
        }
        let rows = world.store().await.read().await.unwrap().verifications_of(&[view.key.id]).await.unwrap();
        let digest = pepper(1, 1).digest(&TextHash::of(&new));
        assert_eq!(&rows[0].digest, digest.as_bytes(), "the order of the file says nothing");
        let swapped = start(&world.url, &world.clock, vec![pepper(1, 1), pepper(2, 2)], WITH_KEYS).await.unwrap();
        for text in [&old, &new] {
            assert!(swapped.verify(&world.any_key(), &presented(text)).await.unwrap().is_grant());
        }
    }

    async fn a_pepper_that_is_not_in_use_is_not_asked_for(database: Database) {
        let world = World::new(database).await;
        let head = world.head().await;
        start(&world.url, &world.clock, vec![pepper(2, 2), pepper(1, 1)], WITH_KEYS).await.unwrap();
        assert!(!refused(&world, vec![pepper(1, 1)]).await);
        assert!(!refused(&world, vec![pepper(2, 9), pepper(1, 1)]).await);
        assert_eq!(world.head().await, head, "and nothing was noted");
    }

    async fn of_two_first_starts_with_different_peppers_one_is_refused(database: Database) {
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let url = database.fresh(directory.path()).unwrap();
            let clock = TestClock::new();
            let begin = |byte| start(&url, &clock, vec![pepper(1, byte)], EngineRole::Server);
            let (one, other) = tokio::join!(begin(1), begin(2));
            assert_eq!([one.is_ok(), other.is_ok()].into_iter().filter(|ok| *ok).count(), 1);
            for refused in [one, other].into_iter().filter(Result::is_err) {
                assert!(matches!(refused, Err(Error::Refused(_))), "{:?}", refused.err());
            }
        }
    }

    async fn the_database_tells_nothing_of_the_pepper(database: Database) {
        let world = World::new(database).await;
        let mut reader = world.store().await.read().await.unwrap();
        let settings = reader.list_settings(keyrack_store::INSTANCE).await.unwrap();
        let text = serde_json::json!(settings).to_string();
        assert!(text.contains(&pepper(1, 1).fingerprint()));
        assert!(!text.contains(&data_encoding::HEXLOWER.encode(&[1; 32])));
        assert!(!text.contains(&data_encoding::BASE64.encode(&[1; 32])));
    }
}
