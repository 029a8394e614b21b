//! The text of a key is in the answer that shows it and nowhere else.

use std::collections::HashSet;
use std::path::Path;

use keyrack_core::{Body, PlainKey};
use keyrack_engine::{HashProfile, ImportKey, Invited, NewGroup, NewKey, NewMember, RotateKey};
use keyrack_testkit::Database;

use crate::support::{OWNER, PASSWORD, World, named, shown};

/// Everything that stands beside the database file, under its name.
fn files(world: &World) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(world.directory.path()).unwrap();
    let read = |path: &Path| (path.display().to_string(), std::fs::read(path).unwrap());
    entries.map(|entry| read(&entry.unwrap().path())).collect()
}

/// Every eight bytes that follow each other in a text or file: enough to find what hides in it, and quick to ask.
struct Written(HashSet<[u8; 8]>);

impl Written {
    fn of<'b>(texts: impl IntoIterator<Item = &'b [u8]>) -> Self {
        Self(texts.into_iter().flat_map(|bytes| bytes.windows(8)).map(|part| part.try_into().unwrap()).collect())
    }

    /// Whether any eight bytes of it are there.
    fn holds_part_of(&self, secret: &[u8]) -> bool {
        assert!(secret.len() >= 8);
        secret.windows(8).any(|part| self.0.contains(part))
    }
}

/// Makes a key of every kind; each text with what of it may be seen: so many characters at its start.
async fn every_kind_of_key(world: &World) -> Vec<(String, usize)> {
    let (engine, host) = (&world.engine, world.host());
    let mut texts = vec![(world.management_key.clone(), 16)];
    for (n, (prefix, body)) in
        [(None, Body::Base62), (Some("sk_"), Body::Hex), (Some(""), Body::Base64url), (Some("acme_"), Body::Base62)]
            .into_iter()
            .enumerate()
    {
        for profile in [HashProfile::HmacSha256, HashProfile::Bcrypt] {
            let group = NewGroup {
                name: format!("{}-{n}", profile.as_str()),
                key_format: Some((prefix.map(str::to_owned), body)),
                hash_profile: Some(profile),
                ..NewGroup::default()
            };
            let group = engine.create_group(&host, group).await.unwrap();
            let new = NewKey { group: Some(group.name), ..named("one") };
            let (view, text) = shown(engine.create_key(&host, new).await.unwrap());
            texts.push((text, view.key.display_prefix.len()));
        }
    }
    let (rotated, _) = world.plain_key("rotated").await;
    let secret = engine.rotate_key(&host, rotated, RotateKey::default()).await.unwrap().secret.unwrap();
    texts.push((secret.expose().to_owned(), 16));
    let imported = "an-imported-Secret+of/others==";
    let import = ImportKey { new: named("imported"), text: Some(PlainKey::new(imported.to_owned())), sha256: None };
    engine.import_keys(&host, vec![import]).await.unwrap();
    texts.push((imported.to_owned(), imported.len() / 4));
    for (text, _) in &texts {
        assert!(world.passes(text).await, "{text}");
    }
    texts
}

#[test]
fn no_text_of_a_key_and_no_hash_that_stands_for_it_is_in_any_file() {
    keyrack_testkit::database::run(async {
        let world = World::new(Database::Sqlite).await;
        let serving = world.store().await.claim().await.unwrap();
        let texts = every_kind_of_key(&world).await;
        let invited = NewMember {
            email: "bob@example.com".to_owned(),
            role: keyrack_core::Role::Member,
            password: None,
            name: None,
        };
        let Invited::Invitation(_, token) = world.engine.add_member(&world.host(), invited).await.unwrap() else {
            panic!()
        };
        let session = world.engine.sign_in(OWNER, PASSWORD, (None, None)).await.unwrap().token;

        let files = files(&world);
        let names: Vec<_> = files.iter().map(|(name, _)| name.rsplit_once(".db").unwrap().1).collect();
        for suffix in ["", "-wal", ".lock"] {
            assert!(names.contains(&suffix), "{names:?}");
        }
        let written = Written::of(files.iter().map(|(_, bytes)| &**bytes));
        // The search finds what is there.
        for shown in ["sk_live_", "imported", "key.created"] {
            assert!(written.holds_part_of(shown.as_bytes()), "{shown}");
        }
        for (text, shown) in &texts {
            assert!(!written.holds_part_of(&text.as_bytes()[*shown..text.len() - 4]), "{text}");
            // SHA-256 of the text is as good as the text to whoever has the pepper.
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            assert!(!written.holds_part_of(hash.as_ref()), "SHA-256 of {text}");
            assert!(!written.holds_part_of(data_encoding::HEXLOWER.encode(hash.as_ref()).as_bytes()));
            assert!(!written.holds_part_of(data_encoding::BASE64.encode(hash.as_ref()).as_bytes()));
        }
        for secret in [PASSWORD, token.expose(), session.expose()] {
            assert!(!written.holds_part_of(secret.as_bytes()), "{secret}");
        }
        drop(serving);
    });
}

#[test]
fn nothing_that_can_be_printed_prints_a_key() {
    keyrack_testkit::database::run(async {
        let world = World::new(Database::Sqlite).await;
        let new = named("billing");
        let printed_new = format!("{new:?}");
        let created = world.engine.create_key(&world.host(), new).await.unwrap();
        let secret = created.secret.as_ref().unwrap();
        let rotated = world.engine.rotate_key(&world.host(), created.key.key.id, RotateKey::default()).await.unwrap();
        let import =
            ImportKey { new: named("imported"), text: Some(PlainKey::new("a-16-char-secret".into())), sha256: None };
        let printed = [
            printed_new,
            format!("{:?}", created.key),
            format!("{secret:?}"),
            format!("{:?}", rotated.key),
            format!("{:?}", rotated.secret),
            format!("{:?} {:?}", import.new, import.text),
            format!("{:?}", world.engine.list_key_secrets(&world.host(), created.key.key.id).await.unwrap()),
            format!(
                "{:?}",
                world.engine.list_audit(&world.host(), &keyrack_engine::AuditFilter::default(), 99).await.unwrap()
            ),
            format!("{:?}", world.acting(secret.expose()).await),
        ]
        .concat();
        assert!(printed.contains("billing") && printed.contains("PlainKey(..)"));
        let printed = Written::of([printed.as_bytes()]);
        for text in [secret.expose(), rotated.secret.as_ref().unwrap().expose()] {
            assert!(!printed.holds_part_of(&text.as_bytes()[16..text.len() - 4]), "{text}");
        }
        assert!(!printed.holds_part_of(b"a-16-char-secret"));
    });
}
