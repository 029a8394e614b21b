//! What a new key is, and what it may not be.

use keyrack_core::{Environment, IpAllowlist, KeyStatus, Reason, Role};
use keyrack_engine::{Error, HashProfile, KeyPatch, MAX_METADATA, NewGroup, NewKey};
use keyrack_testkit::{Database, both_databases};
use serde_json::json;

use crate::support::{IsGrant as _, World, at_once, code, named, presented, texts};

both_databases! {
    async fn a_key_with_nothing_said_is_live_enabled_and_of_the_default_group(database: Database) {
        let world = World::new(database).await;
        let (view, text) = world.key(named("billing")).await;
        assert!(text.starts_with("sk_live_") && text.len() == 8 + 43 + 6, "{}", text.len());
        assert_eq!(
            (&*view.group, view.workspace, view.role, view.status),
            ("default", None, Role::Member, KeyStatus::Active)
        );
        let key = view.key;
        assert_eq!(key.scopes.to_strings(), ["*:read"], "the group's default");
        assert_eq!((&*key.name, &*key.description, key.environment), ("billing", "", Environment::Live));
        assert_eq!((key.expires_at, key.ip_allowlist, key.metadata), (None, IpAllowlist::default(), None));
        assert_eq!((key.created_at, key.updated_at, key.last_used_at), (world.now(), world.now(), None));
        assert_eq!(key.display_prefix, text[..16]);
        assert_eq!(key.last4, text[text.len() - 4..]);
        assert!(!key.imported);
    }

    async fn a_new_key_passes_at_once_and_every_other_text_does_not(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.plain_key("billing").await;
        let verdict = world.ask(&text, &world.any_key()).await;
        assert!(verdict.is_grant());
        let known = verdict.into_key().unwrap();
        assert_eq!((known.record.key, known.group_name(), known.workspace_slug()), (id, "default", None));

        let mut other = text.clone().into_bytes();
        other[20] = if other[20] == b'a' { b'b' } else { b'a' };
        for wrong in [String::from_utf8(other).unwrap(), text.to_uppercase(), format!("{text}x"), text[..56].to_owned()]
        {
            let verdict = at_once(world.engine.verify(&world.any_key(), &presented(&wrong))).unwrap().unwrap();
            assert_eq!(verdict.reason(), Some(Reason::NotFound), "{wrong}");
            assert!(verdict.key().is_none());
        }
    }

    async fn deciding_waits_for_nothing(database: Database) {
        let world = World::new(database).await;
        let (_, text) = world.plain_key("billing").await;
        let verdict = at_once(world.engine.verify(&world.any_key(), &presented(&text)));
        assert!(verdict.expect("the answer comes from memory").unwrap().is_grant());
    }

    async fn what_was_said_is_what_the_key_is_also_for_another_process(database: Database) {
        let world = World::new(database).await;
        world.engine.create_workspace(&world.host(), "sales", None).await.unwrap();
        let new = NewKey {
            name: Some("  Stra\u{df}e Cafe\u{301} ".to_owned()),
            description: Some(" what for ".to_owned()),
            environment: Environment::Test,
            group: Some("management".to_owned()),
            workspace: Some("sales".to_owned()),
            scopes: Some(texts(&["deals:write", "contacts:read", "deals:write"])),
            expires_at: Some(world.later(60)),
            never_expires: Some(false),
            disabled: true,
            ip_allowlist: Some(texts(&["10.0.0.0/8", "::ffff:192.0.2.1"])),
            metadata: Some(json!({ "team": "x" })),
            ..NewKey::default()
        };
        let (view, text) = world.key(new).await;
        assert!(text.starts_with("sk_test_"), "the environment shows");
        assert_eq!(view.key.name, "Straße Café", "trimmed, and composed");
        assert_eq!((&*view.group, view.workspace.as_deref()), ("management", Some("sales")));
        assert_eq!((view.role, view.status), (Role::Admin, KeyStatus::Disabled));
        assert_eq!(view.key.scopes.to_strings(), ["contacts:read", "deals:write"]);
        let other = world.another(keyrack_engine::EngineRole::Guest { keys: false }).await;
        let again = other.get_key(&world.host(), view.key.id).await.unwrap();
        assert_eq!(again.key, view.key);
    }

    async fn the_name_comes_from_the_description_if_it_is_missing(database: Database) {
        let world = World::new(database).await;
        let described = |text: String| NewKey { description: Some(text), ..NewKey::default() };
        let (view, _) = world.key(described("for the shop".to_owned())).await;
        assert_eq!((&*view.key.name, &*view.key.description), ("for the shop", "for the shop"));
        let long = format!("{} {}", "ü".repeat(99), "x".repeat(800));
        let (view, _) = world.key(described(long.clone())).await;
        assert_eq!((view.key.name, view.key.description), ("ü".repeat(99), long), "cut to a name, and trimmed");
        for nothing in
            [NewKey::default(), described(" ".to_owned()), NewKey { name: Some(" ".to_owned()), ..NewKey::default() }]
        {
            assert_eq!(code(world.engine.create_key(&world.host(), nothing).await), "name");
        }
    }

    async fn names_are_unique_among_the_keys_of_a_group_that_are_neither_revoked_nor_deleted(database: Database) {
        let world = World::new(database).await;
        let (host, engine) = (world.host(), &world.engine);
        let again = || async { code(world.engine.create_key(&world.host(), named("billing")).await) };
        let (first, _) = world.plain_key("billing").await;
        assert_eq!(again().await, "name_taken");
        let disabled = KeyPatch { enabled: Some(false), ..KeyPatch::default() };
        engine.update_key(&host, first, disabled).await.unwrap();
        assert_eq!(again().await, "name_taken", "a disabled key may come back");
        let (other, _) = world.plain_key("other").await;
        let rename = KeyPatch { name: Some("billing".to_owned()), ..KeyPatch::default() };
        assert_eq!(code(engine.update_key(&host, other, rename.clone()).await), "name_taken");
        let elsewhere = NewKey { group: Some("management".to_owned()), ..named("billing") };
        world.key(elsewhere).await;

        engine.revoke_key(&host, first, None).await.unwrap();
        engine.update_key(&host, other, rename).await.unwrap();
        assert_eq!(again().await, "name_taken");
        engine.delete_key(&host, other).await.unwrap();
        assert_eq!(again().await, "done");
    }

    async fn every_value_that_cannot_be_taken_is_named_and_nothing_is_made(database: Database) {
        let world = World::new(database).await;
        let head = world.head().await;
        let scopes = |list: &[&str]| NewKey { scopes: Some(texts(list)), ..named("n") };
        let addresses = |list: &[&str]| NewKey { ip_allowlist: Some(texts(list)), ..named("n") };
        let metadata = |value| NewKey { metadata: Some(value), ..named("n") };
        // Its JSON is `{"a":"..."}`: eight bytes and the text.
        let sized = |bytes: usize| json!({ "a": "x".repeat(bytes - 8) });
        let many: Vec<String> = (0..65).map(|n| format!("r{n}:read")).collect();
        let cases = [
            (named(&"x".repeat(101)), "name"),
            (named("tab\tbed"), "name"),
            (named("evil\u{202e}txt"), "name"),
            (NewKey { description: Some("x".repeat(1001)), ..named("n") }, "description"),
            (NewKey { group: Some("none".to_owned()), ..named("n") }, "group"),
            (NewKey { workspace: Some("none".to_owned()), ..named("n") }, "workspace"),
            (scopes(&["contacts:read", "contacts"]), "scopes[1]"),
            (scopes(&["contacts:fly"]), "scopes[0]"),
            (NewKey { scopes: Some(many), ..named("n") }, "scopes[64]"),
            (NewKey { level: Some("read_only".to_owned()), ..scopes(&[]) }, "level"),
            (NewKey { level: Some("admin".to_owned()), ..named("n") }, "level"),
            (NewKey { expires_at: Some(world.now()), ..named("n") }, "expires_at"),
            (NewKey { expires_at: Some(world.later(-1)), ..named("n") }, "expires_at"),
            (NewKey { never_expires: Some(false), ..named("n") }, "never_expires"),
            (NewKey { never_expires: Some(true), expires_at: Some(world.later(9)), ..named("n") }, "never_expires"),
            (addresses(&[]), "ip_allowlist[0]"),
            (addresses(&["10.0.0.0/8", "10.0.0.1/8"]), "ip_allowlist[1]"),
            (addresses(&["localhost"]), "ip_allowlist[0]"),
            (metadata(json!([1])), "metadata"),
            (metadata(json!("text")), "metadata"),
            (metadata(json!(null)), "metadata"),
            (metadata(json!({ "nul": "\0" })), "metadata"),
            (metadata(sized(MAX_METADATA + 1)), "metadata"),
        ];
        for (new, field) in cases {
            let told = format!("{new:?}");
            assert_eq!(code(world.engine.create_key(&world.host(), new).await), field, "{told}");
        }
        assert_eq!(world.head().await, head);
        world.key(metadata(sized(MAX_METADATA))).await;
        world.key(NewKey { never_expires: Some(true), ..named("for ever") }).await;
        world.key(metadata(json!({ "a": "\\u0000 is only how one writes it" })).rename("backslash")).await;
    }

    async fn levels_are_presets_of_scopes(database: Database) {
        let world = World::new(database).await;
        for (level, scopes) in [("read_only", vec!["*:read"]), ("read_write", vec!["*:read", "*:write"])] {
            let (view, _) = world.key(NewKey { level: Some(level.to_owned()), ..named(level) }).await;
            assert_eq!(view.key.scopes.to_strings(), scopes);
        }
    }

    async fn empty_scopes_grant_nothing(database: Database) {
        let world = World::new(database).await;
        let (view, text) = world.key(NewKey { scopes: Some(vec![]), ..named("mute") }).await;
        assert!(view.key.scopes.is_empty());
        for scope in ["contacts:read", "keyrack.keys:read", "*:read"] {
            let reason = world.ask(&text, &world.scope(scope)).await.reason();
            assert_eq!(reason, Some(Reason::InsufficientScope), "{scope}");
        }
        let group = NewGroup { name: "mute".to_owned(), default_scopes: Some(vec![]), ..NewGroup::default() };
        world.engine.create_group(&world.host(), group).await.unwrap();
        let (view, _) = world.key(NewKey { group: Some("mute".to_owned()), ..named("as its group") }).await;
        assert!(view.key.scopes.is_empty(), "an empty default is one");
    }

    async fn an_unknown_organization_has_no_keys(database: Database) {
        let world = World::new(database).await;
        let nowhere = keyrack_core::OrganizationId(uuid::Uuid::from_u128(5));
        let made = world.engine.create_key(&keyrack_engine::Context::host(nowhere), named("x")).await;
        assert!(matches!(made, Err(Error::NotFound("organization"))));
    }

    async fn a_group_of_another_organization_is_no_group(database: Database) {
        let world = World::new(database).await;
        let new = keyrack_engine::NewOrganization {
            slug: "other".to_owned(),
            name: None,
            tier: None,
            owner_email: Some(crate::support::OWNER.to_owned()),
        };
        let other = world.engine.create_organization(&world.host(), new).await.unwrap();
        let group =
            NewGroup { name: "theirs".to_owned(), hash_profile: Some(HashProfile::HmacSha256), ..NewGroup::default() };
        let group = world.engine.create_group(&keyrack_engine::Context::host(other.id), group).await.unwrap();
        for name in ["theirs".to_owned(), group.id.to_string()] {
            let new = NewKey { group: Some(name), ..named("x") };
            assert_eq!(code(world.engine.create_key(&world.host(), new).await), "group");
        }
    }
}

trait Rename {
    fn rename(self, name: &str) -> Self;
}

impl Rename for NewKey {
    fn rename(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }
}
