//! Another pepper is put into use while keys are used: none of them is refused for it, those that are used move, and the older one goes
//! when no key needs it.

use std::path::PathBuf;
use std::sync::Arc;

use keyrack_core::carrier::Carried;
use keyrack_core::guard::Audience;
use keyrack_core::{Guard, KeyId, OrganizationId, Pepper, TextHash};
use keyrack_engine::{
    Context, Engine, EngineRole, Error, HashProfile, Keyfile, NewGroup, NewInstance, NewKey, OsRandom, Parts,
    Presented, Store,
};
use keyrack_testkit::{Database, both_databases};
use tempfile::TempDir;

use crate::following::{Serving, until};
use crate::support::{IsGrant as _, OWNER, PASSWORD, TestClock, code, named, presented, shown};

struct World {
    url: String,
    clock: Arc<TestClock>,
    engine: Arc<Engine>,
    organization: OrganizationId,
    directory: TempDir,
}

async fn start(
    url: &str,
    clock: &Arc<TestClock>,
    keyfile: PathBuf,
    role: EngineRole,
) -> keyrack_engine::Result<Arc<Engine>> {
    let store = Store::open(url, keyrack_engine::Clock::now(&**clock)).await?;
    let read = Keyfile::load(&keyfile).unwrap().unwrap();
    let (peppers, master_keys) = (read.peppers(), read.master_keys());
    let (random, clock, keyfile) = (Arc::new(OsRandom::default()), clock.clone(), Some(keyfile));
    let parts = Parts { store, clock, random, peppers, master_keys, keyfile, master_key_days: None };
    Engine::start(parts, role).await
}

impl World {
    async fn new(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        Keyfile::create(&directory.path().join("keys"), &OsRandom::default()).unwrap();
        let clock = TestClock::new();
        let engine = start(&url, &clock, directory.path().join("keys"), EngineRole::Server).await.unwrap();
        let new = NewInstance {
            slug: "acme".to_owned(),
            name: None,
            tier: Some(keyrack_core::Tier::Enterprise),
            owner_email: OWNER.to_owned(),
            owner_password: PASSWORD.to_owned(),
            with_management_key: false,
        };
        let organization = engine.initialize(new).await.unwrap().unwrap().organization;
        Self { url, clock, engine, organization, directory }
    }

