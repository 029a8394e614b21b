//! Every record but keys comes back as it was written.

use keyrack_core::{Body, OrganizationId, OrganizationState, RateLimits, Role, Tier, Timestamp, from_micros};
use keyrack_store::{
    HashProfile, INSTANCE, KeyGroup, Member, Organization, Replay, Route, StoreError, UserAccount, Workspace,
};
use keyrack_testkit::{Database, both_databases};
use serde_json::json;

use crate::samples;
use crate::support::{World, at, commit};

/// Moments at the edges of what is kept: microseconds that no coarser column holds, and times before 1970.
fn moments() -> [Timestamp; 4] {
    [from_micros(1), from_micros(-1), from_micros(1_234_567_890_123_457), from_micros(-62_000_000_000_000_001)]
}

/// Compares records whose types do not compare.
macro_rules! assert_same {
    ($left:expr, $right:expr) => {
        assert_eq!(format!("{:?}", $left), format!("{:?}", $right))
    };
}

both_databases! {
    async fn an_organization(database: Database) {
        let world = World::new(database).await;
        let mut written = Vec::new();
        let mut writer = world.write().await;
        for (n, (moment, tier)) in moments().into_iter().zip(Tier::ALL.iter().cycle()).enumerate() {
            let organization = Organization {
                tier: *tier,
                state: OrganizationState::ALL[n % 3],
                created_at: moment,
                updated_at: from_micros(keyrack_core::micros(moment) + 1),
                ..samples::organization(&format!("acme-{n}"))
            };
            writer.insert_organization(&organization).await.unwrap();
            written.push(organization);
        }
        commit(writer).await;
        let mut reader = world.read().await;
        for organization in &written {
            assert_eq!(reader.find_organization(organization.id).await.unwrap().as_ref(), Some(organization));
            let by_slug = reader.find_organization_by_slug(&organization.slug).await.unwrap();
            assert_eq!(by_slug.as_ref(), Some(organization));
        }
        assert_eq!(reader.list_organizations(None, 10).await.unwrap(), written);
        assert_eq!(reader.list_organizations(Some(written[1].id), 1).await.unwrap(), written[2..3]);
        assert_eq!(reader.find_organization(OrganizationId(samples::id())).await.unwrap(), None);
        assert_eq!(reader.find_organization_by_slug("ACME-0").await.unwrap(), None);
        drop(reader);

        let changed = Organization {
            name: "日本".to_owned(),
            tier: Tier::Enterprise,
            state: OrganizationState::Suspended,
            rate_limits: RateLimits::default(),
            updated_at: at(9),
            ..written[0].clone()
        };
        let mut writer = world.write().await;
        // Neither slug nor birth ever change.
        let asked = Organization { slug: "new".to_owned(), created_at: at(5), ..changed.clone() };
        writer.update_organization(&asked).await.unwrap();
        commit(writer).await;
        assert_eq!(world.read().await.find_organization(changed.id).await.unwrap(), Some(changed));
    }

    async fn a_workspace(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other = samples::tenancy(&world.store, "other").await;
        let organization = t.organization.id;
        let written = Workspace { updated_at: moments()[2], ..samples::workspace(organization, "second") };
        let mut writer = world.write().await;
        writer.insert_workspace(&written).await.unwrap();
        commit(writer).await;
        let mut reader = world.read().await;
        assert_eq!(reader.find_workspace(organization, written.id).await.unwrap().as_ref(), Some(&written));
        assert_eq!(reader.find_workspace(other.organization.id, written.id).await.unwrap(), None);
        assert_eq!(reader.list_workspaces(organization).await.unwrap(), [t.workspace, written.clone()]);
        drop(reader);

        let changed = Workspace { name: "zwei".to_owned(), updated_at: at(9), ..written };
        let mut writer = world.write().await;
        writer.update_workspace(&changed).await.unwrap();
        assert_eq!(writer.find_workspace(organization, changed.id).await.unwrap().as_ref(), Some(&changed));
        writer.delete_workspace(organization, changed.id).await.unwrap();
        commit(writer).await;
        assert_eq!(world.read().await.find_workspace(organization, changed.id).await.unwrap(), None);
    }

    async fn a_user(database: Database) {
        let world = World::new(database).await;
        let bare = samples::user("ada@example.com");
        let full = UserAccount {
            password_hash: Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned()),
            is_instance_admin: true,
            created_at: moments()[0],
            updated_at: moments()[1],
            ..samples::user("bob@example.com")
        };
        let mut writer = world.write().await;
        for user in [&bare, &full] {
            writer.insert_user(user).await.unwrap();
        }
        commit(writer).await;
        let mut reader = world.read().await;
        for user in [&bare, &full] {
            assert_same!(reader.find_user(user.id).await.unwrap().unwrap(), user);
            assert_same!(reader.find_user_by_email(&user.email).await.unwrap().unwrap(), user);
        }
        assert_same!(reader.list_users(None, 9).await.unwrap(), [&bare, &full]);
        assert_same!(reader.list_users(Some(bare.id), 9).await.unwrap(), [&full]);
        drop(reader);

        let changed = UserAccount {
            name: "Bob".to_owned(),
            password_hash: None,
            is_instance_admin: false,
            updated_at: at(9),
            ..full
        };
        let mut writer = world.write().await;
        writer.update_user(&changed).await.unwrap();
        commit(writer).await;
        assert_same!(world.read().await.find_user(changed.id).await.unwrap().unwrap(), changed);
    }

    async fn a_member(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other = samples::tenancy(&world.store, "other").await;
        let (organization, user) = (t.organization.id, t.user.id);
        let mut writer = world.write().await;
        writer.insert_member(organization, user, Role::Owner, at(3)).await.unwrap();
        writer.insert_member(organization, other.user.id, Role::Member, at(4)).await.unwrap();
        writer.insert_member(other.organization.id, user, Role::Owner, at(5)).await.unwrap();
        commit(writer).await;
        let member = Member {
            organization,
            user,
            email: t.user.email.clone(),
            name: t.user.name.clone(),
            role: Role::Owner,
            created_at: at(3),
        };
        let mut writer = world.write().await;
        assert_eq!(writer.find_member(organization, user).await.unwrap().as_ref(), Some(&member));
        let page = writer.list_members(organization, None, 9).await.unwrap();
        assert_eq!(page.iter().map(|m| m.user).collect::<Vec<_>>(), [user, other.user.id]);
        assert_eq!(writer.list_members(organization, None, 1).await.unwrap(), [member]);
        assert_eq!(writer.list_members(organization, Some(user), 9).await.unwrap(), page[1..]);
        assert_eq!(writer.count_owners(organization).await.unwrap(), 1);
        let organizations = writer.list_organizations_of_user(user).await.unwrap();
        assert_eq!(organizations, [t.organization, other.organization.clone()]);

        writer.update_member(organization, other.user.id, Role::Owner).await.unwrap();
        assert_eq!(writer.count_owners(organization).await.unwrap(), 2);
        writer.delete_member(organization, user).await.unwrap();
        assert_eq!(writer.find_member(organization, user).await.unwrap(), None);
        assert_eq!(writer.list_organizations_of_user(user).await.unwrap(), [other.organization]);
        commit(writer).await;
    }

    async fn an_invitation(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let (first, first_digest) = (samples::invitation(organization, "bob@example.com"), samples::digest());
        let (second, second_digest) = (samples::invitation(organization, "bob@example.com"), samples::digest());
        let mut writer = world.write().await;
        writer.insert_invitation(&first, &first_digest).await.unwrap();
        assert_same!(writer.find_invitation(&first_digest).await.unwrap().unwrap(), first);
        // A second one for the same address makes the first void.
        writer.insert_invitation(&second, &second_digest).await.unwrap();
        assert!(writer.find_invitation(&first_digest).await.unwrap().is_none());
        assert_same!(writer.list_invitations(organization, at(99)).await.unwrap(), [&second]);
        assert!(writer.list_invitations(organization, second.expires_at).await.unwrap().is_empty());
        assert!(!writer.delete_invitation(OrganizationId(samples::id()), second.id).await.unwrap());
        assert!(writer.delete_invitation(organization, second.id).await.unwrap());
        assert!(!writer.delete_invitation(organization, second.id).await.unwrap());
        commit(writer).await;
    }

    async fn a_second_factor_and_its_codes(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let new = keyrack_store::SecondFactor {
            user: t.user.id,
            sealed: vec![0, 255, 7],
            created_at: at(1),
            confirmed_at: None,
            last_step: 0,
        };
        let mut writer = world.write().await;
        assert!(writer.find_second_factor(t.user.id).await.unwrap().is_none());
        let confirmed = keyrack_store::SecondFactor { confirmed_at: Some(at(2)), last_step: 41, ..new.clone() };
        for factor in [new, confirmed] {
            writer.put_second_factor(&factor).await.unwrap();
            assert_eq!(writer.find_second_factor(t.user.id).await.unwrap().unwrap(), factor);
        }
        for (step, is_taken) in [(41, false), (40, false), (42, true), (42, false)] {
            assert_eq!(writer.take_step(t.user.id, step).await.unwrap(), is_taken, "{step}");
        }
        let codes = [samples::digest(), samples::digest()];
        writer.replace_recovery_codes(t.user.id, &[samples::digest()]).await.unwrap();
        writer.replace_recovery_codes(t.user.id, &codes).await.unwrap();
        assert_eq!(writer.count_recovery_codes(t.user.id).await.unwrap(), 2);
        for is_taken in [true, false] {
            assert_eq!(writer.take_recovery_code(t.user.id, &codes[0]).await.unwrap(), is_taken);
        }
        for was_there in [true, false] {
            assert_eq!(writer.delete_second_factor(t.user.id).await.unwrap(), was_there);
        }
        assert_eq!(writer.count_recovery_codes(t.user.id).await.unwrap(), 0);
    }

    async fn a_session(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let bare = samples::session(t.user.id);
        let full = keyrack_store::Session {
            address: Some("2001:db8::1".to_owned()),
            user_agent: Some("Mozilla/5.0 (\u{fc})".to_owned()),
            awaits_second_factor: true,
            stepped_up_at: Some(at(7)),
            ..samples::session(t.user.id)
        };
        let digests = [samples::digest(), samples::digest()];
        let mut writer = world.write().await;
        for (session, digest) in [&bare, &full].into_iter().zip(&digests) {
            writer.insert_session(session, digest, at(1)).await.unwrap();
            assert_eq!(writer.find_session(digest).await.unwrap().unwrap(), *session);
            assert_eq!(writer.find_session_by_id(session.id).await.unwrap().unwrap(), *session);
        }
        assert_eq!(writer.list_sessions_of(t.user.id, at(99)).await.unwrap(), std::slice::from_ref(&bare), "the other waits");
        assert!(writer.list_sessions_of(t.user.id, at(100)).await.unwrap().is_empty());
        assert!(writer.find_session(&samples::digest()).await.unwrap().is_none());
        assert!(writer.delete_session(bare.id).await.unwrap());
        assert!(!writer.delete_session(bare.id).await.unwrap());
        // A later one clears away those that have ended.
        let later = keyrack_store::Session { expires_at: at(200), ..samples::session(t.user.id) };
        writer.insert_session(&later, &samples::digest(), at(100)).await.unwrap();
        assert!(writer.find_session(&digests[1]).await.unwrap().is_none());
        assert_eq!(writer.delete_sessions_of(t.user.id).await.unwrap(), 1);
        assert!(writer.find_session_by_id(later.id).await.unwrap().is_none());
        commit(writer).await;
        let stored = world.look().await.rows("SELECT address, user_agent FROM session").await;
        assert!(stored.is_empty());
    }

    async fn a_group_with_the_formats_it_had_before(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let organization = t.organization.id;
        let written = KeyGroup {
            description: "für alle".to_owned(),
            key_format: samples::format(Some("sk_"), Body::Hex),
            former_formats: vec![
                samples::format(None, Body::Base62),
                samples::format(Some(""), Body::Base64url),
                samples::format(Some("acme_"), Body::Base62),
            ],
            hash_profile: HashProfile::Bcrypt,
            recoverable: true,
            default_scopes: samples::scopes(&["contacts:read", "keyrack.keys:write", "*:admin"]),
            created_at: moments()[1],
            updated_at: moments()[2],
            ..samples::group(organization, "legacy")
        };
        let mut writer = world.write().await;
        writer.insert_group(&written).await.unwrap();
        commit(writer).await;
        let mut reader = world.read().await;
        assert_eq!(reader.find_group(organization, written.id).await.unwrap().as_ref(), Some(&written));
        assert_eq!(reader.find_group_by_name(organization, "legacy").await.unwrap().as_ref(), Some(&written));
        assert_eq!(reader.list_groups(organization).await.unwrap(), [t.group, written.clone()]);
        assert_eq!(reader.find_group_by_name(OrganizationId(samples::id()), "legacy").await.unwrap(), None);
        drop(reader);

        let changed = KeyGroup {
            name: "modern".to_owned(),
            key_format: samples::format(None, Body::Base64url),
            former_formats: vec![],
            default_scopes: samples::scopes(&[]),
            rate_limits: RateLimits::default(),
            recoverable: false,
            updated_at: at(9),
            ..written
        };
        let mut writer = world.write().await;
        writer.update_group(&changed).await.unwrap();
        assert_eq!(writer.find_group(organization, changed.id).await.unwrap().as_ref(), Some(&changed));
        writer.delete_group(organization, changed.id).await.unwrap();
        commit(writer).await;
        assert_eq!(world.read().await.find_group(organization, changed.id).await.unwrap(), None);
    }

    async fn a_route(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let bare = samples::route(organization, "first");
        let full = Route {
            host: Some("api.example.com".to_owned()),
            path: "/käse/%2A/*rest".to_owned(),
            methods: vec![],
            enabled: false,
            guard: json!({ "groups": [samples::id()], "roles": ["admin"], "sessions": true }),
            target: json!({ "kind": "upstream", "url": "https://ex.example/a?b=\"c\"" }),
            cors: Some(json!({ "origins": ["*"] })),
            created_at: moments()[0],
            updated_at: moments()[3],
            ..samples::route(organization, "second")
        };
        let mut writer = world.write().await;
        for route in [&bare, &full] {
            writer.insert_route(route).await.unwrap();
            assert_eq!(writer.find_route(organization, route.id).await.unwrap().as_ref(), Some(route));
        }
        assert_eq!(writer.list_routes(organization).await.unwrap(), [bare.clone(), full.clone()]);
        assert_eq!(writer.list_all_routes().await.unwrap(), [bare.clone(), full.clone()]);
        let changed = Route { host: None, enabled: true, path: "/b".to_owned(), updated_at: at(9), ..full };
        writer.update_route(&changed).await.unwrap();
        writer.delete_route(organization, bare.id).await.unwrap();
        commit(writer).await;
        let mut reader = world.read().await;
        assert_eq!(reader.list_routes(organization).await.unwrap(), [changed]);
        assert!(reader.list_routes(OrganizationId(samples::id())).await.unwrap().is_empty());
    }

    async fn a_setting(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let mut writer = world.write().await;
        for value in [json!(null), json!("text"), json!([1, { "a": "ü" }]), json!(9_007_199_254_740_993_i64)] {
            writer.put_setting(organization, "limits", &value, at(1)).await.unwrap();
            assert_eq!(writer.find_setting(organization, "limits").await.unwrap(), Some(value));
        }
        writer.put_setting(organization, "a", &json!(1), at(1)).await.unwrap();
        writer.put_setting(INSTANCE, "limits", &json!("the instance's"), at(1)).await.unwrap();
        commit(writer).await;
        let mut reader = world.read().await;
        let all = reader.list_settings(organization).await.unwrap();
        assert_eq!(all, [("a".to_owned(), json!(1)), ("limits".to_owned(), json!(9_007_199_254_740_993_i64))]);
        assert_eq!(reader.find_setting(INSTANCE, "limits").await.unwrap(), Some(json!("the instance's")));
        assert_eq!(reader.find_setting(organization, "none").await.unwrap(), None);
    }

    async fn a_replay_is_remembered_until_it_is_too_old(database: Database) {
        let world = World::new(database).await;
        let (organization, actor) = (OrganizationId(samples::id()), samples::id());
        let replay = Replay { request_hash: samples::digest(), result_id: samples::id() };
        let mut writer = world.write().await;
        writer.insert_replay(organization, actor, "k", &replay, (at(0), at(10))).await.unwrap();
        let found = writer.find_replay(organization, actor, "k", at(9)).await.unwrap();
        assert_eq!(found.as_ref(), Some(&replay));
        assert_eq!(writer.find_replay(organization, actor, "k", at(10)).await.unwrap(), None);
        assert_eq!(writer.find_replay(organization, samples::id(), "k", at(9)).await.unwrap(), None);
        assert_eq!(writer.find_replay(organization, actor, "K", at(9)).await.unwrap(), None);
        // Once it is too old to be found, its key is free.
        let next = Replay { result_id: samples::id(), ..replay };
        writer.insert_replay(organization, actor, "k", &next, (at(10), at(20))).await.unwrap();
        assert_eq!(writer.find_replay(organization, actor, "k", at(10)).await.unwrap(), Some(next));
        commit(writer).await;
    }

    async fn a_value_that_no_program_of_ours_wrote_is_told_by_its_column(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        world.look().await.run("UPDATE key_group SET default_scopes = 'contacts:fly'").await;
        let read = world.read().await.find_group(t.organization.id, t.group.id).await;
        assert!(matches!(read, Err(StoreError::Corrupt { column: "default_scopes" })), "{read:?}");
    }
}
