//! Nobody makes a key stronger than himself, whichever way he tries.

use keyrack_core::{Body, KeyId, PlainKey, Role};
use keyrack_engine::{Context, Engine, ImportKey, KeyPatch, NewGroup, NewKey, RotateKey};
use keyrack_testkit::{Database, both_databases};

use crate::support::{World, code, named, texts};

fn managing(name: &str, scopes: &[&str]) -> NewKey {
    NewKey { group: Some("management".to_owned()), scopes: Some(texts(scopes)), ..named(name) }
}

fn to_import(new: NewKey, text: &str) -> ImportKey {
    ImportKey { new, text: Some(PlainKey::new(text.to_owned())), sha256: None }
}

/// A world with two workspaces and a second group, and a key that is restricted in every way.
async fn restricted(database: Database) -> (World, Context) {
    let world = World::new(database).await;
    for slug in ["sales", "support"] {
        world.engine.create_workspace(&world.host(), slug, None).await.unwrap();
    }
    world
        .engine
        .create_group(&world.host(), NewGroup { name: "other".to_owned(), ..NewGroup::default() })
        .await
        .unwrap();
    let actor = NewKey {
        workspace: Some("sales".to_owned()),
        expires_at: Some(world.later(3600)),
        ip_allowlist: Some(texts(&["192.0.2.0/24"])),
        ..managing("actor", &["contacts:admin", "keyrack.keys:admin"])
    };
    let (_, text) = world.key(actor).await;
    let actor = world.acting(&text).await;
    (world, actor)
}

/// A key within the restricted one's authority.
fn within(world: &World, name: &str) -> NewKey {
    NewKey {
        workspace: Some("sales".to_owned()),
        expires_at: Some(world.later(3600)),
        ip_allowlist: Some(texts(&["192.0.2.7"])),
        ..managing(name, &["contacts:read"])
    }
}

/// Keys that exceed the restricted one along one dimension each, and how that is refused.
fn excesses(world: &World) -> Vec<(NewKey, &'static str)> {
    let key = || within(world, "stronger");
    let scopes = |scopes: &[&str]| NewKey { scopes: Some(texts(scopes)), ..key() };
    vec![
        (scopes(&["deals:read"]), "insufficient_scope"),
        (scopes(&["*:read"]), "insufficient_scope"),
        (scopes(&["contacts:read", "keyrack.groups:read"]), "insufficient_scope"),
        (scopes(&["keyrack.*:admin"]), "insufficient_scope"),
        (scopes(&["keyrack.instance:admin"]), "insufficient_scope"),
        (NewKey { scopes: None, ..key() }, "insufficient_scope"),
        (NewKey { group: Some("other".to_owned()), ..key() }, "insufficient_scope"),
        (NewKey { group: None, ..key() }, "insufficient_scope"),
        (NewKey { workspace: None, ..key() }, "insufficient_authority"),
        (NewKey { expires_at: Some(world.later(3601)), ..key() }, "insufficient_authority"),
        (NewKey { expires_at: None, ..key() }, "insufficient_authority"),
        (NewKey { ip_allowlist: Some(texts(&["192.0.2.0/23"])), ..key() }, "insufficient_authority"),
        (NewKey { ip_allowlist: Some(texts(&["192.0.2.7", "::1"])), ..key() }, "insufficient_authority"),
        (NewKey { ip_allowlist: None, ..key() }, "insufficient_authority"),
        // Switched off it is as strong as the day it is switched on.
        (NewKey { disabled: true, ..scopes(&["deals:read"]) }, "insufficient_scope"),
    ]
}

