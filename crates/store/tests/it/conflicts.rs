//! Which rule a refused row broke, told alike by both databases.

use jiff::Timestamp;
use keyrack_core::status::Switch;
use keyrack_core::{GroupId, OrganizationId, Role, UserId, WorkspaceId};
use keyrack_store::{ApiKey, Conflict, NewSecret, Replay, Result, StoreError, Writer};
use keyrack_testkit::{Database, both_databases};

use crate::samples::{self, Tenancy};
use crate::support::{World, at, commit};

/// Runs one change in a transaction of its own and says which rule it broke. What was refused leaves nothing behind.
macro_rules! conflict {
    ($world:expr, $writer:ident => $change:expr) => {{
        let head = $world.head().await;
        let mut $writer = $world.write().await;
        let broken = match $change.await {
            Err(StoreError::Conflict(conflict)) => conflict,
            other => panic!("{}: {:?}", stringify!($change), other.err()),
        };
        drop($writer);
        assert_eq!($world.head().await, head);
        broken
    }};
}

/// Runs one change in a transaction of its own; some other rule than a unique one must refuse it.
macro_rules! refused {
    ($world:expr, $writer:ident => $change:expr) => {{
        let mut $writer = $world.write().await;
        let result = $change.await;
        assert!(matches!(result, Err(StoreError::Driver(_))), "{}: {:?}", stringify!($change), result.err());
    }};
}

async fn with_key(world: &World, t: &Tenancy, name: &str) -> (ApiKey, NewSecret) {
    let (key, secret) = (samples::key(&t.group, name), samples::secret(1));
    let mut writer = world.write().await;
    writer.insert_key(&key, &secret).await.unwrap();
    commit(writer).await;
    (key, secret)
}

async fn insert_key(writer: &mut Writer, key: &ApiKey) -> Result<()> {
    writer.insert_key(key, &samples::secret(1)).await
}

