//! People's own accounts: the password again, second factors, sessions, and the way back in for who is locked out.

use data_encoding::BASE32_NOPAD;
use keyrack_core::{Role, totp};
use keyrack_engine::{NewMember, Person, STEP_UP_LENGTH, SettingsPatch, Unmet};
use keyrack_testkit::{Database, both_databases};

use crate::support::{OWNER, PASSWORD, World, code};

const OTHER_PASSWORD: &str = "quite another password";
const NOBODY: (Option<String>, Option<String>) = (None, None);

impl World {
    async fn is_live(&self, cookie: &str) -> bool {
        self.engine.person(cookie, None).await.unwrap().is_some()
    }

    /// What a device shows that has this secret, in base32.
    fn shown_by_device(&self, secret: &str) -> String {
        let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
        totp::code(&secret, self.now().as_second() / totp::PERIOD)
    }

    /// Gives a person a second factor. Its secret, and the recovery codes.
    async fn protect(&self, person: &Person) -> (String, Vec<String>) {
        let secret = self.engine.begin_second_factor(person).await.unwrap().secret.to_string();
        let codes = self.engine.confirm_second_factor(person, &self.shown_by_device(&secret)).await.unwrap();
        (secret, codes.expose().map(str::to_owned).collect())
    }

    async fn events_of(&self, kind: &str) -> usize {
        let store = self.store().await;
        let events = store.read().await.unwrap().events_after(0, 1000).await.unwrap();
        events.iter().filter(|event| event.kind == kind).count()
    }
}

