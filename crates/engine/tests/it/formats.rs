//! How keys look: chosen by the group, changed without harm to those that exist.

use std::collections::BTreeSet;

use keyrack_core::{Body, Reason};
use keyrack_engine::{EngineRole, GroupPatch, NewGroup, NewKey, RotateKey};
use keyrack_testkit::{Database, both_databases};

use crate::support::{IsGrant as _, World, at_once, code, named, presented};

type Format = (Option<String>, Body);

fn format(prefix: Option<&str>, body: Body) -> Format {
    (prefix.map(str::to_owned), body)
}

fn group(name: &str, key_format: Format) -> NewGroup {
    NewGroup { name: name.to_owned(), key_format: Some(key_format), ..NewGroup::default() }
}

fn in_group(group: &str, name: &str) -> NewKey {
    NewKey { group: Some(group.to_owned()), ..named(name) }
}

both_databases! {
    async fn a_key_looks_as_its_group_says_and_shows_its_prefix_and_eight_characters(database: Database) {
        let world = World::new(database).await;
        for (n, (prefix, body, starts, length)) in [
            (None, Body::Base62, "sk_live_", 57),
            (None, Body::Hex, "sk_live_", 72),
            (Some("sk_"), Body::Hex, "sk_", 67),
            (Some(""), Body::Base64url, "", 43),
            (Some(""), Body::Hex, "", 64),
            (Some("acme_prod_key_16"), Body::Base62, "acme_prod_key_16", 65),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("group-{n}");
            world.engine.create_group(&world.host(), group(&name, format(prefix, body))).await.unwrap();
            let (view, text) = world.key(in_group(&name, "one")).await;
            assert!(text.starts_with(starts), "{text}");
            assert_eq!(text.len(), length);
            assert_eq!(view.key.display_prefix, text[..starts.len() + 8]);
            assert!(world.passes(&text).await);
        }
    }

    async fn keys_of_the_formats_a_group_had_stay_alive(database: Database) {
        let world = World::new(database).await;
        let made = world.engine.create_group(&world.host(), group("g", format(None, Body::Base62))).await.unwrap();
        let formats = [
            format(Some("sk_"), Body::Hex),
            format(Some("acme_"), Body::Base62),
            format(None, Body::Base62),
            format(Some(""), Body::Base64url),
            format(Some("acme_"), Body::Base62),
        ];
        let (first, text) = world.key(in_group("g", "first")).await;
        let mut keys = vec![text];
        for (n, key_format) in formats.into_iter().enumerate() {
            let patch = GroupPatch { key_format: Some(key_format), ..GroupPatch::default() };
            world.engine.update_group(&world.host(), made.id, patch).await.unwrap();
            keys.push(world.key(in_group("g", &format!("key {n}"))).await.1);
        }
        let looks: BTreeSet<&str> = keys.iter().map(|key| &key[..3]).collect();
        assert!(looks.len() >= 3, "they look different: {looks:?}");
        let again = world.another(EngineRole::Guest { keys: true }).await;
        for text in &keys {
            assert!(world.passes(text).await, "{text}");
            let verdict = again.verify(&world.any_key(), &presented(text)).await.unwrap();
            assert!(verdict.is_grant(), "after a restart: {text}");
        }
        // A new secret of an old key has the new look.
        let rotated = world.engine.rotate_key(&world.host(), first.key.id, RotateKey::default()).await.unwrap();
        assert!(rotated.secret.unwrap().expose().starts_with("acme_"));
        let kept = world.engine.get_group(&world.host(), made.id).await.unwrap();
        assert_eq!(kept.former_formats.len(), 4, "each former format once: {:?}", kept.former_formats);
    }

    async fn a_prefix_that_no_key_may_have_is_refused(database: Database) {
        let world = World::new(database).await;
        for prefix in ["SK_", "sk-", "a,b", "seventeen_letters", "ü"] {
            let made = world.engine.create_group(&world.host(), group("g", format(Some(prefix), Body::Hex))).await;
            assert_eq!(code(made), "key_format.prefix");
        }
    }

    async fn text_of_no_known_format_is_no_key(database: Database) {
        let world = World::new(database).await;
        let (_, text) = world.plain_key("billing").await;
        let directory = world.engine.directory();
        assert!(directory.could_be_key(&text));
        let broken_checksum = format!("{}{}", &text[..56], if text.ends_with('0') { '1' } else { '0' });
        let other_prefix = format!("xk{}", &text[2..]);
        for junk in ["", "x", "sk_live_", &text[8..], &broken_checksum, &other_prefix, &"a".repeat(64), &"a".repeat(43)]
        {
            assert!(!directory.could_be_key(junk), "{junk}");
            let verdict = at_once(world.engine.verify(&world.any_key(), &presented(junk))).unwrap().unwrap();
            assert_eq!(verdict.reason(), Some(Reason::NotFound));
        }
        // From the moment a group takes it, it could be one.
        world.engine.create_group(&world.host(), group("hex", format(Some(""), Body::Hex))).await.unwrap();
        assert!(directory.could_be_key(&"a".repeat(64)));
        assert!(!directory.could_be_key(&"a".repeat(43)));
    }

    async fn keys_of_a_deleted_group_are_gone_whatever_their_look(database: Database) {
        let world = World::new(database).await;
        let made = world.engine.create_group(&world.host(), group("g", format(Some("g_"), Body::Hex))).await.unwrap();
        let (_, text) = world.key(in_group("g", "one")).await;
        world.engine.delete_group(&world.host(), made.id, true).await.unwrap();
        assert_eq!(world.reason(&text).await, Some(Reason::NotFound));
    }
}