both_databases! {
    async fn a_taken_slug_of_an_organization_is_told(database: Database) {
        let world = World::new(database).await;
        samples::tenancy(&world.store, "acme").await;
        let again = samples::organization("acme");
        assert_eq!(conflict!(world, w => w.insert_organization(&again)), Conflict::OrganizationSlug);
    }

    async fn a_taken_slug_of_a_workspace_is_told_and_each_organization_has_its_own(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        samples::tenancy(&world.store, "other").await;
        let again = samples::workspace(t.organization.id, "sales");
        assert_eq!(conflict!(world, w => w.insert_workspace(&again)), Conflict::WorkspaceSlug);
    }

    async fn a_taken_name_of_a_group_is_told_also_when_one_is_renamed(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        samples::tenancy(&world.store, "other").await;
        let mut second = samples::group(t.organization.id, "default");
        assert_eq!(conflict!(world, w => w.insert_group(&second)), Conflict::GroupName);
        second.name = "second".to_owned();
        let mut writer = world.write().await;
        writer.insert_group(&second).await.unwrap();
        commit(writer).await;
        second.name = "default".to_owned();
        assert_eq!(conflict!(world, w => w.update_group(&second)), Conflict::GroupName);
    }

    async fn a_name_of_a_key_is_taken_until_that_key_is_revoked_or_deleted(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other_group = samples::group(t.organization.id, "other");
        let mut writer = world.write().await;
        writer.insert_group(&other_group).await.unwrap();
        commit(writer).await;
        let (first, _) = with_key(&world, &t, "billing").await;

        let second = samples::key(&t.group, "billing");
        assert_eq!(conflict!(world, w => insert_key(&mut w, &second)), Conflict::KeyName);
        let mut writer = world.write().await;
        insert_key(&mut writer, &samples::key(&other_group, "billing")).await.unwrap();
        commit(writer).await;

        let disabled = ApiKey { switch: Switch::Disabled, ..first.clone() };
        let expired = ApiKey { expires_at: Some(Timestamp::UNIX_EPOCH), ..first.clone() };
        for still_there in [disabled, expired] {
            let mut writer = world.write().await;
            writer.update_key(&still_there).await.unwrap();
            commit(writer).await;
            assert_eq!(conflict!(world, w => insert_key(&mut w, &second)), Conflict::KeyName);
        }

        let mut writer = world.write().await;
        writer.update_key(&ApiKey { switch: Switch::Revoked, ..first.clone() }).await.unwrap();
        insert_key(&mut writer, &second).await.unwrap();
        commit(writer).await;
        assert_eq!(conflict!(world, w => w.update_key(&first)), Conflict::KeyName);

        let mut writer = world.write().await;
        writer.delete_key(t.organization.id, second.id, at(5)).await.unwrap();
        insert_key(&mut writer, &samples::key(&t.group, "billing")).await.unwrap();
        commit(writer).await;
    }

    async fn a_known_digest_is_told_in_whatever_organization_it_is(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other = samples::tenancy(&world.store, "other").await;
        let (key, known) = with_key(&world, &t, "billing").await;
        let same = NewSecret { digest: known.digest.clone(), ..samples::secret(1) };
        let elsewhere = samples::key(&other.group, "shipping");
        assert_eq!(conflict!(world, w => w.insert_key(&elsewhere, &same)), Conflict::KeyDigest);
        let rotated = NewSecret { version: 2, ..same };
        assert_eq!(conflict!(world, w => w.insert_key_secret(key.id, &rotated)), Conflict::KeyDigest);
    }

    async fn a_taken_email_address_is_told(database: Database) {
        let world = World::new(database).await;
        samples::tenancy(&world.store, "acme").await;
        let again = samples::user("ada@acme.example");
        assert_eq!(conflict!(world, w => w.insert_user(&again)), Conflict::UserEmail);
    }

    async fn a_second_membership_is_told(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let (organization, user) = (t.organization.id, t.user.id);
        let mut writer = world.write().await;
        writer.insert_member(organization, user, Role::Owner, at(1)).await.unwrap();
        commit(writer).await;
        let again = conflict!(world, w => w.insert_member(organization, user, Role::Member, at(2)));
        assert_eq!(again, Conflict::Membership);
    }

    async fn a_second_use_of_an_idempotency_key_is_told_and_each_actor_has_its_own(database: Database) {
        let world = World::new(database).await;
        let (organization, actor) = (OrganizationId(samples::id()), samples::id());
        let replay = Replay { request_hash: samples::digest(), result_id: samples::id() };
        let times = (at(0), at(1));
        let mut writer = world.write().await;
        writer.insert_replay(organization, actor, "one", &replay, times).await.unwrap();
        writer.insert_replay(organization, actor, "two", &replay, times).await.unwrap();
        writer.insert_replay(organization, samples::id(), "one", &replay, times).await.unwrap();
        writer.insert_replay(OrganizationId(samples::id()), actor, "one", &replay, times).await.unwrap();
        commit(writer).await;
        let again = conflict!(world, w => w.insert_replay(organization, actor, "one", &replay, times));
        assert_eq!(again, Conflict::Idempotency);
    }

    async fn any_other_taken_value_is_told_as_such(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let session = samples::session(t.user.id);
        let invitation = samples::invitation(t.organization.id, "bob@acme.example");
        let route = samples::route(t.organization.id, "embeddings");
        let digest = samples::digest();
        let mut writer = world.write().await;
        writer.insert_session(&session, &digest, crate::support::at(1)).await.unwrap();
        writer.insert_invitation(&invitation, &digest).await.unwrap();
        writer.insert_route(&route).await.unwrap();
        commit(writer).await;
        let invited = samples::invitation(t.organization.id, "eve@acme.example");
        assert_eq!(conflict!(world, w => w.insert_session(&session, &digest, crate::support::at(1))), Conflict::Other);
        assert_eq!(conflict!(world, w => w.insert_invitation(&invited, &digest)), Conflict::Other);
        assert_eq!(conflict!(world, w => w.insert_route(&route)), Conflict::Other);
        let same_id = keyrack_store::Organization { id: t.organization.id, ..samples::organization("third") };
        assert_eq!(conflict!(world, w => w.insert_organization(&same_id)), Conflict::Other);
    }

    async fn nothing_refers_to_what_is_not_there(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let (nowhere, nobody) = (OrganizationId(samples::id()), UserId(samples::id()));
        let organization = t.organization.id;
        refused!(world, w => w.insert_workspace(&samples::workspace(nowhere, "sales")));
        refused!(world, w => w.insert_group(&samples::group(nowhere, "default")));
        refused!(world, w => w.insert_member(nowhere, t.user.id, Role::Member, at(1)));
        refused!(world, w => w.insert_member(organization, nobody, Role::Member, at(1)));
        refused!(world, w => w.insert_invitation(&samples::invitation(nowhere, "x@y.example"), &samples::digest()));
        refused!(world, w => w.insert_session(&samples::session(nobody), &samples::digest(), crate::support::at(1)));
        refused!(world, w => w.insert_route(&samples::route(nowhere, "embeddings")));
        refused!(world, w => w.insert_key_secret(keyrack_core::KeyId(samples::id()), &samples::secret(1)));
        let good = samples::key(&t.group, "billing");
        for key in [
            ApiKey { organization: nowhere, ..good.clone() },
            ApiKey { group: GroupId(samples::id()), ..good.clone() },
            ApiKey { workspace: Some(WorkspaceId(samples::id())), ..good },
        ] {
            refused!(world, w => insert_key(&mut w, &key));
        }
    }

    async fn nothing_is_deleted_that_a_key_refers_to(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let organization = t.organization.id;
        let bound = ApiKey { workspace: Some(t.workspace.id), ..samples::key(&t.group, "billing") };
        let mut writer = world.write().await;
        insert_key(&mut writer, &bound).await.unwrap();
        commit(writer).await;
        refused!(world, w => w.delete_group(organization, t.group.id));
        refused!(world, w => w.delete_workspace(organization, t.workspace.id));

        let mut writer = world.write().await;
        writer.delete_key(organization, bound.id, at(5)).await.unwrap();
        writer.delete_group(organization, t.group.id).await.unwrap();
        writer.delete_workspace(organization, t.workspace.id).await.unwrap();
        commit(writer).await;
    }

    async fn a_digest_of_another_length_is_refused(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let (key, _) = with_key(&world, &t, "billing").await;
        let secret = |digest: &[u8], slow: Option<&str>| NewSecret {
            digest: digest.to_vec(),
            slow_hash: slow.map(str::to_owned),
            ..samples::secret(2)
        };
        for bad in [secret(&[], None), secret(&[1; 31], None), secret(&[1; 33], None), secret(&[1; 8], None)] {
            refused!(world, w => w.insert_key_secret(key.id, &bad));
        }
        let mut writer = world.write().await;
        writer.insert_key_secret(key.id, &secret(&[1; 8], Some("$2b$12$x"))).await.unwrap();
        commit(writer).await;
    }

    async fn a_change_of_what_is_not_there_is_told(database: Database) {
        let world = World::new(database).await;
        let t = samples::tenancy(&world.store, "acme").await;
        let other = samples::tenancy(&world.store, "other").await;
        let (key, _) = with_key(&world, &t, "billing").await;
        let missed = |result: Result<()>| matches!(result, Err(StoreError::RowsAffected(0)));
        let mut writer = world.write().await;
        // Everything is asked for with its organization: another one's is not there.
        let elsewhere = ApiKey { organization: other.organization.id, ..key.clone() };
        assert!(missed(writer.update_key(&elsewhere).await));
        assert!(missed(writer.delete_group(other.organization.id, t.group.id).await));
        assert!(missed(writer.delete_workspace(other.organization.id, t.workspace.id).await));
        assert!(missed(writer.update_member(t.organization.id, t.user.id, Role::Admin).await));
        assert!(missed(writer.end_secret(key.id, 9, at(5)).await));
        assert!(missed(writer.update_route(&samples::route(t.organization.id, "none")).await));
        assert!(writer.find_key(other.organization.id, key.id).await.unwrap().is_none());
    }
}