both_databases! {
    async fn the_password_again_counts_for_ten_minutes_and_changes_the_cookie(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let signed_in = engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap();
        let (_, person) = world.behind(signed_in.token.expose()).await;
        assert!(!person.has_stepped_up);
        assert_eq!(code(engine.step_up(&person, OTHER_PASSWORD, None).await), "unauthorized");
        let again = engine.step_up(&person, PASSWORD, None).await.unwrap();
        assert!(!world.is_live(signed_in.token.expose()).await, "the cookie before is void");
        assert_eq!(again.expires_at, signed_in.expires_at, "it does not live longer for it");
        let (_, person) = world.behind(again.token.expose()).await;
        assert!(person.has_stepped_up);
        world.clock.advance(STEP_UP_LENGTH.as_secs() - 1);
        assert!(world.behind(again.token.expose()).await.1.has_stepped_up);
        world.clock.advance(1);
        assert!(!world.behind(again.token.expose()).await.1.has_stepped_up);
    }

    async fn owners_are_made_and_removed_with_the_password_again(database: Database) {
        let world = World::new(database).await;
        let (owner, person) = world.signed_in(OWNER, PASSWORD).await;
        let invite = |role| keyrack_engine::NewMember { email: "bob@example.com".to_owned(), role, password: None, name: None };
        let engine = &world.engine;
        assert_eq!(code(engine.add_member(&owner, invite(keyrack_core::Role::Owner)).await), "step_up_required");
        assert_eq!(code(engine.change_role(&owner, person.user, keyrack_core::Role::Admin).await), "step_up_required");
        assert_eq!(code(engine.remove_member(&owner, person.user).await), "step_up_required");
        assert_eq!(code(engine.add_member(&owner, invite(keyrack_core::Role::Admin)).await), "done");
        let (owner, _) = world.stepped_up(OWNER, PASSWORD).await;
        assert_eq!(code(engine.add_member(&owner, invite(keyrack_core::Role::Owner)).await), "done");
    }

    async fn with_a_second_factor_a_password_lets_nobody_in(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let (_, person) = world.stepped_up(OWNER, PASSWORD).await;
        let (secret, _) = world.protect(&person).await;
        world.clock.advance(30);

        let first = engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap();
        assert!(first.awaits_second_factor && !world.is_live(first.token.expose()).await);
        for wrong in ["", "000000", "abc", &secret] {
            let refused = engine.enter_second_factor(first.token.expose(), wrong, NOBODY).await;
            assert_eq!(code(refused), "unauthorized", "{wrong}");
        }
        let shown = world.shown_by_device(&secret);
        let spaced = format!(" {} {}", &shown[..3], &shown[3..]);
        let second = engine.enter_second_factor(first.token.expose(), &spaced, NOBODY).await.unwrap();
        assert!(!second.awaits_second_factor && world.is_live(second.token.expose()).await);
        assert_ne!(first.token.expose(), second.token.expose());

        // The same code is not taken twice, nor is the half session.
        assert_eq!(code(engine.enter_second_factor(first.token.expose(), &shown, NOBODY).await), "unauthorized");
        let another = engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap();
        assert_eq!(code(engine.enter_second_factor(another.token.expose(), &shown, NOBODY).await), "unauthorized");
        // Half a session is over soon.
        world.clock.advance(5 * 60);
        let shown = world.shown_by_device(&secret);
        assert_eq!(code(engine.enter_second_factor(another.token.expose(), &shown, NOBODY).await), "unauthorized");

        // The password again needs a code too.
        let (_, person) = world.behind(second.token.expose()).await;
        assert_eq!(code(engine.step_up(&person, PASSWORD, None).await), "unauthorized");
        let again = engine.step_up(&person, PASSWORD, Some(&shown)).await.unwrap();
        let (_, person) = world.behind(again.token.expose()).await;
        assert_eq!(code(engine.begin_second_factor(&person).await), "second_factor_exists");
        engine.remove_second_factor(&person).await.unwrap();
        assert!(!engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap().awaits_second_factor);
    }

    async fn a_recovery_code_is_good_once(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let (_, person) = world.stepped_up(OWNER, PASSWORD).await;
        let (_, codes) = world.protect(&person).await;
        assert_eq!(codes.len(), 10);
        let enter = async |code: &str| {
            let first = engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap();
            engine.enter_second_factor(first.token.expose(), code, NOBODY).await.is_ok()
        };
        for is_good in [true, false] {
            assert_eq!(enter(&codes[0]).await, is_good);
        }
        assert!(enter(&codes[1].to_uppercase().replace('-', "  ")).await, "however it is typed");
        let left = engine.protection(&person).await.unwrap();
        assert_eq!((left.has_second_factor, left.recovery_codes_left), (true, 8));
        let renewed = engine.renew_recovery_codes(&person).await.unwrap();
        assert!(!enter(&codes[2]).await, "those before are void");
        assert!(enter(renewed.expose().next().unwrap()).await);
    }

    async fn an_organization_may_ask_for_a_second_factor_and_for_young_sessions(database: Database) {
        const HOUR: i64 = 60 * 60;
        let world = World::new(database).await;
        let engine = &world.engine;
        let factor = || SettingsPatch { second_factor: Some(true), ..SettingsPatch::default() };
        let hours = |hours| SettingsPatch { session_hours: Some(hours), ..SettingsPatch::default() };
        let (owner, person) = world.stepped_up(OWNER, PASSWORD).await;
        assert_eq!(code(engine.update_settings(&owner, factor()).await), "no_second_factor");
        world.protect(&person).await;
        let (email, role, password) = ("bob@example.com".to_owned(), Role::Admin, Some(PASSWORD.to_owned()));
        engine.add_member(&world.host(), NewMember { email, role, password, name: None }).await.unwrap();
        let bob = engine.sign_in("bob@example.com", PASSWORD, NOBODY).await.unwrap();
        let (in_time, person) = world.behind(bob.token.expose()).await;
        assert_eq!((person.role, person.unmet), (Some(Role::Admin), None));

        assert_eq!(code(engine.update_settings(&owner, factor()).await), "done");
        let (_, person) = world.behind(bob.token.expose()).await;
        assert_eq!((person.role, person.unmet), (None, Some(Unmet::SecondFactor)));
        assert_eq!(code(engine.set_access_groups(&in_time, &[]).await), "unauthorized", "who was let in before, too");
        let again = engine.step_up(&person, PASSWORD, None).await.unwrap();
        world.protect(&world.behind(again.token.expose()).await.1).await;
        let (bob, person) = world.behind(again.token.expose()).await;
        assert_eq!((person.role, person.unmet), (Some(Role::Admin), None));

        for wrong in [0, -1, 13, i64::MAX] {
            assert_eq!(code(engine.update_settings(&bob, hours(Some(wrong))).await), "session_hours");
        }
        assert_eq!(code(engine.update_settings(&bob, hours(Some(2))).await), "done");
        assert!(engine.sign_in_rules(&bob).unwrap().second_factor, "one rule leaves the other");
        world.clock.advance(2 * HOUR - 1);
        assert_eq!(world.behind(again.token.expose()).await.1.unmet, None);
        world.clock.advance(1);
        let (_, person) = world.behind(again.token.expose()).await;
        assert_eq!((person.role, person.unmet), (None, Some(Unmet::SignInAgain)));
        assert_eq!(code(engine.update_settings(&world.host(), hours(None)).await), "done");
        assert_eq!(world.behind(again.token.expose()).await.1.unmet, None);
    }

    async fn a_second_factor_counts_once_a_code_of_it_was_given(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let (_, plain) = world.signed_in(OWNER, PASSWORD).await;
        assert_eq!(code(engine.begin_second_factor(&plain).await), "step_up_required");
        let (_, person) = world.stepped_up(OWNER, PASSWORD).await;
        let first = engine.begin_second_factor(&person).await.unwrap();
        let second = engine.begin_second_factor(&person).await.unwrap();
        assert_ne!(*first.secret, *second.secret);
        assert!(second.uri.starts_with("otpauth://totp/Keyrack:") && second.uri.contains(second.secret.as_str()));
        assert!(!engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap().awaits_second_factor);
        let of_first = world.shown_by_device(&first.secret);
        assert_eq!(code(engine.confirm_second_factor(&person, &of_first).await), "code");
        let of_second = world.shown_by_device(&second.secret);
        assert_eq!(code(engine.confirm_second_factor(&person, &of_second).await), "done");
        assert!(code(engine.confirm_second_factor(&person, &of_second).await).starts_with("no second factor"));
    }

    async fn another_password_ends_every_session(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let other = engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap();
        let own = engine.sign_in(OWNER, PASSWORD, NOBODY).await.unwrap();
        let (_, person) = world.behind(own.token.expose()).await;
        assert_eq!(code(engine.change_password(&person, OTHER_PASSWORD, OTHER_PASSWORD).await), "unauthorized");
        assert_eq!(code(engine.change_password(&person, PASSWORD, "short").await), "new_password");
        let changed = engine.change_password(&person, PASSWORD, OTHER_PASSWORD).await.unwrap();
        for (cookie, is_live) in [(&other, false), (&own, false), (&changed, true)] {
            assert_eq!(world.is_live(cookie.token.expose()).await, is_live);
        }
        assert_eq!(code(engine.sign_in(OWNER, PASSWORD, NOBODY).await), "unauthorized");
        assert_eq!(code(engine.sign_in(OWNER, OTHER_PASSWORD, NOBODY).await), "done");
    }

    async fn people_see_and_end_their_own_sessions_only(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let client = (Some("2001:db8::1".to_owned()), Some("a browser".to_owned()));
        let far = engine.sign_in(OWNER, PASSWORD, client.clone()).await.unwrap();
        let (_, owner) = world.signed_in(OWNER, PASSWORD).await;
        let listed = engine.list_sessions(&owner).await.unwrap();
        assert_eq!(listed.len(), 2);
        let other = listed.iter().find(|session| session.id != owner.session).unwrap();
        assert_eq!((other.address.clone(), other.user_agent.clone()), client);

        let new = keyrack_engine::NewMember {
            email: "bob@example.com".to_owned(),
            role: keyrack_core::Role::Admin,
            password: Some(PASSWORD.to_owned()),
            name: None,
        };
        engine.add_member(&world.host(), new).await.unwrap();
        let (_, bob) = world.signed_in("bob@example.com", PASSWORD).await;
        assert_eq!(code(engine.end_session(&bob, other.id).await), "no session");
        engine.end_session(&owner, other.id).await.unwrap();
        assert!(!world.is_live(far.token.expose()).await);
        assert_eq!(engine.list_sessions(&owner).await.unwrap().len(), 1);
        assert_eq!(engine.rename_user(&owner, " Ada  ").await.unwrap().name, "Ada");
        assert_eq!(code(engine.rename_user(&owner, "a\u{202e}b").await), "name");
    }

    async fn the_host_lets_in_again_who_is_locked_out(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let (_, person) = world.stepped_up(OWNER, PASSWORD).await;
        world.protect(&person).await;
        assert_eq!(code(engine.recover_user("nobody@example.com", OTHER_PASSWORD).await), "no user");
        engine.recover_user(&OWNER.to_uppercase(), OTHER_PASSWORD).await.unwrap();
        assert!(engine.list_sessions(&person).await.unwrap().is_empty(), "all sessions have ended");
        assert!(!engine.sign_in(OWNER, OTHER_PASSWORD, NOBODY).await.unwrap().awaits_second_factor);
        assert_eq!(world.events_of("user.recovered").await, 1);
    }
}
