//! A credential that is gone between the door and the transaction changes nothing, in whichever use case.

use keyrack_core::{PlainKey, Role};
use keyrack_engine::{
    Context, GroupPatch, GuardText, ImportKey, Invited, KeyPatch, NewGroup, NewKey, NewMember, NewOrganization,
    NewRoute, OrganizationPatch, RotateKey, RoutePatch, Target,
};
use keyrack_testkit::{Database, both_databases};

use crate::support::{OWNER, PASSWORD, World, code, named, texts};

fn target() -> Target {
    Target::upstream("http://localhost:9")
}

fn route(name: &str) -> NewRoute {
    NewRoute {
        name: name.to_owned(),
        host: None,
        path: format!("/{name}"),
        methods: None,
        disabled: false,
        guard: GuardText { resource: Some("contacts".to_owned()), ..GuardText::default() },
        target: target(),
        cors: None,
    }
}

/// Tries every use case that changes something of the organization, and says how each went.
async fn try_everything(world: &World, ctx: &Context, round: &str) -> Vec<(&'static str, String)> {
    let (engine, host) = (&world.engine, world.host());
    // What there is to be changed is made by somebody else, anew in each round.
    let name = |what: &str| format!("{what}-{round}");
    let group = NewGroup { name: name("group"), ..NewGroup::default() };
    let group = engine.create_group(&host, group).await.unwrap().id;
    let workspace = engine.create_workspace(&host, &name("workspace"), None).await.unwrap().id;
    let key = world.plain_key(&name("victim")).await.0;
    engine.rotate_key(&host, key, RotateKey::default()).await.unwrap();
    let door = engine.create_route(&host, route(&name("door"))).await.unwrap().id;
    let bob = NewMember {
        email: format!("{}@example.com", name("bob")),
        role: Role::Member,
        password: Some(PASSWORD.to_owned()),
        name: None,
    };
    let Invited::Member(bob) = engine.add_member(&host, bob).await.unwrap() else {
        panic!("a password makes a member")
    };

    let head = world.head().await;
    let import = ImportKey {
        new: named(&name("imported")),
        text: Some(PlainKey::new(format!("imported-secret-{round}"))),
        sha256: None,
    };
    let eve = |password: Option<&str>| NewMember {
        email: format!("{}@example.com", name("eve")),
        role: Role::Admin,
        password: password.map(str::to_owned),
        name: None,
    };
    let other = NewOrganization { slug: name("theirs"), name: None, tier: None, owner_email: Some(OWNER.to_owned()) };
    let describe = Some("mine now".to_owned());
    let tried = vec![
        ("create_key", code(engine.create_key(ctx, named(&name("new"))).await)),
        (
            "update_key",
            code(engine.update_key(ctx, key, KeyPatch { description: describe.clone(), ..Default::default() }).await),
        ),
        ("rotate_key", code(engine.rotate_key(ctx, key, RotateKey { force: true, ..Default::default() }).await)),
        ("end_overlap", code(engine.end_overlap(ctx, key, 1).await)),
        ("import_keys", code(engine.import_keys(ctx, vec![import]).await)),
        ("create_group", code(engine.create_group(ctx, NewGroup { name: name("new"), ..Default::default() }).await)),
        (
            "update_group",
            code(engine.update_group(ctx, group, GroupPatch { description: describe, ..Default::default() }).await),
        ),
        ("create_workspace", code(engine.create_workspace(ctx, &name("new"), None).await)),
        ("rename_workspace", code(engine.rename_workspace(ctx, workspace, "mine now").await)),
        ("create_route", code(engine.create_route(ctx, route(&name("new"))).await)),
        (
            "update_route",
            code(engine.update_route(ctx, door, RoutePatch { enabled: Some(false), ..Default::default() }).await),
        ),
        ("set_access_groups", code(engine.set_access_groups(ctx, &texts(&["management", "default"])).await)),
        ("invite", code(engine.add_member(ctx, eve(None)).await)),
        ("add_member", code(engine.add_member(ctx, eve(Some(PASSWORD))).await)),
        ("change_role", code(engine.change_role(ctx, bob.user, Role::Admin).await)),
        ("remove_member", code(engine.remove_member(ctx, bob.user).await)),
        (
            "update_organization",
            code(
                engine
                    .update_organization(ctx, OrganizationPatch { name: Some(name("new")), ..Default::default() })
                    .await,
            ),
        ),
        ("create_organization", code(engine.create_organization(ctx, other).await)),
        ("delete_route", code(engine.delete_route(ctx, door).await)),
        ("revoke_key", code(engine.revoke_key(ctx, key, None).await)),
        ("delete_key", code(engine.delete_key(ctx, key).await)),
        ("delete_group", code(engine.delete_group(ctx, group, true).await)),
        ("delete_workspace", code(engine.delete_workspace(ctx, workspace, true).await)),
    ];
    let unchanged = world.head().await == head;
    assert_eq!(unchanged, tried.iter().all(|(_, how)| how != "done"), "{tried:?}");
    tried
}

