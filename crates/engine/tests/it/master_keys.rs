//! The master key is changed while secrets are used: broken off anywhere it goes on, and nothing is left under the old one.

use std::path::PathBuf;
use std::sync::Arc;

use keyrack_core::secret::Seeker;
use keyrack_engine::{
    Context, Engine, EngineRole, Keyfile, NewGroup, NewKey, NewOrganization, NewSecret, OsRandom, Parts, Store,
};
use keyrack_testkit::{Database, both_databases};
use tempfile::TempDir;

use crate::following::Serving;
use crate::support::{OWNER, PASSWORD, TestClock, code};

struct World {
    url: String,
    clock: Arc<TestClock>,
    engine: Arc<Engine>,
    directory: TempDir,
}

impl World {
    async fn new(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        Keyfile::create(&directory.path().join("keys"), &OsRandom::default()).unwrap();
        let clock = TestClock::new();
        let engine = start(&url, &clock, directory.path().join("keys"), EngineRole::Server).await;
        let new = keyrack_engine::NewInstance {
            slug: "acme".to_owned(),
            name: None,
            tier: None,
            owner_email: OWNER.to_owned(),
            owner_password: PASSWORD.to_owned(),
            with_management_key: false,
        };
        engine.initialize(new).await.unwrap().unwrap();
        Self { url, clock, engine, directory }
    }

