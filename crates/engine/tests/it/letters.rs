//! What people get by mail: who gets what, at least once, and nobody else can read it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use keyrack_core::Role;
use keyrack_engine::{Engine, EngineRole, Invited, Letter, MailError, Mailer, NewMember, Post};
use keyrack_testkit::{Database, both_databases};

use crate::support::{OWNER, PASSWORD, World, named};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// Takes letters as a mail server would, or refuses them.
#[derive(Default)]
struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    is_down: AtomicBool,
}

impl Mailer for Mailbox {
    fn send(&self, letter: Letter) -> Pin<Box<dyn Future<Output = Result<(), MailError>> + Send + '_>> {
        Box::pin(async move {
            if self.is_down.load(Ordering::SeqCst) {
                return Err(MailError("nobody is there".to_owned()));
            }
            self.letters.lock().unwrap().push(letter);
            Ok(())
        })
    }
}

impl Mailbox {
    fn post(self: &Arc<Self>) -> Post {
        Post { mailer: Some(Arc::clone(self) as Arc<dyn Mailer>), console: "https://keys.example.com".to_owned() }
    }

    /// What has come, as addresses and subjects, in the order of both.
    fn take(&self) -> Vec<(String, String)> {
        let letters = std::mem::take(&mut *self.letters.lock().unwrap());
        let mut taken: Vec<_> = letters.into_iter().map(|letter| (letter.to, letter.subject)).collect();
        taken.sort();
        taken
    }
}

async fn send(engine: &Engine, mailbox: &Arc<Mailbox>) -> Vec<(String, String)> {
    engine.send_letters_now(&mailbox.post()).await.unwrap();
    mailbox.take()
}

async fn add(world: &World, email: &str, role: Role) {
    let new = NewMember { email: email.to_owned(), role, password: Some(PASSWORD.to_owned()), name: None };
    assert!(matches!(world.engine.add_member(&world.host(), new).await.unwrap(), Invited::Member(_)));
}

/// Invites; the token.
async fn invite(world: &World, email: &str) -> String {
    let new = NewMember { email: email.to_owned(), role: Role::Admin, password: None, name: None };
    match world.engine.add_member(&world.host(), new).await.unwrap() {
        Invited::Invitation(_, token) => token.expose().to_owned(),
        Invited::Member(_) => panic!("without a password it is an invitation"),
    }
}

fn to(addresses: &[&str], subject: &str) -> Vec<(String, String)> {
    addresses.iter().map(|address| ((*address).to_owned(), subject.to_owned())).collect()
}

