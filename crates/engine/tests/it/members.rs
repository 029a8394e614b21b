//! People: who belongs to an organization, as what, and how they come and go.

use keyrack_core::{Reason, Role, UserId};
use keyrack_engine::{
    AuditFilter, Context, Error, Invited, Member, NewKey, NewMember, NewOrganization, SESSION_LENGTH, UserAccount,
};
use keyrack_testkit::{Database, both_databases};
use uuid::Uuid;

use crate::support::{IsGrant as _, OWNER, PASSWORD, World, code, named, texts};

const OTHER_PASSWORD: &str = "another long enough password";

fn person(email: &str, role: Role, password: Option<&str>) -> NewMember {
    NewMember { email: email.to_owned(), role, password: password.map(str::to_owned), name: None }
}

async fn member(world: &World, email: &str, role: Role) -> Member {
    match world.engine.add_member(&world.host(), person(email, role, Some(PASSWORD))).await.unwrap() {
        Invited::Member(member) => member,
        Invited::Invitation(..) => panic!("a password makes a member at once"),
    }
}

/// Invites; the token that accepts it.
async fn invite(world: &World, ctx: &Context, email: &str, role: Role) -> String {
    match world.engine.add_member(ctx, person(email, role, None)).await.unwrap() {
        Invited::Invitation(_, token) => token.expose().to_owned(),
        Invited::Member(_) => panic!("without a password it is an invitation"),
    }
}

async fn role_of(world: &World, user: UserId) -> Option<Role> {
    let members = world.engine.list_members(&world.host(), None, 99).await.unwrap().data;
    members.into_iter().find(|m| m.user == user).map(|m| m.role)
}

async fn accept(world: &World, token: &str, password: &str) -> String {
    code(world.engine.accept_invitation(token, password, None).await)
}

