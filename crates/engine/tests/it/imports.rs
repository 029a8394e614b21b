//! Keys that were made elsewhere: brought along by their text or by its SHA-256.

use keyrack_core::{Body, PlainKey, Reason, TextHash};
use keyrack_engine::{EngineRole, HashProfile, ImportKey, MAX_IMPORT, NewGroup, NewKey};
use keyrack_testkit::{Database, both_databases};

use crate::support::{IsGrant as _, World, at_once, code, named, pepper, presented, start};

fn by_text(name: &str, text: &str) -> ImportKey {
    ImportKey { new: named(name), text: Some(PlainKey::new(text.to_owned())), sha256: None }
}

/// `printf %s 'legacy-KEY+with/signs=0001' | sha256sum`
const KNOWN: (&str, &str) =
    ("legacy-KEY+with/signs=0001", "1994a1eecd123a3f1ae594102031fb0098f0e1eb48573b9d11533ba1949fbd17");

fn by_hash(name: &str, sha256: &str) -> ImportKey {
    ImportKey { new: named(name), text: None, sha256: Some(sha256.to_owned()) }
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    data_encoding::HEXLOWER.encode(digest.as_ref())
}

async fn import(world: &World, keys: Vec<ImportKey>) -> String {
    code(world.engine.import_keys(&world.host(), keys).await)
}

both_databases! {
    async fn an_imported_text_works_and_shows_no_more_than_a_quarter_of_itself(database: Database) {
        let world = World::new(database).await;
        let texts = ["a-16-char-secret", KNOWN.0, "AKIA+/=~!@$%^&*()_<>?", &"x".repeat(128)];
        assert_eq!(world.reason(texts[0]).await, Some(Reason::NotFound));
        let keys = texts.iter().enumerate().map(|(n, text)| by_text(&format!("key {n}"), text)).collect();
        let views = world.engine.import_keys(&world.host(), keys).await.unwrap();
        let again = world.another(EngineRole::Guest { keys: true }).await;
        for (view, text) in views.iter().zip(texts) {
            assert!(view.key.imported);
            assert_eq!(view.key.display_prefix, text[..(text.len() / 4).min(8)]);
            assert_eq!(view.key.last4, text[text.len() - 4..]);
            assert_eq!(world.ask(text, &world.any_key()).await.into_key().unwrap().record.key, view.key.id);
            assert!(again.verify(&world.any_key(), &presented(text)).await.unwrap().is_grant(), "after a restart");
        }
    }

    async fn an_imported_hash_lets_its_text_in_and_shows_nothing(database: Database) {
        let world = World::new(database).await;
        let text = "a secret that only its owner has kept".replace(' ', "-");
        let keys =
            vec![by_hash("lower", &sha256(&text)), by_hash("upper", &sha256("another-such-text").to_uppercase())];
        let views = world.engine.import_keys(&world.host(), keys).await.unwrap();
        assert_eq!((&*views[0].key.display_prefix, &*views[0].key.last4), ("", ""));
        assert!(world.passes(&text).await);
        assert!(world.passes("another-such-text").await);
        // What was given is not the key.
        assert_eq!(world.reason(&sha256(&text)).await, Some(Reason::NotFound));
    }

    async fn text_of_no_format_is_looked_up_only_once_a_key_was_imported(database: Database) {
        let world = World::new(database).await;
        let directory = world.engine.directory();
        assert!(!directory.could_be_key("a-16-char-secret"));
        assert_eq!(import(&world, vec![by_text("one", "another-secret-16")]).await, "done");
        assert!(directory.could_be_key("a-16-char-secret"));
        assert!(!directory.could_be_key("15-char-secret!"));
        assert!(!directory.could_be_key("with,comma-in-it-0"));
    }

    async fn a_key_that_looks_like_ours_may_be_imported_too(database: Database) {
        let world = World::new(database).await;
        let format = keyrack_core::KeyFormat::new(Some("old_".to_owned()), Body::Base62).unwrap();
        let text = format.write(keyrack_core::Environment::Live, &[7; 32]);
        assert_eq!(import(&world, vec![by_text("one", text.expose())]).await, "done");
        assert!(world.passes(text.expose()).await);
    }

    async fn what_cannot_be_imported_is_named_by_its_place_and_nothing_is_imported(database: Database) {
        let world = World::new(database).await;
        let head = world.head().await;
        let good = || by_text("good", "a-very-good-secret");
        let both = ImportKey { sha256: Some(sha256("x")), ..by_text("b", "a-16-char-secret") };
        let neither = ImportKey { new: named("n"), text: None, sha256: None };
        for (bad, field) in [
            (by_text("b", "15-char-secret!"), "keys[1].key"),
            (by_text("b", &"x".repeat(129)), "keys[1].key"),
            (by_text("b", "with space inside"), "keys[1].key"),
            (by_text("b", "with,comma,inside"), "keys[1].key"),
            (by_text("b", "umlaut-\u{fc}-inside-it"), "keys[1].key"),
            (by_hash("b", "ab"), "keys[1].sha256"),
            (by_hash("b", &"g".repeat(64)), "keys[1].sha256"),
            (by_hash("b", &"a".repeat(66)), "keys[1].sha256"),
            (both, "keys[1].key"),
            (neither, "keys[1].key"),
            (by_text("", "a-16-char-secret"), "keys[1].name"),
            (by_text("good", "a-16-char-secret"), "name_taken"),
            (by_text("b", "a-very-good-secret"), "keys[1]"),
            (by_hash("b", &sha256("a-very-good-secret")), "keys[1]"),
            (ImportKey { new: NewKey { group: Some("none".to_owned()), ..named("b") }, ..good() }, "keys[1].group"),
            (ImportKey { new: NewKey { expires_at: Some(world.now()), ..named("b") }, ..good() }, "keys[1].expires_at"),
        ] {
            assert_eq!(import(&world, vec![good(), bad]).await, field);
        }
        assert_eq!(import(&world, vec![]).await, "keys");
        assert_eq!(import(&world, (0..=MAX_IMPORT).map(|_| good()).collect()).await, "keys");
        assert_eq!(world.head().await, head);
        assert_eq!(world.reason("a-very-good-secret").await, Some(Reason::NotFound));
        assert_eq!(import(&world, vec![good()]).await, "done");
    }

    async fn a_text_that_is_or_was_a_key_is_never_imported(database: Database) {
        let world = World::new(database).await;
        let (id, own) = world.plain_key("own").await;
        let (revoked, revoked_text) = world.plain_key("revoked").await;
        world.engine.revoke_key(&world.host(), revoked, None).await.unwrap();
        assert_eq!(import(&world, vec![by_text("first", "an-imported-secret")]).await, "done");
        let known = [own.as_str(), revoked_text.as_str(), "an-imported-secret"];
        for text in known {
            assert_eq!(import(&world, vec![by_text("again", text)]).await, "key_known", "{text}");
            assert_eq!(import(&world, vec![by_hash("again", &sha256(text))]).await, "key_known", "{text}");
        }
        let imported = world.ask("an-imported-secret", &world.any_key()).await.into_key().unwrap().record.key;
        for id in [id, revoked, imported] {
            world.engine.delete_key(&world.host(), id).await.unwrap();
        }
        let again = world.another(EngineRole::Guest { keys: false }).await;
        for text in known {
            let refused = again.import_keys(&world.host(), vec![by_text("again", text)]).await;
            assert_eq!(code(refused), "key_known", "a deleted key never comes back: {text}");
        }
    }

    async fn a_text_that_was_a_key_under_the_pepper_before_is_never_imported(database: Database) {
        let world = World::new(database).await;
        let (_, live) = world.plain_key("live").await;
        let (id, deleted) = world.plain_key("deleted").await;
        world.engine.delete_key(&world.host(), id).await.unwrap();
        let peppers = vec![pepper(2, 2), pepper(1, 1)];
        let next = start(&world.url, &world.clock, peppers, EngineRole::Guest { keys: true }).await.unwrap();
        for text in [&live, &deleted] {
            let refused = next.import_keys(&world.host(), vec![by_text("again", text)]).await;
            assert_eq!(code(refused), "key_known", "{text}");
        }
    }

    async fn one_that_is_known_keeps_all_others_out(database: Database) {
        let world = World::new(database).await;
        let (_, own) = world.plain_key("own").await;
        let head = world.head().await;
        for place in 0..3 {
            let mut keys: Vec<_> =
                (0..2).map(|n| by_text(&format!("key {n}"), &format!("a-fresh-secret-{n}"))).collect();
            keys.insert(place, by_text("known", &own));
            let refused = world.engine.import_keys(&world.host(), keys).await;
            let Err(keyrack_engine::Error::Conflict { code: "key_known", message, .. }) = refused else { panic!() };
            assert!(message.contains(&format!("keys[{place}]")), "{message}");
        }
        assert_eq!(world.head().await, head);
        assert_eq!(world.reason("a-fresh-secret-0").await, Some(Reason::NotFound));
    }

    async fn the_most_that_may_be_imported_at_once_works_and_is_one_event(database: Database) {
        let world = World::new(database).await;
        let head = world.head().await;
        let keys = (0..MAX_IMPORT).map(|n| by_text(&format!("key {n}"), &format!("legacy-secret-{n:06}"))).collect();
        let views = world.engine.import_keys(&world.host(), keys).await.unwrap();
        assert_eq!(views.len(), MAX_IMPORT);
        assert_eq!(world.head().await, head + 1);
        for n in [0, 1, 499, 999] {
            let known = world.ask(&format!("legacy-secret-{n:06}"), &world.any_key()).await.into_key().unwrap();
            assert_eq!(known.record.key, views[n].key.id);
        }
    }
}