both_databases! {
    async fn owners_and_admins_are_written_to_and_what_comes_soon_after_goes_into_one_letter(database: Database) {
        let world = World::new(database).await;
        let (engine, mailbox) = (&world.engine, Arc::new(Mailbox::default()));
        add(&world, "bob@example.com", Role::Admin).await;
        add(&world, "eve@example.com", Role::Member).await;
        let both = [OWNER, "bob@example.com"];
        assert_eq!(send(engine, &mailbox).await.len(), 2, "of the first management key");
        world.clock.advance(5 * MINUTE);
        let new = keyrack_engine::NewKey { description: Some("for the form".to_owned()), ..named("website") };
        let (view, text) = world.key(new).await;
        engine.send_letters_now(&mailbox.post()).await.unwrap();
        let letters = mailbox.letters.lock().unwrap().clone();
        for letter in &letters {
            let last4 = &view.key.last4;
            assert_eq!(letter.subject, format!("acme: The key \"website\" (for the form) was made; it ends in {last4}"));
            assert!(letter.text.contains("https://keys.example.com/organizations/acme/notifications"), "{}", letter.text);
            assert!(!letter.text.contains(&text) && !letter.subject.contains(&text));
        }
        assert_eq!(mailbox.take().into_iter().map(|(to, _)| to).collect::<Vec<_>>(), both);

        for number in 0..60 {
            // They are listed by when they were made.
            world.clock.advance_micros(1000);
            world.plain_key(&format!("key {number}")).await;
        }
        assert_eq!(send(engine, &mailbox).await, [], "not so soon");
        world.clock.advance(5 * MINUTE);
        engine.send_letters_now(&mailbox.post()).await.unwrap();
        let text = mailbox.letters.lock().unwrap()[0].text.clone();
        assert!(text.contains("\"key 59\"") && !text.contains("\"key 5\"") && text.contains("... and 10 before these."));
        assert_eq!(mailbox.take(), to(&both, "acme: 60 notices"));
        world.clock.advance(HOUR);
        assert_eq!(send(engine, &mailbox).await, [], "once");
    }

    async fn an_invitation_goes_to_whom_it_invites_and_its_link_stands_nowhere_else(database: Database) {
        let world = World::new(database).await;
        let mailbox = Arc::new(Mailbox::default());
        let token = invite(&world, "bob@example.com").await;
        // Another process may send it.
        let another = world.another(EngineRole::Guest { keys: false }).await;
        another.send_letters_now(&mailbox.post()).await.unwrap();
        let letters = mailbox.letters.lock().unwrap().clone();
        let letter = letters.iter().find(|letter| letter.to == "bob@example.com").unwrap();
        assert_eq!(letter.subject, "host invites you to acme");
        assert!(letter.text.contains(&format!("https://keys.example.com/login/invitation?token={token}\n")), "{}", letter.text);
        assert!(letters.iter().all(|other| other.to == letter.to || !other.text.contains(&token)));
        assert!(world.engine.accept_invitation(&token, PASSWORD, None).await.is_ok());
        mailbox.take();
        assert_eq!(send(&world.engine, &mailbox).await, [], "once");
    }

    async fn what_cannot_be_sent_is_tried_again_and_after_three_days_given_up(database: Database) {
        let world = World::new(database).await;
        let (engine, mailbox) = (&world.engine, Arc::new(Mailbox::default()));
        send(engine, &mailbox).await;
        invite(&world, "bob@example.com").await;
        invite(&world, "eve@example.com").await;
        mailbox.is_down.store(true, Ordering::SeqCst);
        engine.send_letters_now(&mailbox.post()).await.unwrap();
        assert_eq!(engine.vitals().letters[1..], [2, 0]);
        mailbox.is_down.store(false, Ordering::SeqCst);
        assert_eq!(send(engine, &mailbox).await, [], "not at once");
        world.clock.advance(5);
        assert_eq!(send(engine, &mailbox).await.len(), 2);

        invite(&world, "kim@example.com").await;
        mailbox.is_down.store(true, Ordering::SeqCst);
        for _ in 0..3 * 24 {
            world.clock.advance(HOUR);
            engine.send_letters_now(&mailbox.post()).await.unwrap();
        }
        assert_eq!(engine.vitals().letters[2], 1);
        mailbox.is_down.store(false, Ordering::SeqCst);
        world.clock.advance(HOUR);
        let late = send(engine, &mailbox).await;
        assert!(late.iter().all(|(to, _)| to != "kim@example.com"), "{late:?}");
    }

    async fn of_processes_that_send_at_once_each_letter_is_sent_by_one_and_by_another_if_that_one_ends(database: Database) {
        /// Never comes to an end.
        struct Stuck;
        impl Mailer for Stuck {
            fn send(&self, _: Letter) -> Pin<Box<dyn Future<Output = Result<(), MailError>> + Send + '_>> {
                Box::pin(std::future::pending())
            }
        }
        let world = World::new(database).await;
        let mailbox = Arc::new(Mailbox::default());
        send(&world.engine, &mailbox).await;
        for number in 0..20 {
            invite(&world, &format!("user{number}@example.com")).await;
        }
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(world.another(EngineRole::Guest { keys: false }).await);
        }
        let sending = others.iter().map(|engine| {
            let (engine, post) = (Arc::clone(engine), mailbox.post());
            // Who meets another at a letter leaves the rest to it.
            tokio::spawn(async move { engine.send_letters_now(&post).await })
        });
        for sent in sending.collect::<Vec<_>>() {
            sent.await.unwrap().unwrap();
        }
        let sent = mailbox.take();
        let mut once = sent.clone();
        once.dedup();
        assert_eq!((sent.len(), once.len()), (20, 20));

        invite(&world, "last@example.com").await;
        let stuck = Post { mailer: Some(Arc::new(Stuck)), console: String::new() };
        let store = world.store().await;
        let taken = async {
            while store.read().await.unwrap().is_letter_due(world.now()).await.unwrap() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = others[0].send_letters_now(&stuck) => panic!("it never ends"),
            () = taken => {}
        }
        assert_eq!(send(&world.engine, &mailbox).await, [], "somebody has it");
        world.clock.advance(2 * MINUTE);
        assert_eq!(send(&world.engine, &mailbox).await.len(), 1);
    }

    async fn where_nobody_is_to_send_letters_none_waits_for_later(database: Database) {
        let world = World::new(database).await;
        invite(&world, "bob@example.com").await;
        world.engine.send_letters_now(&Post { mailer: None, console: String::new() }).await.unwrap();
        assert_eq!(send(&world.engine, &Arc::new(Mailbox::default())).await, []);
    }
}
