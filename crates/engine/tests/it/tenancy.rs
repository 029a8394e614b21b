//! Organizations, workspaces and groups: made, changed, and deleted only with what depends on them.

use keyrack_core::{OrganizationState, PlainKey, Reason, Tier};
use keyrack_engine::{
    AuditFilter, Context, EngineRole, Error, GroupPatch, ImportKey, Invited, KeyPatch, KeyQuery, KeySort, NewGroup,
    NewInstance, NewKey, NewMember, NewOrganization, OrganizationPatch,
};
use keyrack_testkit::{Database, both_databases};

use crate::following::Serving;
use crate::support::{OWNER, PASSWORD, TestClock, World, code, named, pepper, start, texts};

fn organization(slug: &str, owner: Option<&str>) -> NewOrganization {
    NewOrganization { slug: slug.to_owned(), name: None, tier: None, owner_email: owner.map(str::to_owned) }
}

fn group(name: &str) -> NewGroup {
    NewGroup { name: name.to_owned(), ..NewGroup::default() }
}

fn in_group(group: &str, name: &str) -> NewKey {
    NewKey { group: Some(group.to_owned()), ..named(name) }
}

both_databases! {
    async fn an_instance_is_initialized_once(database: Database) {
        let world = World::new(database).await;
        let head = world.head().await;
        let again = || NewInstance {
                tier: None,
            slug: "second".to_owned(),
            name: None,
            owner_email: "eve@example.com".to_owned(),
            owner_password: PASSWORD.to_owned(),
            with_management_key: true,
        };
        assert!(world.engine.initialize(again()).await.unwrap().is_none());
        assert_eq!(world.head().await, head);
        let own = world.engine.list_organizations(&world.host(), None, 9).await.unwrap().data;
        assert_eq!(own.iter().map(|o| &*o.slug).collect::<Vec<_>>(), ["acme"]);

        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        let clock = TestClock::new();
        let one = start(&url, &clock, vec![pepper(1, 1)], EngineRole::Guest { keys: false }).await.unwrap();
        let other = start(&url, &clock, vec![pepper(1, 1)], EngineRole::Guest { keys: false }).await.unwrap();
        let (mine, theirs) = tokio::join!(one.initialize(again()), other.initialize(again()));
        let made = [mine, theirs].into_iter().filter(|made| matches!(made, Ok(Some(_)))).count();
        assert_eq!(made, 1, "of two first starts one wins");
        assert!(one.is_initialized().await.unwrap());
    }

    async fn an_organization_has_an_owner_and_comes_with_its_two_groups(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let key = world.acting(&world.management_key).await;
        assert_eq!(code(engine.create_organization(&key, organization("x", None)).await), "owner_email");
        assert_eq!(
            code(engine.create_organization(&key, organization("x", Some("no@body.example"))).await),
            "owner_email"
        );
        assert_eq!(code(engine.create_organization(&key, organization("X", Some(OWNER))).await), "slug");
        assert_eq!(code(engine.create_organization(&key, organization("acme", Some(OWNER))).await), "slug_taken");
        let (owner, _) = world.signed_in(OWNER, PASSWORD).await;
        let made = engine.create_organization(&owner, organization("theirs", None)).await.unwrap();
        assert_eq!((made.tier, made.state, &*made.name), (Tier::Free, OrganizationState::Active, "theirs"));
        let theirs = Context::host(made.id);
        let groups = engine.list_groups(&theirs).await.unwrap();
        assert_eq!(groups.iter().map(|g| &*g.name).collect::<Vec<_>>().len(), 2);
        assert_eq!(engine.access_groups(&theirs).unwrap(), ["management"]);
        let members = engine.list_members(&theirs, None, 9).await.unwrap().data;
        assert_eq!(members.iter().map(|m| &*m.email).collect::<Vec<_>>(), [OWNER], "its maker owns it");
        assert_eq!(
            engine.default_organization().await.unwrap(),
            Some(world.organization),
            "the first one keeps the host"
        );
    }

    async fn a_slug_is_never_used_again(database: Database) {
        let world = World::new(database).await;
        let made = world.engine.create_organization(&world.host(), organization("once", Some(OWNER))).await.unwrap();
        let delete = OrganizationPatch { state: Some(OrganizationState::Deleted), ..OrganizationPatch::default() };
        world.engine.update_organization(&Context::host(made.id), delete).await.unwrap();
        let again = world.engine.create_organization(&world.host(), organization("once", Some(OWNER))).await;
        assert_eq!(code(again), "slug_taken");
    }

    async fn tier_and_state_are_matters_of_the_instance(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let admin = world.acting(&world.key(in_group("management", "admin")).await.1).await;
        let none = OrganizationPatch::default();
        let name = OrganizationPatch { name: Some("Acme Ltd".to_owned()), ..none.clone() };
        let tier = OrganizationPatch { tier: Some(Tier::Enterprise), ..none.clone() };
        let state = OrganizationPatch { state: Some(OrganizationState::Suspended), ..none };
        assert_eq!(engine.update_organization(&admin, name.clone()).await.unwrap().name, "Acme Ltd");
        for refused in [tier.clone(), state] {
            assert_eq!(code(engine.update_organization(&admin, refused).await), "insufficient_scope");
        }
        let key = world.acting(&world.management_key).await;
        assert_eq!(engine.update_organization(&key, tier).await.unwrap().tier, Tier::Enterprise);
        let head = world.head().await;
        engine.update_organization(&key, name).await.unwrap();
        assert_eq!(world.head().await, head, "the same again is no change");
    }

    async fn each_sees_the_organizations_that_are_his(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        for slug in ["b", "c", "d"] {
            engine.create_organization(&world.host(), organization(slug, Some(OWNER))).await.unwrap();
        }
        let bob = NewMember {
            email: "bob@example.com".to_owned(),
            role: keyrack_core::Role::Member,
            password: Some(PASSWORD.to_owned()),
            name: None,
        };
        let Invited::Member(_) = engine.add_member(&world.host(), bob).await.unwrap() else { panic!() };
        let (bob, _) = world.signed_in("bob@example.com", PASSWORD).await;
        let key = world.acting(&world.key(in_group("management", "admin")).await.1).await;
        let count = async |ctx: &Context| engine.list_organizations(ctx, None, 9).await.unwrap().data.len();
        assert_eq!((count(&world.host()).await, count(&bob).await, count(&key).await), (4, 1, 1));
        let first = engine.list_organizations(&world.host(), None, 3).await.unwrap();
        let after = first.next_cursor.unwrap().parse().unwrap();
        let rest = engine.list_organizations(&world.host(), Some(after), 3).await.unwrap();
        assert_eq!((first.data.len(), rest.data.len(), rest.next_cursor), (3, 1, None));
        // An instance admin's key reaches into another one, an ordinary key does not.
        let instance = world.acting(&world.management_key).await;
        let other = first.data.iter().find(|o| o.id != instance.organization).unwrap().id;
        let elsewhere = |ctx: &Context| Context { organization: other, ..ctx.clone() };
        assert_eq!(code(engine.create_key(&elsewhere(&instance), named("x")).await), "done");
        assert_eq!(code(engine.create_key(&elsewhere(&key), named("y")).await), "no organization");
        assert_eq!(code(engine.create_key(&elsewhere(&bob), named("z")).await), "no organization");
    }

    async fn a_group_or_workspace_with_live_keys_is_deleted_only_along_with_them(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let third = engine.create_group(&host, group("third")).await.unwrap().id;
        let sales = engine.create_workspace(&host, "sales", None).await.unwrap().id;
        let both = |name: &str| NewKey { workspace: Some("sales".to_owned()), ..in_group("third", name) };
        let (live, live_text) = world.key(both("live")).await;
        let (off, off_text) = world.key(NewKey { disabled: true, ..both("off") }).await;
        let (gone, gone_text) = world.key(both("withdrawn")).await;
        engine.revoke_key(&host, gone.key.id, None).await.unwrap();
        for refused in
            [engine.delete_group(&host, third, false).await, engine.delete_workspace(&host, sales, false).await]
        {
            let Err(Error::Conflict { code: "has_live_keys", mut details, .. }) = refused else {
                panic!("{refused:?}")
            };
            details.sort();
            assert_eq!(details, ["live", "off"]);
        }
        engine.delete_workspace(&host, sales, true).await.unwrap();
        for (view, text) in [(live, &live_text), (off, &off_text), (gone, &gone_text)] {
            assert_eq!(world.reason(text).await, Some(Reason::NotFound));
            assert_eq!(code(engine.get_key(&host, view.key.id).await), "no key");
            let again = ImportKey { new: named("again"), text: Some(PlainKey::new(text.clone())), sha256: None };
            assert_eq!(code(engine.import_keys(&host, vec![again]).await), "key_known");
        }
        assert_eq!(code(engine.delete_group(&host, third, false).await), "done");
        assert_eq!(code(engine.delete_group(&host, third, false).await), "no group");
        assert_eq!(code(engine.delete_workspace(&host, sales, false).await), "no workspace");
    }

    async fn keys_that_are_over_do_not_hinder_a_deletion(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let third = engine.create_group(&host, group("third")).await.unwrap().id;
        world.key(NewKey { expires_at: Some(world.later(1)), ..in_group("third", "short") }).await;
        assert_eq!(code(engine.delete_group(&host, third, false).await), "has_live_keys");
        world.clock.advance(1);
        assert_eq!(code(engine.delete_group(&host, third, false).await), "done");
    }

    async fn more_than_a_thousand_keys_go_with_their_group_in_batches(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let third = engine.create_group(&host, group("third")).await.unwrap().id;
        let secret = |n: usize| format!("legacy-secret-{n:06}");
        for half in 0..2 {
            let import = |n| ImportKey {
                new: in_group("third", &format!("{n}")),
                text: Some(PlainKey::new(secret(n))),
                sha256: None,
            };
            engine.import_keys(&host, (half * 700..(half + 1) * 700).map(import).collect()).await.unwrap();
        }
        let (size, head) = (engine.keyring_size(), world.head().await);
        engine.delete_group(&host, third, true).await.unwrap();
        assert_eq!(engine.keyring_size(), size - 1400);
        for n in [0, 699, 700, 1399] {
            assert_eq!(world.reason(&secret(n)).await, Some(Reason::NotFound));
        }
        assert_eq!(world.head().await, head + 3);
        let told = engine.list_audit(&host, &AuditFilter::default(), 3).await.unwrap().data;
        assert_eq!(
            told.iter().map(|e| &*e.kind).collect::<Vec<_>>(),
            ["group.deleted", "key.deleted_along", "key.deleted_along"]
        );
        let listed: usize = told.iter().filter_map(|e| e.data["keys"].as_array()).map(Vec::len).sum();
        assert_eq!(listed, 1400);
    }

    async fn an_access_group_is_deleted_only_after_it_was_deselected(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let management = engine.directory().tenant(world.organization).unwrap().group("management").unwrap().id;
        for revoke in [false, true] {
            assert_eq!(code(engine.delete_group(&host, management, revoke).await), "in_use");
        }
        let rename = GroupPatch { name: Some("admins".to_owned()), ..GroupPatch::default() };
        engine.update_group(&host, management, rename).await.unwrap();
        assert_eq!(engine.access_groups(&host).unwrap(), ["admins"], "access goes on under the new name");
        assert!(world.ask(&world.management_key, &world.any_key()).await.into_key().unwrap().facts().in_access_group);
        engine.set_access_groups(&host, &[]).await.unwrap();
        assert_eq!(code(engine.delete_group(&host, management, true).await), "done");
        assert_eq!(world.reason(&world.management_key).await, Some(Reason::NotFound));
    }

    async fn names_of_groups_and_slugs_of_workspaces_are_checked_and_unique(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        for bad in ["", "Upper", "sp ace", "ü", &"x".repeat(64)] {
            assert_eq!(code(engine.create_group(&host, group(bad)).await), "name", "{bad}");
            assert_eq!(code(engine.create_workspace(&host, bad, None).await), "slug", "{bad}");
        }
        assert_eq!(code(engine.create_workspace(&host, "-x", None).await), "slug");
        assert_eq!(code(engine.create_workspace(&host, "x", Some(" ")).await), "name");
        assert_eq!(code(engine.create_group(&host, group("a_b-9")).await), "done");
        assert_eq!(code(engine.create_group(&host, group("a_b-9")).await), "name_taken");
        assert_eq!(code(engine.create_workspace(&host, "x", None).await), "done");
        assert_eq!(code(engine.create_workspace(&host, "x", None).await), "slug_taken");
        let scopes = NewGroup { default_scopes: Some(texts(&["a:read", "b"])), ..group("g") };
        assert_eq!(code(engine.create_group(&host, scopes).await), "default_scopes[1]");
    }

    async fn keys_are_listed_in_pages_and_a_cursor_is_only_what_a_list_gave_out(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        for n in 0..7 {
            let (_, text) = world.plain_key(&format!("key {n}")).await;
            world.clock.advance(1);
            if n % 2 == 0 {
                assert!(world.passes(&text).await);
            }
        }
        world.plain_key("last").await;
        // What has stopped has written uses down.
        Serving::start(&world).await.stop().await;
        for sort in [KeySort::CreatedAt, KeySort::LastUsedAt] {
            let whole = KeyQuery { sort, limit: 100, group: Some("default".to_owned()), ..KeyQuery::default() };
            let whole: Vec<_> =
                engine.list_keys(&host, whole).await.unwrap().data.into_iter().map(|v| v.key.id).collect();
            assert_eq!(whole.len(), 8);
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let query =
                    KeyQuery { sort, limit: 3, cursor, group: Some("default".to_owned()), ..KeyQuery::default() };
                let page = engine.list_keys(&host, query).await.unwrap();
                assert!(page.data.len() <= 3);
                seen.extend(page.data.into_iter().map(|v| v.key.id));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, whole);
        }
        let never =
            KeyQuery { limit: 9, sort: KeySort::LastUsedAt, group: Some("default".to_owned()), ..KeyQuery::default() };
        let used: Vec<_> =
            engine.list_keys(&host, never).await.unwrap().data.iter().map(|v| v.key.last_used_at.is_some()).collect();
        assert_eq!(used, [false, false, false, false, true, true, true, true], "never used first");
        for junk in ["x", "AAAA", &"A".repeat(33), "%%%"] {
            let query = KeyQuery { cursor: Some(junk.to_owned()), limit: 9, ..KeyQuery::default() };
            assert_eq!(code(engine.list_keys(&host, query).await), "cursor");
        }
        let query = |group: &str| KeyQuery { group: Some(group.to_owned()), limit: 9, ..KeyQuery::default() };
        assert_eq!(code(engine.list_keys(&host, query("none")).await), "no group");
        let unused = KeyQuery { unused_for: Some(jiff::SignedDuration::from_secs(4)), limit: 99, ..query("default") };
        let names: Vec<_> =
            engine.list_keys(&host, unused).await.unwrap().data.into_iter().map(|v| v.key.name).collect();
        assert_eq!(names, ["key 1", "key 0"], "made and last used more than four seconds ago");
    }

    async fn a_change_that_is_refused_leaves_no_trace_in_memory(database: Database) {
        let world = World::new(database).await;
        let (engine, host) = (&world.engine, world.host());
        let (id, text) = world.plain_key("billing").await;
        world.plain_key("other").await;
        let (size, applied) = (engine.keyring_size(), engine.applied());
        let patch = KeyPatch { name: Some("other".to_owned()), scopes: Some(vec![]), ..KeyPatch::default() };
        assert_eq!(code(engine.update_key(&host, id, patch).await), "name_taken");
        assert_eq!((engine.keyring_size(), engine.applied()), (size, applied));
        assert!(world.ask(&text, &world.scope("a:read")).await.reason().is_none());
    }
}