    fn keyfile(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    async fn another(&self, role: EngineRole) -> Arc<Engine> {
        start(&self.url, &self.clock, self.keyfile(), role).await
    }

    async fn organization(&self, slug: &str) -> Context {
        let acme = self.engine.default_organization().await.unwrap().unwrap();
        if slug == "acme" {
            return Context::host(acme);
        }
        let new =
            NewOrganization { slug: slug.to_owned(), name: None, tier: None, owner_email: Some(OWNER.to_owned()) };
        Context::host(self.engine.create_organization(&Context::host(acme), new).await.unwrap().id)
    }

    /// The numbers of the master keys in the file.
    fn master_keys(&self) -> Vec<i64> {
        let keyfile = Keyfile::load(&self.keyfile()).unwrap().unwrap();
        keyfile.master_keys().iter().map(keyrack_core::token::MasterKey::id).collect()
    }
}

async fn start(url: &str, clock: &Arc<TestClock>, keyfile: PathBuf, role: EngineRole) -> Arc<Engine> {
    let store = Store::open(url, keyrack_engine::Clock::now(&**clock)).await.unwrap();
    let read = Keyfile::load(&keyfile).unwrap().unwrap();
    let (peppers, master_keys) = (read.peppers(), read.master_keys());
    let (random, clock, keyfile) = (Arc::new(OsRandom::default()), clock.clone(), Some(keyfile));
    let parts = Parts { store, clock, random, peppers, master_keys, keyfile, master_key_days: Some(90) };
    Engine::start(parts, role).await.unwrap()
}

async fn make(engine: &Engine, ctx: &Context, name: &str) {
    let (value, scope) = (format!("value of {name}").into(), "global".to_owned());
    let new = NewSecret { name: name.to_owned(), value, scope, owner: None, comment: None };
    engine.create_secret(ctx, new).await.unwrap();
}

/// What is given out for a name.
fn given(engine: &Engine, ctx: &Context, name: &str) -> String {
    let seeker = Seeker { organization: ctx.organization, route: None, group: None, key: None };
    engine.secret_for(&seeker, name).unwrap().unwrap().expose().to_owned()
}

const MANY: usize = 230;

both_databases! {
    async fn everything_is_sealed_anew_and_the_old_key_goes(database: Database) {
        let world = World::new(database).await;
        let (acme, other) = (world.organization("acme").await, world.organization("other").await);
        for number in 0..MANY {
            make(&world.engine, &acme, &format!("S{number}")).await;
        }
        make(&world.engine, &other, "S0").await;
        let kept = NewGroup { name: "kept".to_owned(), recoverable: true, ..NewGroup::default() };
        world.engine.create_group(&acme, kept).await.unwrap();
        let key = |name: &str| NewKey { group: Some("kept".to_owned()), name: Some(name.to_owned()), ..NewKey::default() };
        for name in ["one", "two"] {
            world.engine.create_key(&acme, key(name)).await.unwrap();
        }
        let mut told = Vec::new();
        let rotated = world.engine.rotate_master_key(|progress| told.push((progress.stage, progress.done))).await.unwrap();
        assert_eq!((rotated.master_key, rotated.resealed), (2, MANY as u64 + 3), "{rotated:?}");
        assert!(told.len() >= 4 && rotated.unreadable.is_empty(), "{told:?}");
        assert_eq!(world.master_keys(), [1, 2], "tokens of the old one are still taken");
        let state = world.engine.master_key_state().await.unwrap();
        assert_eq!((state.in_use, state.secrets_left), (2, 0));
        let all = async |engine: &Engine| {
            for number in 0..MANY {
                let name = format!("S{number}");
                assert_eq!(given(engine, &acme, &name), format!("value of {name}"));
            }
            assert_eq!(given(engine, &other, "S0"), "value of S0");
        };
        all(&world.engine).await;
        all(&*world.another(EngineRole::Guest { keys: true }).await).await;

        // Once no token of it can be alive it goes, by itself.
        world.clock.advance(2 * 3600);
        world.engine.tend_master_key().await.unwrap();
        assert_eq!(world.master_keys(), [2]);
        all(&*world.another(EngineRole::Guest { keys: true }).await).await;
        // And by the schedule the next one comes.
        world.clock.advance(90 * 24 * 3600);
        world.engine.tend_master_key().await.unwrap();
        assert_eq!((world.master_keys(), world.engine.master_key_state().await.unwrap().in_use), (vec![2, 3], 3));
        world.engine.tend_master_key().await.unwrap();
        assert_eq!(world.master_keys(), [2, 3], "not twice");
        all(&world.engine).await;
    }

    async fn a_process_that_serves_learns_of_a_key_that_the_command_line_put_into_use(database: Database) {
        let world = World::new(database).await;
        let acme = world.organization("acme").await;
        make(&world.engine, &acme, "A").await;
        let guest = world.another(EngineRole::Guest { keys: false }).await;
        guest.rotate_master_key(|_| {}).await.unwrap();
        make(&guest, &acme, "B").await;
        // It follows the log with the next change that it makes.
        make(&world.engine, &acme, "C").await;
        for name in ["A", "B", "C"] {
            assert_eq!(given(&world.engine, &acme, name), format!("value of {name}"));
        }
    }

    async fn a_value_that_cannot_be_opened_is_told_of_and_keeps_its_key(database: Database) {
        let world = World::new(database).await;
        let acme = world.organization("acme").await;
        for name in ["A", "B", "C"] {
            make(&world.engine, &acme, name).await;
        }
        let store = Store::open(&world.url, keyrack_engine::Clock::now(&*world.clock)).await.unwrap();
        let mut writer = store.write(&[acme.organization]).await.unwrap();
        let all = writer.list_all_secrets(None, 10).await.unwrap();
        let mut broken = all.into_iter().find(|secret| secret.name == "B").unwrap();
        broken.sealed[40] ^= 1;
        writer.update_secret(&broken).await.unwrap();
        let (kind, subject_kind) = ("test.tampered", keyrack_engine::SubjectKind::Instance);
        let event = keyrack_store::NewEvent {
            id: keyrack_core::EventId::new(broken.created_at, [7; 10]),
            at: broken.created_at,
            organization: None,
            kind,
            actor_kind: keyrack_engine::ActorKind::System,
            actor_id: None,
            actor_name: "test".to_owned(),
            subject_kind,
            subject_id: None,
            subject_name: String::new(),
            data: serde_json::json!({}),
            request_id: None,
        };
        writer.commit(event, Vec::new()).await.unwrap();
        for expected in [2, 3] {
            let rotated = world.engine.rotate_master_key(|_| {}).await.unwrap();
            assert_eq!((rotated.master_key, rotated.resealed), (expected, 2), "{rotated:?}");
            assert_eq!(rotated.unreadable, [format!("secret B {}", broken.id)]);
            assert!(rotated.retired.is_empty());
        }
        world.clock.advance(2 * 3600);
        world.engine.tend_master_key().await.unwrap();
        assert_eq!(world.master_keys(), [1, 2, 3], "what sealed the broken one may yet be needed");
        for name in ["A", "C"] {
            assert_eq!(given(&world.engine, &acme, name), format!("value of {name}"));
        }
    }

    async fn a_key_file_of_another_database_is_refused(database: Database) {
        let world = World::new(database).await;
        let foreign = world.directory.path().join("foreign");
        Keyfile::create(&foreign, &OsRandom::default()).unwrap();
        let own = Keyfile::load(&world.keyfile()).unwrap().unwrap();
        let foreign = Keyfile::load(&foreign).unwrap().unwrap();
        let store = Store::open(&world.url, keyrack_engine::Clock::now(&*world.clock)).await.unwrap();
        let parts = Parts {
            store,
            clock: world.clock.clone(),
            random: Arc::new(OsRandom::default()),
            peppers: own.peppers(),
            master_keys: foreign.master_keys(),
            keyfile: None,
            master_key_days: None,
        };
        let refused = Engine::start(parts, EngineRole::Guest { keys: false }).await.err().unwrap();
        assert!(refused.to_string().contains("master key 1"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_key_file_lacks_the_new_key_is_named_and_nothing_is_changed() {
    if !Database::Postgres.is_available() {
        return;
    }
    let world = World::new(Database::Postgres).await;
    let acme = world.organization("acme").await;
    make(&world.engine, &acme, "A").await;
    // Another machine has a copy of the file.
    let copy = world.directory.path().join("copy");
    std::fs::copy(world.keyfile(), &copy).unwrap();
    let other = start(&world.url, &world.clock, copy.clone(), EngineRole::Server).await;
    let serving = [Serving::of(&world.engine).await, Serving::of(&other).await];
    let refused = world.engine.rotate_master_key(|_| {}).await.unwrap_err();
    assert_eq!(code::<()>(Err(refused)), "key_file_differs");
    assert_eq!(world.engine.master_key_state().await.unwrap().in_use, 1);
    make(&other, &acme, "B").await;
    // A key of that number is not yet the key.
    Keyfile::add_master_key(&copy, &OsRandom::default()).unwrap();
    let refused = world.engine.rotate_master_key(|_| {}).await.unwrap_err();
    assert_eq!(code::<()>(Err(refused)), "key_file_differs");
    assert_eq!(world.master_keys(), [1, 2], "none is added while one waits");

    std::fs::copy(world.keyfile(), &copy).unwrap();
    let rotated = world.engine.rotate_master_key(|_| {}).await.unwrap();
    assert_eq!((rotated.master_key, rotated.resealed), (2, 2), "{rotated:?}");
    make(&other, &acme, "C").await;
    for engine in [&world.engine, &other] {
        for name in ["A", "B", "C"] {
            assert_eq!(given(engine, &acme, name), format!("value of {name}"));
        }
    }
    for serving in serving {
        serving.stop().await;
    }
}
