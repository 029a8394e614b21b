//! Keys, their secrets and what is left of the deleted ones come back as they were written.

use keyrack_core::status::Switch;
use keyrack_core::{Environment, IpAllowlist, KeyId, KeyStatus, OrganizationId, RateLimits, Timestamp, from_micros};
use keyrack_store::{ApiKey, KeyFilter, KeySecret, NewSecret, Rare, VerificationRow};
use keyrack_testkit::{Database, both_databases};
use serde_json::json;

use crate::samples::{self, Tenancy};
use crate::support::{World, at, commit};

/// A key with everything set that an insert takes.
fn full_key(t: &Tenancy) -> ApiKey {
    ApiKey {
        workspace: Some(t.workspace.id),
        description: "für die Ablage".to_owned(),
        environment: Environment::Test,
        scopes: samples::scopes(&["contacts:read", "contacts:write", "keyrack.keys:read"]),
        switch: Switch::Disabled,
        expires_at: Some(from_micros(1_900_000_000_000_001)),
        ip_allowlist: samples::addresses(&["203.0.113.7", "10.0.0.0/8", "2001:db8::/32"]),
        rate_limits: RateLimits::parse("10/1 1000/3600").unwrap(),
        metadata: Some(json!({ "team": "Zoll \u{1F511}", "n": 3, "list": [null, true], "deep": { "a": "\"" } })),
        imported: true,
        created_at: from_micros(-1),
        created_by: Some(t.user.id),
        updated_at: from_micros(3),
        display_prefix: "legacy12".to_owned(),
        last4: "zzzz".to_owned(),
        ..samples::key(&t.group, "Schlüssel 'eins' \"zwei\"")
    }
}

fn shown_by(secret: &NewSecret) -> KeySecret {
    KeySecret {
        version: secret.version,
        display_prefix: secret.display_prefix.clone(),
        last4: secret.last4.clone(),
        created_at: secret.created_at,
        expires_at: None,
        last_used_at: None,
        last_address: None,
        last_user_agent: None,
    }
}

async fn all_verifications(world: &World) -> Vec<VerificationRow> {
    let mut rows = Vec::new();
    world.store.for_each_verification(&mut world.read().await, |row| rows.push(row)).await.unwrap();
    rows
}