#[tokio::test]
async fn a_hash_that_another_program_made_lets_its_text_in() {
    let world = World::new(Database::Sqlite).await;
    assert_eq!(import(&world, vec![by_hash("known", KNOWN.1)]).await, "done");
    assert!(world.passes(KNOWN.0).await);
}

#[test]
fn a_text_and_a_hash_can_be_imported_into_a_slow_group() {
    keyrack_testkit::database::run(async {
        let world = World::new(Database::Sqlite).await;
        let group =
            NewGroup { name: "slow".to_owned(), hash_profile: Some(HashProfile::Bcrypt), ..NewGroup::default() };
        world.engine.create_group(&world.host(), group).await.unwrap();
        let slow = |key: ImportKey| ImportKey { new: NewKey { group: Some("slow".to_owned()), ..key.new }, ..key };
        let text = "weak-legacy-password";
        let hashed = "another-weak-password";
        let keys = vec![slow(by_text("text", text)), slow(by_hash("hash", &sha256(hashed)))];
        world.engine.import_keys(&world.host(), keys).await.unwrap();
        for text in [text, hashed] {
            assert!(at_once(world.engine.verify(&world.any_key(), &presented(text))).is_none(), "waits for its hash");
            assert!(world.passes(text).await);
            for again in [by_text("again", text), slow(by_text("again", text))] {
                assert_eq!(import(&world, vec![again]).await, "key_known");
            }
        }
        let many = (0..17).map(|n| slow(by_text(&format!("key {n}"), &format!("slow-secret-{n:06}")))).collect();
        assert_eq!(import(&world, many).await, "keys[0].group");
        assert!(!keyrack_core::slow::verify(&TextHash::of(text), ""));
    });
}
