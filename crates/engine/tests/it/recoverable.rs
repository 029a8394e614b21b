//! Keys of groups that ask for it can be looked at again, by owners who have just entered the password again.

use keyrack_core::{KeyId, Role};
use keyrack_engine::{Context, GroupPatch, ImportKey, KeyPatch, NewGroup, NewKey, NewMember, RotateKey, Store};
use keyrack_testkit::{Database, both_databases};

use crate::support::{OWNER, PASSWORD, World, code, named, shown};

async fn group(world: &World, name: &str, recoverable: bool) -> keyrack_core::GroupId {
    let new = NewGroup { name: name.to_owned(), recoverable, ..NewGroup::default() };
    world.engine.create_group(&world.host(), new).await.unwrap().id
}

async fn key(world: &World, name: &str, group: &str) -> (KeyId, String) {
    let (view, text) = world.key(NewKey { group: Some(group.to_owned()), ..named(name) }).await;
    (view.key.id, text)
}

async fn kept(world: &World) -> usize {
    let store = Store::open(&world.url, world.now()).await.unwrap();
    let count = store.read().await.unwrap().count_key_texts_under_older(i64::MAX).await.unwrap();
    usize::try_from(count).unwrap()
}

async fn reveal(world: &World, ctx: &Context, id: KeyId) -> Result<String, String> {
    match world.engine.reveal_key(ctx, id).await {
        Ok(text) => Ok(text.expose().to_owned()),
        refused => Err(code(refused.map(drop))),
    }
}

fn refusal(what: &str) -> Result<String, String> {
    Err(what.to_owned())
}

both_databases! {
    async fn an_owner_who_has_stepped_up_sees_the_newest_text_and_the_log_tells_of_it(database: Database) {
        let world = World::new(database).await;
        group(&world, "kept", true).await;
        group(&world, "lost", false).await;
        let ((kept_key, text), (lost_key, _)) = (key(&world, "a", "kept").await, key(&world, "b", "lost").await);
        let (owner, _) = world.stepped_up(OWNER, PASSWORD).await;
        assert_eq!(reveal(&world, &owner, kept_key).await, Ok(text.clone()));
        assert_eq!(reveal(&world, &owner, lost_key).await, refusal("not_recoverable"));
        assert_eq!(kept(&world).await, 1);
        let log = world.engine.list_audit(&owner, &keyrack_engine::AuditFilter::default(), 10).await.unwrap();
        let told = log.data.iter().filter(|event| event.kind == "key.revealed");
        assert_eq!(told.map(|event| event.subject_id).collect::<Vec<_>>(), [Some(kept_key.0)]);
        assert!(!format!("{log:?}").contains(&text));

        let (unproved, _) = world.signed_in(OWNER, PASSWORD).await;
        assert_eq!(reveal(&world, &unproved, kept_key).await, refusal("step_up_required"));
        let new = NewMember {
            email: "grace@example.com".to_owned(),
            role: Role::Admin,
            password: Some("the password of grace".to_owned()),
            name: None,
        };
        world.engine.add_member(&world.host(), new).await.unwrap();
        let (admin, _) = world.stepped_up("grace@example.com", "the password of grace").await;
        assert_eq!(reveal(&world, &admin, kept_key).await, refusal("insufficient_role"));
        let management = world.acting(&world.management_key).await;
        assert_eq!(reveal(&world, &management, kept_key).await, refusal("key_not_accepted"));
        assert_eq!(reveal(&world, &world.host(), kept_key).await, refusal("key_not_accepted"));
    }

    async fn what_no_key_needs_any_more_is_not_kept(database: Database) {
        let world = World::new(database).await;
        let id = group(&world, "kept", true).await;
        let (engine, host) = (&world.engine, world.host());
        let (owner, _) = world.stepped_up(OWNER, PASSWORD).await;
        let [rotated, revoked, deleted] = [key(&world, "a", "kept").await, key(&world, "b", "kept").await, key(&world, "c", "kept").await];
        assert_eq!(kept(&world).await, 3);
        let new = engine.rotate_key(&host, rotated.0, RotateKey::default()).await.unwrap().secret.unwrap();
        assert_eq!(reveal(&world, &owner, rotated.0).await, Ok(new.expose().to_owned()), "the newest");
        assert_eq!(kept(&world).await, 3);
        engine.revoke_key(&host, revoked.0, None).await.unwrap();
        engine.delete_key(&host, deleted.0).await.unwrap();
        assert_eq!(kept(&world).await, 1);
        assert_eq!(reveal(&world, &owner, revoked.0).await, refusal("not_recoverable"));
        let off = KeyPatch { enabled: Some(false), ..KeyPatch::default() };
        engine.update_key(&host, rotated.0, off).await.unwrap();
        assert_eq!(reveal(&world, &owner, rotated.0).await, Ok(new.expose().to_owned()), "it may be switched on again");

        // Imported with their text they are kept too; by their hash there is nothing to keep.
        let import = |name: &str, text: Option<&str>, sha256: Option<&str>| ImportKey {
            new: NewKey { group: Some("kept".to_owned()), ..named(name) },
            text: text.map(|text| keyrack_core::PlainKey::new(text.to_owned())),
            sha256: sha256.map(str::to_owned),
        };
        let keys = vec![import("d", Some("imported-from-elsewhere"), None), import("e", None, Some(&"ab".repeat(32)))];
        let imported = engine.import_keys(&host, keys).await.unwrap();
        assert_eq!(reveal(&world, &owner, imported[0].key.id).await, Ok("imported-from-elsewhere".to_owned()));
        assert_eq!(reveal(&world, &owner, imported[1].key.id).await, refusal("not_recoverable"));

        let off = GroupPatch { recoverable: Some(false), ..GroupPatch::default() };
        engine.update_group(&host, id, off).await.unwrap();
        assert_eq!(kept(&world).await, 0, "switched off, nothing is left");
        assert_eq!(reveal(&world, &owner, rotated.0).await, refusal("not_recoverable"));
        let on = GroupPatch { recoverable: Some(true), ..GroupPatch::default() };
        engine.update_group(&host, id, on).await.unwrap();
        assert_eq!(reveal(&world, &owner, rotated.0).await, refusal("not_recoverable"), "and it does not come back");
        let (_, again) = shown(engine.create_key(&host, NewKey { group: Some("kept".to_owned()), ..named("f") }).await.unwrap());
        assert_eq!((kept(&world).await, again.is_empty()), (1, false));
    }
}