both_databases! {
    async fn a_key_makes_and_imports_nothing_stronger_along_any_dimension(database: Database) {
        let (world, actor) = restricted(database).await;
        let head = world.head().await;
        for (new, refusal) in excesses(&world) {
            let told = format!("{new:?}");
            let keys = vec![
                to_import(within(&world, "fine"), "a-fine-secret-of-theirs"),
                to_import(new.clone(), "a-strong-secret-of-theirs"),
            ];
            assert_eq!(code(world.engine.import_keys(&actor, keys).await), refusal, "{told}");
            assert_eq!(code(world.engine.create_key(&actor, new).await), refusal, "{told}");
        }
        // Of other workspaces it does not even know.
        let elsewhere = || NewKey { workspace: Some("support".to_owned()), ..within(&world, "elsewhere") };
        assert_eq!(code(world.engine.create_key(&actor, elsewhere()).await), "workspace");
        let import = vec![to_import(elsewhere(), "a-strong-secret-of-theirs")];
        assert_eq!(code(world.engine.import_keys(&actor, import).await), "keys[0].workspace");
        assert_eq!(world.head().await, head);
        assert_eq!(code(world.engine.create_key(&actor, within(&world, "equal")).await), "done");
        let keys = vec![to_import(within(&world, "imported"), "a-fine-secret-of-theirs")];
        assert_eq!(code(world.engine.import_keys(&actor, keys).await), "done");
    }

    async fn a_key_changes_and_rotates_nothing_that_is_stronger_before_or_after(database: Database) {
        let (world, actor) = restricted(database).await;
        let weaken = KeyPatch { scopes: Some(vec![]), ..KeyPatch::default() };
        for (n, (new, refusal)) in excesses(&world).into_iter().enumerate() {
            let told = format!("{new:?}");
            let (view, _) = world.key(NewKey { name: Some(format!("strong {n}")), ..new }).await;
            // Outside its workspace it does not even see the key.
            let refusal = if view.workspace.as_deref() == Some("sales") { refusal } else { "no key" };
            let id = view.key.id;
            let head = world.head().await;
            assert_eq!(code(world.engine.update_key(&actor, id, weaken.clone()).await), refusal, "{told}");
            assert_eq!(code(world.engine.rotate_key(&actor, id, RotateKey::default()).await), refusal, "{told}");
            assert_eq!(world.head().await, head);
        }

        let weak = world.engine.create_key(&actor, within(&world, "weak")).await.unwrap().key.key.id;
        let none = KeyPatch::default();
        for (patch, refusal) in [
            (KeyPatch { scopes: Some(texts(&["deals:read"])), ..none.clone() }, "insufficient_scope"),
            (KeyPatch { level: Some("read_only".to_owned()), ..none.clone() }, "insufficient_scope"),
            (KeyPatch { expires_at: Some(None), ..none.clone() }, "insufficient_authority"),
            (KeyPatch { expires_at: Some(Some(world.later(3601))), ..none.clone() }, "insufficient_authority"),
            (KeyPatch { ip_allowlist: Some(None), ..none.clone() }, "insufficient_authority"),
            (KeyPatch { ip_allowlist: Some(Some(texts(&["::/0"]))), ..none.clone() }, "insufficient_authority"),
            (KeyPatch { scopes: Some(texts(&["contacts:admin"])), ..none.clone() }, "done"),
            (KeyPatch { ip_allowlist: Some(Some(texts(&["192.0.2.0/24"]))), ..none }, "done"),
        ] {
            assert_eq!(code(world.engine.update_key(&actor, weak, patch).await), refusal);
        }
        assert_eq!(code(world.engine.rotate_key(&actor, weak, RotateKey::default()).await), "done");
    }

    async fn taking_away_needs_no_strength(database: Database) {
        let (world, actor) = restricted(database).await;
        let strong = |name| NewKey { workspace: Some("sales".to_owned()), ..managing(name, &["*:admin"]) };
        let (first, _) = world.key(strong("first")).await;
        let (second, _) = world.key(strong("second")).await;
        assert_eq!(code(world.engine.revoke_key(&actor, first.key.id, None).await), "done");
        assert_eq!(code(world.engine.delete_key(&actor, second.key.id).await), "done");
    }

    async fn into_another_group_leads_only_the_scope_over_groups(database: Database) {
        let world = World::new(database).await;
        let (_, text) =
            world.key(managing("without", &["*:admin", "keyrack.keys:admin", "keyrack.groups:write"])).await;
        let without = world.acting(&text).await;
        let (_, text) = world.key(managing("with", &["*:admin", "keyrack.keys:admin", "keyrack.groups:admin"])).await;
        let with = world.acting(&text).await;
        assert_eq!(code(world.engine.create_key(&without, named("x")).await), "insufficient_scope");
        assert_eq!(code(world.engine.create_key(&with, named("x")).await), "done");
    }

    async fn a_key_bound_to_a_workspace_sees_that_one_only(database: Database) {
        let (world, actor) = restricted(database).await;
        let engine = &world.engine;
        let (inside, _) = world.key(within(&world, "inside")).await;
        let (outside, _) = world.key(NewKey { workspace: Some("support".to_owned()), ..named("outside") }).await;
        let listed =
            engine.list_keys(&actor, keyrack_engine::KeyQuery { limit: 99, ..Default::default() }).await.unwrap();
        let mut names: Vec<_> = listed.data.iter().map(|view| &*view.key.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["actor", "inside"]);
        let asked = keyrack_engine::KeyQuery { workspace: Some("support".to_owned()), limit: 9, ..Default::default() };
        assert_eq!(code(engine.list_keys(&actor, asked).await), "no workspace");
        assert_eq!(code(engine.get_key(&actor, inside.key.id).await), "done");
        assert_eq!(code(engine.get_key(&actor, outside.key.id).await), "no key");
        let seen = engine.list_workspaces(&actor).await.unwrap();
        assert_eq!(seen.iter().map(|w| &*w.slug).collect::<Vec<_>>(), ["sales"]);
        assert_eq!(code(engine.get_workspace(&actor, inside.key.workspace.unwrap()).await), "done");
        assert_eq!(code(engine.get_workspace(&actor, outside.key.workspace.unwrap()).await), "no workspace");
    }

    async fn a_group_s_default_scopes_are_within_whoever_sets_them(database: Database) {
        let world = World::new(database).await;
        let (_, text) = world.key(managing("actor", &["contacts:admin", "keyrack.groups:admin"])).await;
        let actor = world.acting(&text).await;
        let group = |name: &str, scopes: &[&str]| NewGroup {
            name: name.to_owned(),
            key_format: Some((None, Body::Base62)),
            default_scopes: Some(texts(scopes)),
            ..NewGroup::default()
        };
        let engine = &world.engine;
        assert_eq!(code(engine.create_group(&actor, group("a", &["deals:read"])).await), "insufficient_scope");
        assert_eq!(code(engine.create_group(&actor, group("a", &["keyrack.keys:read"])).await), "insufficient_scope");
        let made = engine.create_group(&actor, group("a", &["contacts:write"])).await.unwrap();
        let patch =
            |scopes: &[&str]| keyrack_engine::GroupPatch { default_scopes: Some(texts(scopes)), ..Default::default() };
        assert_eq!(code(engine.update_group(&actor, made.id, patch(&["*:read"])).await), "insufficient_scope");
        assert_eq!(code(engine.update_group(&actor, made.id, patch(&[])).await), "done");
    }

    async fn keys_are_made_admins_only_by_one_who_is_and_who_is_as_strong(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let other = NewGroup { name: "other".to_owned(), ..NewGroup::default() };
        engine.create_group(&world.host(), other).await.unwrap();
        let (member, member_text) = world.key(NewKey { group: Some("other".to_owned()), ..named("member") }).await;
        let (_, weak_text) = world.key(managing("weak", &["contacts:read", "keyrack.settings:admin"])).await;
        let both = texts(&["management", "other"]);
        let weak = world.acting(&weak_text).await;
        let no_admin = world.acting(&member_text).await;
        assert_eq!(code(engine.set_access_groups(&no_admin, &both).await), "insufficient_role");
        assert_eq!(code(engine.set_access_groups(&weak, &both).await), "insufficient_scope", "it would admit *:read");
        assert_eq!(engine.access_groups(&world.host()).unwrap(), ["management"]);
        let strong = world.acting(&world.management_key).await;
        assert_eq!(code(engine.set_access_groups(&strong, &both).await), "done");
        let mut now = engine.access_groups(&world.host()).unwrap();
        now.sort();
        assert_eq!(now, both);
        assert_eq!(engine.get_key(&world.host(), member.key.id).await.unwrap().role, Role::Admin);
        assert!(world.ask(&member_text, &world.any_key()).await.into_key().unwrap().facts().in_access_group);
        assert_eq!(code(engine.set_access_groups(&world.host(), &texts(&["none"])).await), "access_groups[0]");
        assert_eq!(code(engine.set_access_groups(&world.host(), &[]).await), "done");
        assert_eq!(engine.get_key(&world.host(), member.key.id).await.unwrap().role, Role::Member);
    }
}

/// A key by id with the authority of somebody who has lost what the door had seen.
async fn lost(engine: &Engine, ctx: &Context, id: KeyId) -> String {
    code(engine.update_key(ctx, id, KeyPatch { description: Some("mine now".to_owned()), ..KeyPatch::default() }).await)
}

both_databases! {
    async fn whoever_loses_the_scope_between_the_door_and_the_change_changes_nothing(database: Database) {
        let world = World::new(database).await;
        let (victim, _) = world.plain_key("victim").await;
        let (view, text) = world.key(managing("actor", &["*:admin", "keyrack.*:admin"])).await;
        let required = Some("keyrack.keys:write".parse().unwrap());
        let actor = Context { required, ..world.acting(&text).await };
        assert_eq!(lost(&world.engine, &actor, victim).await, "done");
        let narrowed = KeyPatch {
            scopes: Some(texts(&["*:admin", "keyrack.keys:read", "keyrack.groups:admin"])),
            ..KeyPatch::default()
        };
        world.engine.update_key(&world.host(), view.key.id, narrowed).await.unwrap();
        let head = world.head().await;
        assert_eq!(code(world.engine.delete_key(&actor, victim).await), "insufficient_scope");
        assert_eq!(world.head().await, head);
    }
}