both_databases! {
    async fn the_last_owner_stays(database: Database) {
        let world = World::new(database).await;
        let (engine, host, owner) = (&world.engine, world.host(), world.owner);
        assert_eq!(code(engine.remove_member(&host, owner).await), "last_owner");
        for role in [Role::Admin, Role::Member] {
            assert_eq!(code(engine.change_role(&host, owner, role).await), "last_owner");
        }
        let second = member(&world, "bob@example.com", Role::Owner).await;
        assert_eq!(code(engine.change_role(&host, owner, Role::Member).await), "done");
        assert_eq!(code(engine.remove_member(&host, second.user).await), "last_owner");
        engine.change_role(&host, owner, Role::Owner).await.unwrap();
        assert_eq!(code(engine.remove_member(&host, second.user).await), "done");
        assert_eq!(role_of(&world, owner).await, Some(Role::Owner));
    }

    async fn of_two_owners_who_leave_at_once_one_stays(database: Database) {
        let world = World::new(database).await;
        let second = member(&world, "bob@example.com", Role::Owner).await;
        let (engine, host) = (&world.engine, world.host());
        let (one, other) =
            tokio::join!(engine.remove_member(&host, world.owner), engine.remove_member(&host, second.user));
        let mut how = [code(one), code(other)];
        how.sort();
        assert_eq!(how, ["done", "last_owner"]);
    }

    async fn no_key_makes_or_unmakes_an_owner(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let second = member(&world, "bob@example.com", Role::Owner).await;
        let plain = member(&world, "eve@example.com", Role::Member).await;
        let key = world.acting(&world.management_key).await;
        let head = world.head().await;
        for refused in [
            code(engine.add_member(&key, person("new@example.com", Role::Owner, None)).await),
            code(engine.add_member(&key, person("new@example.com", Role::Owner, Some(PASSWORD))).await),
            code(engine.change_role(&key, plain.user, Role::Owner).await),
            code(engine.change_role(&key, second.user, Role::Member).await),
            code(engine.remove_member(&key, second.user).await),
        ] {
            assert_eq!(refused, "key_not_accepted");
        }
        assert_eq!(world.head().await, head);
        assert_eq!(code(engine.change_role(&key, plain.user, Role::Admin).await), "done");
        assert_eq!(code(engine.remove_member(&key, plain.user).await), "done");
    }

    async fn nobody_makes_a_member_who_may_do_more_than_he_may(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let plain = member(&world, "eve@example.com", Role::Member).await;
        let admin = member(&world, "admin@example.com", Role::Admin).await;
        let managing = async |scopes: &[&str]| {
            let new = NewKey { group: Some("management".to_owned()), scopes: Some(texts(scopes)), ..named(scopes[0]) };
            world.acting(&world.key(new).await.1).await
        };
        let narrow = managing(&["keyrack.members:admin"]).await;
        let wider = managing(&["*:write", "*:read", "keyrack.members:admin"]).await;
        let full = managing(&["*:admin", "keyrack.*:admin"]).await;
        for (actor, role, how) in [
            (&narrow, Role::Member, "insufficient_scope"),
            (&narrow, Role::Admin, "insufficient_scope"),
            (&wider, Role::Admin, "insufficient_scope"),
            (&wider, Role::Member, "done"),
            (&full, Role::Admin, "done"),
        ] {
            assert_eq!(code(engine.add_member(actor, person("new@example.com", role, None)).await), how);
        }
        // Nor with a password at once.
        let of_the_instance = managing(&["keyrack.instance:admin", "keyrack.members:admin"]).await;
        for role in [Role::Member, Role::Admin] {
            let strong = person("strong@example.com", role, Some(PASSWORD));
            assert_eq!(code(engine.add_member(&of_the_instance, strong).await), "insufficient_scope");
        }
        let everything = texts(&["keyrack.instance:admin", "*:admin", "keyrack.*:admin"]);
        let strong = |name| NewKey { group: Some("management".to_owned()), scopes: Some(everything.clone()), ..named(name) };
        let with_password = |email| person(email, Role::Admin, Some(PASSWORD));
        let unlimited = world.acting(&world.key(strong("unlimited")).await.1).await;
        assert_eq!(code(engine.add_member(&unlimited, with_password("strong@example.com")).await), "done");
        // Who ends, or is kept to some addresses, makes nobody who is not.
        for limited in [
            NewKey { expires_at: Some(world.later(3600)), ..strong("ends") },
            NewKey { ip_allowlist: Some(texts(&["127.0.0.0/8", "0.0.0.0/1"])), ..strong("from somewhere") },
        ] {
            let limited = world.acting(&world.key(limited).await.1).await;
            let invited = person("other@example.com", Role::Member, None);
            assert_eq!(code(engine.add_member(&limited, invited).await), "insufficient_authority");
            let at_once = with_password("other@example.com");
            assert_eq!(code(engine.add_member(&limited, at_once).await), "insufficient_authority");
            assert_eq!(code(engine.change_role(&limited, plain.user, Role::Admin).await), "insufficient_authority");
        }
        assert_eq!(code(engine.change_role(&wider, plain.user, Role::Admin).await), "insufficient_scope");
        // Taking away needs no strength.
        assert_eq!(code(engine.change_role(&narrow, admin.user, Role::Member).await), "done");
        assert_eq!(code(engine.change_role(&full, plain.user, Role::Admin).await), "done");
    }

    async fn only_an_owner_makes_or_unmakes_an_owner(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        member(&world, "admin@example.com", Role::Admin).await;
        let second = member(&world, "bob@example.com", Role::Owner).await;
        let plain = member(&world, "eve@example.com", Role::Member).await;
        let (admin, _) = world.signed_in("admin@example.com", PASSWORD).await;
        for refused in [
            code(engine.add_member(&admin, person("new@example.com", Role::Owner, None)).await),
            code(engine.change_role(&admin, plain.user, Role::Owner).await),
            code(engine.change_role(&admin, second.user, Role::Admin).await),
            code(engine.remove_member(&admin, second.user).await),
        ] {
            assert_eq!(refused, "insufficient_role");
        }
        let (owner, _) = world.stepped_up("bob@example.com", PASSWORD).await;
        assert_eq!(code(engine.change_role(&owner, plain.user, Role::Owner).await), "done");
        assert_eq!(code(engine.remove_member(&owner, plain.user).await), "done");
    }

    async fn a_password_is_given_by_instance_admins_to_people_who_are_not_known_yet(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        member(&world, "admin@example.com", Role::Admin).await;
        let (admin, _) = world.signed_in("admin@example.com", PASSWORD).await;
        let new = || person("new@example.com", Role::Member, Some(PASSWORD));
        assert_eq!(code(engine.add_member(&admin, new()).await), "insufficient_scope");
        let known = person(OWNER, Role::Member, Some(OTHER_PASSWORD));
        assert_eq!(code(engine.add_member(&world.host(), known).await), "email_taken");
        assert!(engine.sign_in(OWNER, PASSWORD, (None, None)).await.is_ok(), "the password is as it was");
        let short = person("new@example.com", Role::Member, Some("only 14 chars."));
        assert_eq!(code(engine.add_member(&world.host(), short).await), "password");
        assert_eq!(code(engine.add_member(&world.host(), new()).await), "done");
    }

    async fn who_has_no_account_gets_one_by_accepting(database: Database) {
        let world = World::new(database).await;
        let token = invite(&world, &world.host(), " Bob@Example.com ", Role::Admin).await;
        assert_eq!(accept(&world, &token, "too short").await, "password");
        let request = Uuid::from_u128(1);
        let joined = world.engine.accept_invitation(&token, PASSWORD, Some(request)).await.unwrap();
        assert_eq!(
            (&*joined.email, joined.role, joined.organization),
            ("bob@example.com", Role::Admin, world.organization)
        );
        let (_, person) = world.signed_in("bob@example.com", PASSWORD).await;
        assert_eq!((person.user, person.role), (joined.user, Some(Role::Admin)));
        let kind = AuditFilter { kind: Some("member.joined".to_owned()), ..AuditFilter::default() };
        let told = world.engine.list_audit(&world.host(), &kind, 9).await.unwrap().data;
        assert_eq!((told.len(), told[0].request_id.as_deref()), (1, Some(&*request.to_string())));
    }

    async fn who_has_an_account_proves_it_by_accepting_with_its_password(database: Database) {
        let world = World::new(database).await;
        let new =
            NewOrganization { slug: "other".to_owned(), name: None, tier: None, owner_email: Some(OWNER.to_owned()) };
        let other = Context::host(world.engine.create_organization(&world.host(), new).await.unwrap().id);
        let bob = member(&world, "bob@example.com", Role::Member).await;
        let token = invite(&world, &other, "bob@example.com", Role::Member).await;
        assert_eq!(accept(&world, &token, OTHER_PASSWORD).await, "unauthorized");
        let joined = world.engine.accept_invitation(&token, PASSWORD, None).await.unwrap();
        assert_eq!((joined.user, joined.organization), (bob.user, other.organization), "the same person");
        assert!(world.engine.sign_in("bob@example.com", OTHER_PASSWORD, (None, None)).await.is_err());
    }

    async fn an_invitation_is_good_once_and_for_a_week(database: Database) {
        let world = World::new(database).await;
        let once = invite(&world, &world.host(), "once@example.com", Role::Member).await;
        assert_eq!(accept(&world, &once, PASSWORD).await, "done");
        assert_eq!(accept(&world, &once, PASSWORD).await, "no invitation");

        let late = invite(&world, &world.host(), "late@example.com", Role::Member).await;
        let in_time = invite(&world, &world.host(), "intime@example.com", Role::Member).await;
        world.clock.advance(7 * 24 * 60 * 60 - 1);
        assert_eq!(accept(&world, &in_time, PASSWORD).await, "done");
        world.clock.advance(1);
        assert_eq!(accept(&world, &late, PASSWORD).await, "no invitation");
        for junk in ["", "x", &once[1..]] {
            assert_eq!(accept(&world, junk, PASSWORD).await, "no invitation");
        }
    }

    async fn of_two_who_accept_at_once_one_does(database: Database) {
        let world = World::new(database).await;
        let token = invite(&world, &world.host(), "bob@example.com", Role::Member).await;
        let (one, other) = tokio::join!(accept(&world, &token, PASSWORD), accept(&world, &token, PASSWORD));
        let mut how = [one, other];
        how.sort();
        assert_eq!(how, ["done", "no invitation"]);
    }

    async fn a_second_invitation_makes_the_first_void_and_members_are_not_invited(database: Database) {
        let world = World::new(database).await;
        let first = invite(&world, &world.host(), "bob@example.com", Role::Admin).await;
        let second = invite(&world, &world.host(), "BOB@example.com", Role::Member).await;
        assert_eq!(accept(&world, &first, PASSWORD).await, "no invitation");
        let joined = world.engine.accept_invitation(&second, PASSWORD, None).await.unwrap();
        assert_eq!(joined.role, Role::Member);
        let again = person("bob@example.com", Role::Admin, None);
        assert_eq!(code(world.engine.add_member(&world.host(), again).await), "already_member");
        for bad in ["", "bob", "bob@", "@example.com", "a b@example.com"] {
            assert_eq!(code(world.engine.add_member(&world.host(), person(bad, Role::Member, None)).await), "email");
        }
    }

    async fn the_keys_of_a_member_who_is_removed_go_on_and_forget_who_made_them(database: Database) {
        let world = World::new(database).await;
        let bob = member(&world, "bob@example.com", Role::Admin).await;
        let (ctx, _) = world.signed_in("bob@example.com", PASSWORD).await;
        let cookie = world.engine.sign_in("bob@example.com", PASSWORD, (None, None)).await.unwrap().token;
        let made = world.engine.create_key(&ctx, named("bob's")).await.unwrap();
        let text = made.secret.unwrap().expose().to_owned();
        assert_eq!(made.key.key.created_by, Some(bob.user));
        world.engine.remove_member(&world.host(), bob.user).await.unwrap();
        let after = world.engine.get_key(&world.host(), made.key.key.id).await.unwrap().key;
        assert_eq!(after.created_by, None);
        assert!(world.passes(&text).await);
        assert_eq!(role_of(&world, bob.user).await, None);
        // They belong to nothing any more: nor does their session.
        assert!(world.engine.person(cookie.expose(), Some(world.organization)).await.unwrap().is_none());
        assert_eq!(code(world.engine.remove_member(&world.host(), bob.user).await), "no member");
    }

    async fn a_session_passes_by_membership_and_role(database: Database) {
        let world = World::new(database).await;
        member(&world, "bob@example.com", Role::Member).await;
        let sessions = |guard: keyrack_core::Guard| keyrack_core::Guard { sessions: true, ..guard };
        for (email, scope, reason) in [
            (OWNER, "keyrack.members:admin", None),
            (OWNER, "a:admin", None),
            ("bob@example.com", "a:write", None),
            ("bob@example.com", "a:admin", Some(Reason::InsufficientScope)),
            ("bob@example.com", "keyrack.keys:read", Some(Reason::InsufficientScope)),
        ] {
            let (_, person) = world.signed_in(email, PASSWORD).await;
            let presented = keyrack_engine::Presented { session: Some(person), ..crate::support::presented("junk") };
            let verdict = world.engine.verify(&sessions(world.scope(scope)), &presented).await.unwrap();
            assert_eq!(verdict.reason(), reason, "{email} {scope}");
            assert!(
                !world.engine.verify(&world.scope(scope), &presented).await.unwrap().is_grant(),
                "not at a door for keys"
            );
        }
    }

    async fn wrong_passwords_and_unknown_people_are_told_alike(database: Database) {
        let world = World::new(database).await;
        for (email, password) in
            [(OWNER, OTHER_PASSWORD), ("nobody@example.com", PASSWORD), ("no address", PASSWORD), (OWNER, "")]
        {
            let refused = world.engine.sign_in(email, password, (None, None)).await;
            assert!(matches!(refused, Err(Error::Unauthorized)), "{email}");
        }
        assert!(world.engine.sign_in(" ADA@example.com", PASSWORD, (None, None)).await.is_ok());
    }

    async fn a_session_lives_twelve_hours_or_to_the_sign_out(database: Database) {
        let world = World::new(database).await;
        let signed_in = world.engine.sign_in(OWNER, PASSWORD, (None, None)).await.unwrap();
        let cookie = signed_in.token.expose();
        let is_live = async || world.engine.person(cookie, None).await.unwrap().is_some();
        assert_eq!(signed_in.expires_at, world.later(SESSION_LENGTH.as_secs()));
        world.clock.advance(SESSION_LENGTH.as_secs() - 1);
        assert!(is_live().await);
        world.clock.advance(1);
        assert!(!is_live().await);

        let other = world.engine.sign_in(OWNER, PASSWORD, (None, None)).await.unwrap();
        let person = world.engine.person(other.token.expose(), None).await.unwrap().unwrap();
        assert_eq!(person.organization, world.organization, "the only one need not be named");
        world.engine.sign_out(&person).await.unwrap();
        assert!(world.engine.person(other.token.expose(), None).await.unwrap().is_none());
        let head = world.head().await;
        world.engine.sign_out(&person).await.unwrap();
        assert_eq!(world.head().await, head, "out is out");
        assert!(world.engine.person("junk", None).await.unwrap().is_none());
    }

    async fn members_are_listed_in_pages(database: Database) {
        let world = World::new(database).await;
        let store = world.store().await;
        let mut writer = store.write(&[world.organization]).await.unwrap();
        for n in 1..8_u128 {
            let user = UserAccount {
                id: UserId(uuid::Uuid::from_u128(u128::MAX - 8 + n)),
                email: format!("u{n}@example.com"),
                name: format!("u{n}"),
                password_hash: None,
                is_instance_admin: false,
                created_at: world.now(),
                updated_at: world.now(),
            };
            writer.insert_user(&user).await.unwrap();
            writer.insert_member(world.organization, user.id, Role::Member, world.now()).await.unwrap();
        }
        writer.commit_quota(None).await.unwrap();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = world.engine.list_members(&world.host(), after, 3).await.unwrap();
            seen.extend(page.data.iter().map(|m| m.email.clone()));
            let Some(cursor) = page.next_cursor else { break };
            after = Some(cursor.parse().unwrap());
        }
        let wanted: Vec<_> =
            std::iter::once(OWNER.to_owned()).chain((1..8).map(|n| format!("u{n}@example.com"))).collect();
        assert_eq!(seen, wanted);
    }

    async fn who_acts_for_whom_stands_in_the_audit(database: Database) {
        let world = World::new(database).await;
        let new = NewKey {
            group: Some("management".to_owned()),
            scopes: Some(texts(&["*:admin", "keyrack.*:admin"])),
            ..named("robot")
        };
        let (robot, text) = world.key(new).await;
        let request = Uuid::from_u128(9);
        let key = Context { request_id: Some(request), ..world.acting(&text).await };
        let (owner, _) = world.signed_in(OWNER, PASSWORD).await;
        world.engine.create_key(&key, named("by the robot")).await.unwrap();
        world.engine.create_key(&owner, named("by ada")).await.unwrap();
        world.engine.delete_key(&world.host(), robot.key.id).await.unwrap();
        let kind = AuditFilter { kind: Some("key.created".to_owned()), ..AuditFilter::default() };
        let told = world.engine.list_audit(&world.host(), &kind, 2).await.unwrap().data;
        let told: Vec<_> =
            told.iter().map(|e| (e.actor_kind.as_str(), &*e.actor_name, e.actor_id, e.request_id.as_deref())).collect();
        let request = request.to_string();
        let robot = ("api_key", "robot", Some(robot.key.id.0), Some(&*request));
        assert_eq!(told, [("user", OWNER, Some(world.owner.0), None), robot]);
    }
}