/// Those that did not go as they should.
fn other_than(wanted: &str, tried: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    tried.into_iter().filter(|(_, how)| how != wanted).collect()
}

both_databases! {
    async fn a_key_that_is_gone_changes_nothing(database: Database) {
        let world = World::new(database).await;
        let all = ["*:admin", "keyrack.*:admin", "keyrack.instance:admin"];
        let strong = |name: &str| NewKey {
            group: Some("management".to_owned()),
            scopes: Some(texts(&all)),
            expires_at: (name == "expired").then(|| world.later(60)),
            ..named(name)
        };
        let none: Vec<(&str, String)> = vec![];
        let (_, text) = world.key(strong("alive")).await;
        let alive = world.acting(&text).await;
        assert_eq!(other_than("done", try_everything(&world, &alive, "alive").await), none, "it can do all of it");

        for gone in ["revoked", "disabled", "deleted", "expired"] {
            let (view, text) = world.key(strong(gone)).await;
            let (ctx, id) = (world.acting(&text).await, view.key.id);
            match gone {
                "revoked" => drop(world.engine.revoke_key(&world.host(), id, None).await.unwrap()),
                "disabled" => {
                    let patch = KeyPatch { enabled: Some(false), ..KeyPatch::default() };
                    world.engine.update_key(&world.host(), id, patch).await.unwrap();
                }
                "deleted" => world.engine.delete_key(&world.host(), id).await.unwrap(),
                _ => world.clock.advance(60),
            }
            assert_eq!(other_than("unauthorized", try_everything(&world, &ctx, gone).await), none, "{gone}");
        }
    }

    async fn a_person_whose_session_is_gone_changes_nothing(database: Database) {
        let world = World::new(database).await;
        let none: Vec<(&str, String)> = vec![];
        let (ctx, person) = world.signed_in(OWNER, PASSWORD).await;
        assert_eq!(other_than("done", try_everything(&world, &ctx, "alive").await), none, "the owner can do all of it");
        world.engine.sign_out(&person).await.unwrap();
        assert_eq!(other_than("unauthorized", try_everything(&world, &ctx, "out").await), none);

        let (ctx, _) = world.signed_in(OWNER, PASSWORD).await;
        world.clock.advance(keyrack_engine::SESSION_LENGTH.as_secs());
        assert_eq!(other_than("unauthorized", try_everything(&world, &ctx, "late").await), none);
    }

    async fn keys_and_members_of_a_suspended_organization_change_nothing(database: Database) {
        use keyrack_core::OrganizationState::{Active, Suspended};
        let world = World::new(database).await;
        let admin = NewMember {
            email: "bob@example.com".to_owned(),
            role: Role::Admin,
            password: Some(PASSWORD.to_owned()),
            name: None,
        };
        world.engine.add_member(&world.host(), admin).await.unwrap();
        let (person, _) = world.signed_in("bob@example.com", PASSWORD).await;
        let key = NewKey { group: Some("management".to_owned()), ..named("admin") };
        let key = world.acting(&world.key(key).await.1).await;
        let state = |state| OrganizationPatch { state: Some(state), ..OrganizationPatch::default() };
        world.engine.update_organization(&world.host(), state(Suspended)).await.unwrap();
        let head = world.head().await;
        for ctx in [&key, &person] {
            assert_eq!(code(world.engine.create_key(ctx, named("new")).await), "unauthorized");
            let rename = OrganizationPatch { name: Some("new".to_owned()), ..OrganizationPatch::default() };
            assert_eq!(code(world.engine.update_organization(ctx, rename).await), "unauthorized");
        }
        assert_eq!(world.head().await, head);
        // The instance's own admins can bring it back.
        let (owner, _) = world.signed_in(OWNER, PASSWORD).await;
        assert_eq!(code(world.engine.update_organization(&owner, state(Active)).await), "done");
        assert_eq!(code(world.engine.create_key(&key, named("by the key")).await), "done");
        assert_eq!(code(world.engine.create_key(&person, named("by the person")).await), "done");
    }

    async fn a_member_who_lost_the_role_acts_with_the_one_left(database: Database) {
        let world = World::new(database).await;
        let admin = NewMember {
            email: "bob@example.com".to_owned(),
            role: Role::Admin,
            password: Some(PASSWORD.to_owned()),
            name: None,
        };
        let Invited::Member(bob) = world.engine.add_member(&world.host(), admin).await.unwrap() else { panic!() };
        let (ctx, _) = world.signed_in("bob@example.com", PASSWORD).await;
        let ctx = Context { required: Some("keyrack.keys:write".parse().unwrap()), ..ctx };
        assert_eq!(code(world.engine.create_key(&ctx, named("one")).await), "done");
        world.engine.change_role(&world.host(), bob.user, Role::Member).await.unwrap();
        assert_eq!(code(world.engine.create_key(&ctx, named("two")).await), "insufficient_scope");
        world.engine.remove_member(&world.host(), bob.user).await.unwrap();
        // It was their only organization: their session has ended.
        assert_eq!(code(world.engine.create_key(&ctx, named("three")).await), "unauthorized");
    }
}