    fn keyfile(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    async fn another(&self, role: EngineRole) -> Arc<Engine> {
        start(&self.url, &self.clock, self.keyfile(), role).await.unwrap()
    }

    fn host(&self) -> Context {
        Context::host(self.organization)
    }

    async fn key(&self, engine: &Engine, new: NewKey) -> (KeyId, String) {
        let (view, text) = shown(engine.create_key(&self.host(), new).await.unwrap());
        (view.key.id, text)
    }

    fn peppers(&self) -> Vec<Pepper> {
        Keyfile::load(&self.keyfile()).unwrap().unwrap().peppers()
    }

    fn numbers(&self) -> Vec<i64> {
        self.peppers().iter().map(Pepper::id).collect()
    }

    async fn passes(&self, engine: &Engine, text: &str) -> bool {
        self.lets_in(engine, &presented(text)).await
    }

    async fn token_passes(&self, engine: &Engine, token: &str) -> bool {
        self.lets_in(engine, &Presented { credential: Carried::Token(token.into()), ..presented("") }).await
    }

    async fn lets_in(&self, engine: &Engine, presented: &Presented<'_>) -> bool {
        let guard = Guard::new(Audience::Own(self.organization));
        engine.verify(&guard, presented).await.unwrap().is_grant()
    }

    /// Under which pepper the row of a key has its digest.
    async fn under(&self, key: KeyId, text: &str) -> i64 {
        let store = Store::open(&self.url, keyrack_engine::Clock::now(&*self.clock)).await.unwrap();
        let rows = store.read().await.unwrap().verifications_of(&[key]).await.unwrap();
        let is_it = |pepper: &&Pepper| pepper.digest(&TextHash::of(text)).as_bytes()[..8] == rows[0].digest[..8];
        self.peppers().iter().find(is_it).unwrap().id()
    }
}

both_databases! {
    async fn keys_move_as_they_are_used_and_the_older_pepper_goes_with_the_last(database: Database) {
        let world = World::new(database).await;
        let engine = &world.engine;
        let serving = Serving::of(engine).await;
        let slow = NewGroup { name: "slow".to_owned(), hash_profile: Some(HashProfile::Bcrypt), ..NewGroup::default() };
        engine.create_group(&world.host(), slow).await.unwrap();
        let of_slow = NewKey { group: Some("slow".to_owned()), ..named("slow") };
        let keys = [world.key(engine, named("one")).await, world.key(engine, named("two")).await, world.key(engine, of_slow).await];
        let guard = Guard::new(Audience::Own(world.organization));
        let known = engine.verify(&guard, &presented(&keys[0].1)).await.unwrap().into_key().unwrap();
        let token = engine.make_token(&known, None, None).unwrap().text;

        let guest = world.another(EngineRole::Guest { keys: false }).await;
        assert_eq!(guest.rotate_pepper().await.unwrap(), 2);
        assert_eq!(world.numbers(), [1, 2]);
        let new = world.key(engine, named("new")).await;
        assert_eq!(world.under(new.0, &new.1).await, 2, "new keys are made under the new one");
        for (id, text) in &keys {
            assert_eq!(world.under(*id, text).await, 1);
            assert!(world.passes(engine, text).await);
            until(|| async { world.under(*id, text).await == 2 }).await;
            assert!(world.passes(engine, text).await);
        }
        assert!(world.token_passes(engine, &token).await, "a token knows the place of before");
        // Not in the memory of this process alone.
        let later = world.another(EngineRole::Guest { keys: true }).await;
        for text in [&keys[0].1, &keys[1].1, &keys[2].1, &new.1] {
            assert!(world.passes(&later, text).await);
        }
        assert!(world.token_passes(&later, &token).await);
        assert_eq!(engine.pepper_state().await.unwrap().older, [(1, 0)]);
        engine.tend_peppers().await.unwrap();
        assert_eq!(world.numbers(), [1, 2], "somebody may still make a key under it");
        world.clock.advance(120);
        engine.tend_peppers().await.unwrap();
        assert_eq!(world.numbers(), [2]);
        // What is revoked or deleted after it has moved is so at once, and for tokens too.
        engine.revoke_key(&world.host(), keys[0].0, None).await.unwrap();
        engine.delete_key(&world.host(), keys[1].0).await.unwrap();
        for text in [&keys[0].1, &keys[1].1] {
            assert!(!world.passes(engine, text).await);
        }
        assert!(!world.token_passes(engine, &token).await);
        assert!(world.passes(engine, &keys[2].1).await && world.passes(engine, &new.1).await);
        serving.stop().await;
        let again = world.another(EngineRole::Guest { keys: true }).await;
        assert!(world.passes(&again, &keys[2].1).await && !world.passes(&again, &keys[0].1).await);
    }

    async fn a_token_finds_its_key_wherever_it_has_gone_since(database: Database) {
        let world = World::new(database).await;
        let serving = Serving::of(&world.engine).await;
        let (id, text) = world.key(&world.engine, named("restless")).await;
        let guard = Guard::new(Audience::Own(world.organization));
        let known = world.engine.verify(&guard, &presented(&text)).await.unwrap().into_key().unwrap();
        let token = world.engine.make_token(&known, None, None).unwrap().text;
        for pepper in 2..5 {
            assert_eq!(world.engine.rotate_pepper().await.unwrap(), pepper);
            assert!(world.passes(&world.engine, &text).await);
            until(|| async { world.under(id, &text).await == pepper }).await;
            assert!(world.token_passes(&world.engine, &token).await);
        }
        serving.stop().await;
        let again = world.another(EngineRole::Guest { keys: true }).await;
        assert!(world.token_passes(&again, &token).await && world.passes(&again, &text).await);
    }

    async fn a_pepper_that_a_key_needs_stays_until_that_is_revoked(database: Database) {
        let world = World::new(database).await;
        let (id, text) = world.key(&world.engine, named("left behind")).await;
        world.engine.rotate_pepper().await.unwrap();
        let revoking = world.engine.revoke_unused_since_pepper(|_| panic!("nobody is to be revoked yet")).await;
        assert_eq!([code(revoking), code(world.engine.retire_peppers().await)], ["pepper_settling", "pepper_settling"]);
        world.clock.advance(120);
        let Err(Error::Conflict { code, details, .. }) = world.engine.retire_peppers().await else { panic!("it is needed") };
        assert_eq!((code, details), ("pepper_needed", vec![format!("left behind ({id})")]));
        assert_eq!(world.numbers(), [1, 2]);
        assert!(world.passes(&world.engine, &text).await);
        let mut revoked = Vec::new();
        world.engine.revoke_unused_since_pepper(|key| revoked.push(key.key)).await.unwrap();
        assert_eq!(revoked, [id]);
        assert_eq!(world.engine.retire_peppers().await.unwrap(), [1]);
        assert_eq!(world.numbers(), [2]);
        assert!(!world.passes(&world.engine, &text).await);
        assert!(world.engine.retire_peppers().await.unwrap().is_empty(), "and there is nothing more to do");
        // The next one has another number.
        assert_eq!(world.engine.rotate_pepper().await.unwrap(), 3);
        let (_, newer) = world.key(&world.engine, named("newer")).await;
        assert!(world.passes(&*world.another(EngineRole::Guest { keys: true }).await, &newer).await);
    }

    async fn a_pepper_that_was_made_and_not_put_into_use_is_taken_by_the_next_rotation(database: Database) {
        let world = World::new(database).await;
        Keyfile::add_pepper(&world.keyfile(), &OsRandom::default()).unwrap();
        let waiting = world.another(EngineRole::Guest { keys: true }).await;
        let (id, text) = world.key(&waiting, named("before")).await;
        assert_eq!(world.under(id, &text).await, 1, "that it is in the file puts it into no use");
        // A file without it still serves.
        Keyfile::remove_peppers(&world.keyfile(), &[2]).unwrap();
        world.another(EngineRole::Guest { keys: true }).await;
        Keyfile::add_pepper(&world.keyfile(), &OsRandom::default()).unwrap();
        assert_eq!(world.engine.rotate_pepper().await.unwrap(), 2);
        assert_eq!(world.numbers(), [1, 2]);
        // From now on it is needed.
        let lacking = world.directory.path().join("lacking");
        std::fs::copy(world.keyfile(), &lacking).unwrap();
        Keyfile::remove_peppers(&lacking, &[2]).unwrap();
        let refused = start(&world.url, &world.clock, lacking, EngineRole::Guest { keys: true }).await;
        assert!(matches!(&refused, Err(Error::Refused(text)) if text.contains("pepper 2")), "{:?}", refused.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_key_file_lacks_the_new_pepper_is_named_and_keys_move_for_all_machines() {
    if !Database::Postgres.is_available() {
        return;
    }
    let world = World::new(Database::Postgres).await;
    let (id, text) = world.key(&world.engine, named("known to both")).await;
    let copy = world.directory.path().join("copy");
    std::fs::copy(world.keyfile(), &copy).unwrap();
    let other = start(&world.url, &world.clock, copy.clone(), EngineRole::Server).await.unwrap();
    let serving = [Serving::of(&world.engine).await, Serving::of(&other).await];
    assert_eq!(code(world.engine.rotate_pepper().await), "key_file_differs");
    // One of that number is not yet the one.
    Keyfile::add_pepper(&copy, &OsRandom::default()).unwrap();
    assert_eq!(code(world.engine.rotate_pepper().await), "key_file_differs");
    assert_eq!((world.numbers(), world.engine.pepper_state().await.unwrap().in_use), (vec![1, 2], 1));

    std::fs::copy(world.keyfile(), &copy).unwrap();
    assert_eq!(world.engine.rotate_pepper().await.unwrap(), 2);
    assert_eq!(other.pepper_state().await.unwrap().in_use, 2, "it is so everywhere before it is answered");
    // Used at one of them, it has moved for both.
    assert!(world.passes(&other, &text).await);
    until(|| async { world.under(id, &text).await == 2 }).await;
    let (_, new) = world.key(&other, named("made by the other")).await;
    for engine in [&world.engine, &other] {
        assert!(world.passes(engine, &text).await && world.passes(engine, &new).await);
    }
    // Each takes the old one out of its own file.
    world.clock.advance(120);
    for engine in [&world.engine, &other] {
        engine.tend_peppers().await.unwrap();
    }
    let left = Keyfile::load(&copy).unwrap().unwrap().peppers();
    assert_eq!((world.numbers(), left.len(), left[0].id()), (vec![2], 1, 2));
    for engine in [&world.engine, &other] {
        assert!(world.passes(engine, &text).await && world.passes(engine, &new).await);
    }
    for serving in serving {
        serving.stop().await;
    }
}
