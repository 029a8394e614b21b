//! What happens to a key after it was made: changed, switched, expired, revoked, deleted.

use std::net::IpAddr;

use keyrack_core::decide::Place;
use keyrack_core::{KeyId, KeyStatus, Reason, from_micros, micros};
use keyrack_engine::{AuditFilter, EngineRole, KeyPatch, NewKey, OrganizationPatch, Presented};
use keyrack_testkit::{Database, both_databases};
use serde_json::json;

use crate::support::{IsGrant as _, World, code, named, presented, texts};

fn enabled(enabled: bool) -> KeyPatch {
    KeyPatch { enabled: Some(enabled), ..KeyPatch::default() }
}

both_databases! {
    async fn a_disabled_key_is_refused_at_once_and_an_enabled_one_passes_at_once(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.plain_key("billing").await;
        for _ in 0..2 {
            let view = world.engine.update_key(&world.host(), id, enabled(false)).await.unwrap();
            assert_eq!(view.status, KeyStatus::Disabled);
            assert_eq!(world.reason(&text).await, Some(Reason::Disabled));
            let view = world.engine.update_key(&world.host(), id, enabled(true)).await.unwrap();
            assert_eq!(view.status, KeyStatus::Active);
            assert!(world.passes(&text).await);
        }
    }

    async fn a_key_works_to_the_last_microsecond_before_its_expiry_and_never_again(database: Database) {
        let world = World::new(database).await;
        let end = from_micros(micros(world.now()) + 1_000_001);
        let (view, text) = world.key(NewKey { expires_at: Some(end), ..named("short") }).await;
        world.clock.set(from_micros(micros(end) - 1));
        assert!(world.passes(&text).await);
        world.clock.set(end);
        assert_eq!(world.reason(&text).await, Some(Reason::Expired));
        assert_eq!(world.engine.get_key(&world.host(), view.key.id).await.unwrap().status, KeyStatus::Expired);

        // Final: neither a longer life nor a switch brings it back.
        let longer = KeyPatch { expires_at: Some(Some(world.later(60))), ..KeyPatch::default() };
        let for_ever = KeyPatch { expires_at: Some(None), ..KeyPatch::default() };
        for patch in [longer, for_ever, enabled(true), enabled(false)] {
            assert_eq!(code(world.engine.update_key(&world.host(), view.key.id, patch).await), "key_final");
        }
    }

    async fn a_revoked_key_stays_revoked(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.plain_key("billing").await;
        let (view, receipt) = world.engine.revoke_key(&world.host(), id, Some(" leaked ")).await.unwrap();
        assert_eq!(view.status, KeyStatus::Revoked);
        assert_eq!((view.key.revoked_at, view.key.revoke_reason.as_deref()), (Some(world.now()), Some("leaked")));
        assert_eq!((receipt.sequence, receipt.effective_at), (world.head().await, world.now()));
        assert_eq!(world.reason(&text).await, Some(Reason::Revoked));
        assert_eq!(code(world.engine.update_key(&world.host(), id, enabled(true)).await), "key_final");
        assert_eq!(
            code(world.engine.rotate_key(&world.host(), id, keyrack_engine::RotateKey::default()).await),
            "key_final"
        );

        // Again changes nothing, and says since when it holds.
        world.clock.advance(5);
        let (again, later) = world.engine.revoke_key(&world.host(), id, Some("other")).await.unwrap();
        assert_eq!(again.key, view.key);
        assert_eq!((later.sequence, world.head().await), (receipt.sequence, receipt.sequence));
    }

    async fn a_disabled_or_expired_key_can_still_be_revoked(database: Database) {
        let world = World::new(database).await;
        let (off, off_text) = world.key(NewKey { disabled: true, ..named("off") }).await;
        let (over, over_text) = world.key(NewKey { expires_at: Some(world.later(1)), ..named("over") }).await;
        world.clock.advance(1);
        for (id, text) in [(off.key.id, off_text), (over.key.id, over_text)] {
            let (view, _) = world.engine.revoke_key(&world.host(), id, None).await.unwrap();
            assert_eq!(view.status, KeyStatus::Revoked);
            assert_eq!(world.reason(&text).await, Some(Reason::Revoked));
        }
    }

    async fn a_reason_has_at_most_200_characters(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.plain_key("billing").await;
        let revoke = async |reason: &str| code(world.engine.revoke_key(&world.host(), id, Some(reason)).await);
        assert_eq!(revoke(&"ü".repeat(201)).await, "reason");
        assert_eq!(revoke("two\nlines").await, "reason");
        assert!(world.passes(&text).await);
        assert_eq!(revoke(&"ü".repeat(200)).await, "done");
    }

    async fn a_deleted_key_is_unknown_everywhere_but_in_the_audit(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.plain_key("billing").await;
        let size = world.engine.keyring_size();
        world.engine.delete_key(&world.host(), id).await.unwrap();
        assert_eq!(world.reason(&text).await, Some(Reason::NotFound));
        assert_eq!(world.engine.keyring_size(), size - 1);
        assert_eq!(code(world.engine.get_key(&world.host(), id).await), "no key");
        assert_eq!(code(world.engine.delete_key(&world.host(), id).await), "no key");
        assert_eq!(code(world.engine.revoke_key(&world.host(), id, None).await), "no key");
        let of_it = AuditFilter { subject: Some(id.0), ..AuditFilter::default() };
        let told = world.engine.list_audit(&world.host(), &of_it, 9).await.unwrap().data;
        let told: Vec<_> = told.iter().map(|e| (&*e.kind, &*e.subject_name, &*e.actor_name)).collect();
        assert_eq!(told, [("key.deleted", "billing", "host"), ("key.created", "billing", "host")]);
    }

    async fn a_change_keeps_what_is_absent_and_clears_what_is_null(database: Database) {
        let world = World::new(database).await;
        let new = NewKey {
            description: Some("first".to_owned()),
            expires_at: Some(world.later(60)),
            ip_allowlist: Some(texts(&["192.0.2.0/24"])),
            metadata: Some(json!({ "a": 1 })),
            ..named("billing")
        };
        let (before, text) = world.key(new).await;
        let id = before.key.id;
        let head = world.head().await;
        let same = world.engine.update_key(&world.host(), id, KeyPatch::default()).await.unwrap();
        assert_eq!((same.key, world.head().await), (before.key.clone(), head), "nothing asked, nothing changed");

        world.clock.advance(1);
        let patch = KeyPatch {
            description: Some("second".to_owned()),
            scopes: Some(texts(&["deals:read"])),
            expires_at: Some(None),
            ip_allowlist: Some(None),
            metadata: Some(None),
            ..KeyPatch::default()
        };
        let after = world.engine.update_key(&world.host(), id, patch).await.unwrap().key;
        assert_eq!((&*after.name, &*after.description), ("billing", "second"));
        assert_eq!((after.expires_at, &after.metadata, after.updated_at), (None, &None, world.now()));
        assert!(after.ip_allowlist.is_unrestricted());
        assert!(world.ask(&text, &world.scope("deals:read")).await.is_grant());
        assert!(!world.ask(&text, &world.scope("contacts:read")).await.is_grant());
        world.clock.advance(100);
        assert!(world.passes(&text).await, "it has no expiry any more");
    }

    async fn a_value_that_cannot_be_taken_changes_nothing(database: Database) {
        let world = World::new(database).await;
        let (id, _) = world.plain_key("billing").await;
        let (before, head) = (world.engine.get_key(&world.host(), id).await.unwrap().key, world.head().await);
        let none = KeyPatch::default();
        for (patch, field) in [
            (KeyPatch { name: Some(String::new()), ..none.clone() }, "name"),
            (KeyPatch { description: Some("\u{7}".to_owned()), ..none.clone() }, "description"),
            (KeyPatch { scopes: Some(texts(&["x"])), ..none.clone() }, "scopes[0]"),
            (KeyPatch { scopes: Some(vec![]), level: Some("read_only".to_owned()), ..none.clone() }, "level"),
            (KeyPatch { expires_at: Some(Some(world.now())), ..none.clone() }, "expires_at"),
            (KeyPatch { ip_allowlist: Some(Some(vec![])), ..none.clone() }, "ip_allowlist[0]"),
            (KeyPatch { metadata: Some(Some(json!(1))), ..none }, "metadata"),
        ] {
            assert_eq!(code(world.engine.update_key(&world.host(), id, patch).await), field);
        }
        assert_eq!(world.engine.get_key(&world.host(), id).await.unwrap().key, before);
        assert_eq!(world.head().await, head);
    }

    async fn addresses_and_the_workspace_restrict_where_a_key_passes(database: Database) {
        let world = World::new(database).await;
        let (host, engine) = (world.host(), &world.engine);
        let sales = engine.create_workspace(&host, "sales", None).await.unwrap().id;
        let support = engine.create_workspace(&host, "support", None).await.unwrap().id;
        let new = NewKey {
            workspace: Some("sales".to_owned()),
            ip_allowlist: Some(texts(&["203.0.113.0/24", "2001:db8::/32"])),
            ..named("bound")
        };
        let (_, text) = world.key(new).await;
        let inside: Option<IpAddr> = "203.0.113.9".parse().ok();
        for (address, place, reason) in [
            ("203.0.113.9", Place::In(sales), None),
            ("::ffff:203.0.113.9", Place::In(sales), None),
            ("2001:db8::1", Place::Anywhere, None),
            ("203.0.114.9", Place::In(sales), Some(Reason::IpNotAllowed)),
            ("203.0.113.9", Place::In(support), Some(Reason::WrongWorkspace)),
            ("203.0.113.9", Place::Nowhere, Some(Reason::WrongWorkspace)),
            ("203.0.113.9", Place::Unstated, Some(Reason::WorkspaceRequired)),
            ("203.0.114.9", Place::In(support), Some(Reason::WrongWorkspace)),
        ] {
            let presented = Presented { address: address.parse().ok(), place, ..presented(&text) };
            assert_eq!(
                engine.verify(&world.any_key(), &presented).await.unwrap().reason(),
                reason,
                "{address} {place:?}"
            );
        }
        let unsaid = Presented { address: None, place: Place::In(sales), ..presented(&text) };
        assert_eq!(engine.verify(&world.any_key(), &unsaid).await.unwrap().reason(), Some(Reason::IpRequired));
        assert!(inside.is_some());
    }

    async fn keys_of_an_organization_that_is_not_active_pass_nowhere_until_it_is_again(database: Database) {
        use keyrack_core::OrganizationState::{Active, Deleted, Suspended};
        let world = World::new(database).await;
        let (_, text) = world.plain_key("billing").await;
        let state = |state| OrganizationPatch { state: Some(state), ..OrganizationPatch::default() };
        world.engine.update_organization(&world.host(), state(Suspended)).await.unwrap();
        assert_eq!(world.reason(&text).await, Some(Reason::OrganizationInactive));
        world.engine.update_organization(&world.host(), state(Active)).await.unwrap();
        assert!(world.passes(&text).await);
        world.engine.update_organization(&world.host(), state(Deleted)).await.unwrap();
        assert_eq!(world.reason(&text).await, Some(Reason::OrganizationInactive));
        let back = world.engine.update_organization(&world.host(), state(Active)).await;
        assert_eq!(code(back), "organization_deleted");
    }

    async fn what_memory_says_is_what_a_restart_reads(database: Database) {
        let world = World::new(database).await;
        let mut texts = Vec::new();
        for (name, disabled) in [("on", false), ("off", true), ("withdrawn", false), ("gone", false)] {
            let (view, text) = world.key(NewKey { disabled, ..named(name) }).await;
            match name {
                "withdrawn" => drop(world.engine.revoke_key(&world.host(), view.key.id, None).await.unwrap()),
                "gone" => world.engine.delete_key(&world.host(), view.key.id).await.unwrap(),
                _ => {}
            }
            texts.push(text);
        }
        let again = world.another(EngineRole::Guest { keys: true }).await;
        assert_eq!(again.keyring_size(), world.engine.keyring_size());
        assert_eq!(again.applied(), world.engine.applied());
        let wanted = [None, Some(Reason::Disabled), Some(Reason::Revoked), Some(Reason::NotFound)];
        for (text, reason) in texts.iter().zip(wanted) {
            assert_eq!(world.reason(text).await, reason);
            assert_eq!(again.verify(&world.any_key(), &presented(text)).await.unwrap().reason(), reason);
        }
    }

    async fn a_key_of_another_organization_is_not_found(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.plain_key("billing").await;
        let new = keyrack_engine::NewOrganization {
            slug: "other".to_owned(),
            name: None,
            tier: None,
            owner_email: Some(crate::support::OWNER.to_owned()),
        };
        let other =
            keyrack_engine::Context::host(world.engine.create_organization(&world.host(), new).await.unwrap().id);
        let (engine, head) = (&world.engine, world.head().await);
        assert_eq!(code(engine.get_key(&other, id).await), "no key");
        assert_eq!(code(engine.update_key(&other, id, enabled(false)).await), "no key");
        assert_eq!(code(engine.rotate_key(&other, id, keyrack_engine::RotateKey::default()).await), "no key");
        assert_eq!(code(engine.list_key_secrets(&other, id).await), "no key");
        assert_eq!(code(engine.end_overlap(&other, id, 1).await), "no key");
        assert_eq!(code(engine.revoke_key(&other, id, None).await), "no key");
        assert_eq!(code(engine.delete_key(&other, id).await), "no key");
        assert_eq!(code(engine.get_key(&world.host(), KeyId(uuid::Uuid::nil())).await), "no key");
        assert_eq!(world.head().await, head);
        assert!(world.passes(&text).await);
    }
}