both_databases! {
    async fn a_key_with_nothing_and_with_everything_set(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let organization = t.organization.id;
        let bare = samples::key(&t.group, "bare");
        let full = full_key(&t);
        let full_secret =
            NewSecret { display_prefix: full.display_prefix.clone(), last4: full.last4.clone(), ..samples::secret(1) };
        let mut writer = world.write().await;
        writer.insert_key(&bare, &samples::secret(1)).await.unwrap();
        writer.insert_key(&full, &full_secret).await.unwrap();
        commit(writer).await;
        let mut reader = world.read().await;
        for key in [&bare, &full] {
            assert_eq!(reader.find_key(organization, key.id).await.unwrap().as_ref(), Some(key));
            assert_eq!(reader.find_key_anywhere(key.id).await.unwrap().as_ref(), Some(key));
            assert_eq!(reader.find_key(OrganizationId(samples::id()), key.id).await.unwrap(), None);
        }
        let listed = reader.list_keys(organization, &KeyFilter::default(), at(0), 9).await.unwrap();
        assert_eq!(listed, [full.clone(), bare.clone()]);
        let in_workspace = reader.keys_of_workspace(organization, t.workspace.id, None, 9).await.unwrap();
        assert_eq!(in_workspace, std::slice::from_ref(&full));
        let in_group = reader.keys_of_group(organization, t.group.id, None, 9).await.unwrap();
        assert_eq!(in_group, [bare.clone(), full.clone()]);
        drop(reader);

        // Each takes the other's place in everything that may change.
        let bare_now = ApiKey {
            name: "renamed".to_owned(),
            description: full.description.clone(),
            scopes: full.scopes.clone(),
            switch: Switch::Revoked,
            expires_at: full.expires_at,
            ip_allowlist: full.ip_allowlist.clone(),
            rate_limits: full.rate_limits.clone(),
            metadata: full.metadata.clone(),
            updated_at: at(9),
            revoked_at: Some(from_micros(1_800_000_000_000_009)),
            revoke_reason: Some("läuft aus".to_owned()),
            ..bare
        };
        let full_now = ApiKey {
            name: "bare".to_owned(),
            description: String::new(),
            scopes: samples::scopes(&[]),
            switch: Switch::Active,
            expires_at: None,
            ip_allowlist: IpAllowlist::default(),
            rate_limits: RateLimits::default(),
            metadata: None,
            updated_at: at(9),
            ..full
        };
        let mut writer = world.write().await;
        writer.update_key(&bare_now).await.unwrap();
        writer.update_key(&full_now).await.unwrap();
        commit(writer).await;
        let mut reader = world.read().await;
        for key in [bare_now, full_now] {
            assert_eq!(reader.find_key(organization, key.id).await.unwrap(), Some(key));
        }
    }

    async fn what_a_key_is_bound_to_never_changes(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let key = full_key(&t);
        let secret = NewSecret { display_prefix: "legacy12".into(), last4: "zzzz".into(), ..samples::secret(1) };
        let other = samples::group(t.organization.id, "other");
        let mut writer = world.write().await;
        writer.insert_key(&key, &secret).await.unwrap();
        writer.insert_group(&other).await.unwrap();
        let moved = ApiKey {
            group: other.id,
            workspace: None,
            environment: Environment::Live,
            imported: false,
            created_at: at(99),
            created_by: None,
            last_used_at: Some(at(99)),
            ..key.clone()
        };
        writer.update_key(&moved).await.unwrap();
        commit(writer).await;
        assert_eq!(world.read().await.find_key(t.organization.id, key.id).await.unwrap(), Some(key));
    }

    async fn secrets_of_each_kind_and_the_newest_is_shown(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let key = samples::key(&t.group, "billing");
        let first = samples::secret(1);
        let slow = NewSecret {
            pepper_id: 7,
            digest: samples::digest()[..8].to_vec(),
            slow_hash: Some("$2b$12$abcdefghijklmnopqrstuv".to_owned()),
            display_prefix: "acme_zyxwvuts".to_owned(),
            last4: "9876".to_owned(),
            created_at: from_micros(1_850_000_000_000_001),
            ..samples::secret(2)
        };
        let mut writer = world.write().await;
        writer.insert_key(&key, &first).await.unwrap();
        writer.insert_key_secret(key.id, &slow).await.unwrap();
        writer.end_secret(key.id, 1, from_micros(1_860_000_000_000_001)).await.unwrap();
        commit(writer).await;

        let ended = KeySecret { expires_at: Some(from_micros(1_860_000_000_000_001)), ..shown_by(&first) };
        let mut reader = world.read().await;
        assert_eq!(reader.list_key_secrets(key.id).await.unwrap(), [ended, shown_by(&slow)]);
        let shown = reader.find_key(t.organization.id, key.id).await.unwrap().unwrap();
        assert_eq!((&*shown.display_prefix, &*shown.last4), ("acme_zyxwvuts", "9876"));
        drop(reader);

        let mut rows = world.read().await.verifications_of(&[key.id]).await.unwrap();
        rows.sort_by_key(|row| row.version);
        assert_eq!(rows.len(), 2);
        let secret_expires_at = Some(from_micros(1_860_000_000_000_001));
        assert_eq!(rows[0].digest[..], first.digest);
        assert_eq!(rows[0].rare.as_deref(), Some(&Rare { secret_expires_at, ..Rare::default() }));
        assert_eq!((&rows[1].digest[..8], &rows[1].digest[8..]), (&slow.digest[..], &[0; 24][..]));
        assert_eq!(rows[1].rare.as_deref(), Some(&Rare { slow_hash: slow.slow_hash, ..Rare::default() }));
    }

    async fn what_decisions_need_of_a_key(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let (bare, full) = (samples::key(&t.group, "bare"), full_key(&t));
        let mut writer = world.write().await;
        for key in [&bare, &full] {
            writer.insert_key(key, &samples::secret(1)).await.unwrap();
        }
        commit(writer).await;
        let rows = all_verifications(&world).await;
        assert_eq!(rows.len(), 2);
        for key in [bare, full] {
            let row = rows.iter().find(|row| row.key == key.id).unwrap();
            let bound = (row.organization, row.group, row.workspace, row.environment);
            assert_eq!(bound, (key.organization, key.group, key.workspace, key.environment));
            assert_eq!((&*row.name, row.switch), (&*key.name, key.switch));
            assert_eq!(row.rare.is_none(), key.name == "bare");
            let rare = row.rare.as_deref().cloned().unwrap_or_default();
            assert_eq!((rare.expires_at, rare.imported), (key.expires_at, key.imported));
            assert_eq!(*row.scopes, key.scopes.to_strings().join(" "));
            assert_eq!(keyrack_store::parse_allowlist(rare.ip_allowlist.as_deref()).unwrap(), key.ip_allowlist);
            assert_eq!(rare.rate_limits, key.rate_limits.to_text());
            let metadata = rare.metadata.as_deref().map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(metadata, key.metadata);
        }
    }

    /// The start reads keys by the page, a change reads them one by one.
    async fn all_keys_at_once_are_the_keys_one_by_one(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let mut writer = world.write().await;
        let slow = NewSecret {
            digest: samples::digest()[..8].to_vec(),
            slow_hash: Some("$2b$12$x".to_owned()),
            ..samples::secret(1)
        };
        writer.insert_key(&full_key(&t), &slow).await.unwrap();
        for number in 0..1_050 {
            let key = samples::key(&t.group, &format!("key \"{number}\" \\ \u{1F511}"));
            writer.insert_key(&key, &samples::secret(1)).await.unwrap();
        }
        commit(writer).await;
        let mut all = all_verifications(&world).await;
        assert_eq!(all.len(), 1_051);
        all.sort_by_key(|row| row.key);
        all.dedup_by_key(|row| row.key);
        assert_eq!(all.len(), 1_051);
        let mut reader = world.read().await;
        let ids: Vec<KeyId> = all.iter().map(|row| row.key).collect();
        let mut some = reader.verifications_of(&ids[20..1_020]).await.unwrap();
        some.sort_by_key(|row| row.key);
        assert_eq!(some, all[20..1_020]);
        assert_eq!(reader.verifications_of(&[ids[7], ids[7]]).await.unwrap(), [all[7].clone()]);
        assert!(reader.verifications_of(&[]).await.unwrap().is_empty());
    }

    async fn a_deleted_key_leaves_a_tombstone_for_each_secret_and_no_more(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let (key, other) = (samples::key(&t.group, "billing"), samples::key(&t.group, "other"));
        let (first, second) = (samples::secret(1), NewSecret { pepper_id: 2, ..samples::secret(2) });
        let slow = NewSecret {
            digest: samples::digest()[..8].to_vec(),
            slow_hash: Some("$2b$12$x".to_owned()),
            ..samples::secret(3)
        };
        let mut writer = world.write().await;
        writer.insert_key(&key, &first).await.unwrap();
        writer.insert_key_secret(key.id, &second).await.unwrap();
        writer.insert_key_secret(key.id, &slow).await.unwrap();
        writer.insert_key(&other, &samples::secret(1)).await.unwrap();
        commit(writer).await;

        let known = |secret: &NewSecret| {
            let mut digest = [9; 32];
            digest[..secret.digest.len()].copy_from_slice(&secret.digest);
            digest
        };
        let never = samples::digest();
        let mut writer = world.write().await;
        for secret in [&first, &second, &slow] {
            assert!(writer.is_digest_known(&known(secret)).await.unwrap());
        }
        assert!(!writer.is_digest_known(&never).await.unwrap());
        writer.delete_key(t.organization.id, key.id, from_micros(1_800_000_000_000_042)).await.unwrap();
        commit(writer).await;

        let mut reader = world.read().await;
        assert_eq!(reader.find_key_anywhere(key.id).await.unwrap(), None);
        assert!(reader.list_key_secrets(key.id).await.unwrap().is_empty());
        assert!(reader.verifications_of(&[key.id]).await.unwrap().is_empty());
        for secret in [&first, &second, &slow] {
            assert!(reader.is_digest_known(&known(secret)).await.unwrap(), "a text that was deleted stays known");
        }
        let buried = reader.tombstones_of(&[other.id, key.id]).await.unwrap();
        assert!(buried.iter().all(|(whose, _)| *whose == key.id));
        let mut buried: Vec<_> = buried.into_iter().map(|(_, digest)| digest).collect();
        let mut digests: Vec<_> = [first, second, slow].map(|s| s.digest).into();
        buried.sort_unstable();
        digests.sort_unstable();
        assert_eq!(buried, digests);
        assert!(reader.find_key_anywhere(other.id).await.unwrap().is_some());
        drop(reader);

        let told =
            "SELECT name, CAST(pepper_id AS TEXT), CAST(deleted_at AS TEXT) FROM tombstone ORDER BY pepper_id, name";
        let rows = world.look().await.rows(told).await;
        let row = |pepper: &str| ["billing", pepper, "1800000000000042"].map(|v| Some(v.to_owned())).to_vec();
        assert_eq!(rows, [row("1"), row("1"), row("2")]);
    }

    async fn digests_that_begin_alike_are_taken_for_the_same(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let whole = samples::secret(1);
        let mut writer = world.write().await;
        writer.insert_key(&samples::key(&t.group, "billing"), &whole).await.unwrap();
        let begins = |last_of_start: u8| {
            let mut digest = [0xff; 32];
            digest[..8].copy_from_slice(&whole.digest[..8]);
            digest[7] = digest[7].wrapping_add(last_of_start);
            digest
        };
        assert!(writer.is_digest_known(&begins(0)).await.unwrap());
        assert!(!writer.is_digest_known(&begins(1)).await.unwrap());
        assert!(!writer.is_digest_known(&begins(255)).await.unwrap());
    }

    async fn uses_only_move_forward_and_are_no_change(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let key = samples::key(&t.group, "billing");
        let mut writer = world.write().await;
        writer.insert_key(&key, &samples::secret(1)).await.unwrap();
        writer.insert_key_secret(key.id, &samples::secret(2)).await.unwrap();
        commit(writer).await;
        let head = world.head().await;

        let gone = KeyId(samples::id());
        let later: Timestamp = from_micros(1_800_000_000_000_050);
        for uses in [vec![(key.id, 1, at(10)), (gone, 1, at(10))], vec![(key.id, 2, later), (key.id, 1, at(5))], vec![]]
        {
            samples::note_uses(&world.store, &uses).await;
        }
        let mut reader = world.read().await;
        let used: Vec<_> = reader.list_key_secrets(key.id).await.unwrap().iter().map(|s| s.last_used_at).collect();
        assert_eq!(used, [Some(at(10)), Some(later)]);
        let found = reader.find_key(t.organization.id, key.id).await.unwrap();
        assert_eq!(found, Some(ApiKey { last_used_at: Some(at(10)), ..key }), "nothing else of a key moves");
        assert_eq!(world.head().await, head);
    }

    async fn who_made_a_key_is_forgotten_with_their_membership_there(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other = samples::tenancy(&world.store, "other").await;
        let made =
            |t: &Tenancy, by| ApiKey { created_by: Some(by), ..samples::key(&t.group, &samples::id().to_string()) };
        let own = made(&t, t.user.id);
        let others = [made(&t, other.user.id), made(&other, t.user.id)];
        let mut writer = world.write().await;
        writer.insert_member(t.organization.id, t.user.id, keyrack_core::Role::Admin, at(1)).await.unwrap();
        for key in [&own].into_iter().chain(&others) {
            writer.insert_key(key, &samples::secret(1)).await.unwrap();
        }
        writer.delete_member(t.organization.id, t.user.id).await.unwrap();
        commit(writer).await;
        let mut reader = world.read().await;
        let found = reader.find_key_anywhere(own.id).await.unwrap();
        assert_eq!(found, Some(ApiKey { created_by: None, ..own }));
        for key in others {
            assert_eq!(reader.find_key_anywhere(key.id).await.unwrap(), Some(key));
        }
    }

    async fn live_keys_are_those_neither_revoked_nor_expired(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let now = at(50);
        let mut writer = world.write().await;
        let mut live = Vec::new();
        for (n, switch) in Switch::ALL.iter().enumerate() {
            for expires_at in [None, Some(now), Some(from_micros(keyrack_core::micros(now) + 1))] {
                let workspace = Some(t.workspace.id);
                let name = format!("{n} {expires_at:?}");
                let key = ApiKey { switch: *switch, expires_at, workspace, ..samples::key(&t.group, &name) };
                writer.insert_key(&key, &samples::secret(1)).await.unwrap();
                if matches!(key.status(now), KeyStatus::Active | KeyStatus::Disabled) {
                    live.push(key);
                }
            }
        }
        commit(writer).await;
        assert_eq!(live.len(), 4);
        let organization = t.organization.id;
        let mut reader = world.read().await;
        assert_eq!(reader.keys_of_group(organization, t.group.id, Some(now), 99).await.unwrap(), live);
        assert_eq!(reader.keys_of_workspace(organization, t.workspace.id, Some(now), 99).await.unwrap(), live);
        assert_eq!(reader.keys_of_group(organization, t.group.id, Some(now), 2).await.unwrap(), live[..2]);
        assert_eq!(reader.keys_of_group(organization, t.group.id, None, 99).await.unwrap().len(), 9);
    }
}
