//! Whatever keys do to each other in whatever order, no key ever can do more than whoever made it.
//!
//! "Can do" is measured at doors: by asking for decisions, and not with the comparison that the engine itself uses.

use std::sync::atomic::{AtomicUsize, Ordering};

use keyrack_core::decide::{Caller, Place, Request};
use keyrack_core::guard::{Audience, Demand};
use keyrack_core::status::KeyState;
use keyrack_core::{Decision, Guard, KeyId, PlainKey, Role, Scope, ScopeSet, Timestamp, WorkspaceId, decide};
use keyrack_engine::{Context, Error, ImportKey, KeyPatch, KnownKey, NewGroup, NewKey, NewOrganization, RotateKey};
use keyrack_testkit::Database;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{OWNER, World, named, runner, shown, texts};

const SCOPES: [&str; 10] = [
    "a:read",
    "a:write",
    "a:admin",
    "b:read",
    "*:read",
    "*:admin",
    "keyrack.keys:admin",
    "keyrack.groups:admin",
    "keyrack.*:admin",
    "keyrack.instance:admin",
];
const GROUPS: [&str; 3] = ["management", "default", "other"];
const WORKSPACES: [&str; 2] = ["sales", "support"];
const ALLOWLISTS: [&[&str]; 4] = [&["192.0.2.0/24"], &["192.0.2.7"], &["192.0.2.0/25", "10.0.0.1"], &["::/0"]];
const ADDRESSES: [&str; 5] = ["192.0.2.7", "192.0.2.200", "10.0.0.1", "203.0.113.1", "2001:db8::1"];
const LIFETIMES: [i64; 3] = [60, 120, 3600];

/// What a key is to be, or is to become.
#[derive(Clone, Debug)]
struct Wish {
    scopes: Vec<&'static str>,
    group: usize,
    workspace: Option<usize>,
    lifetime: Option<i64>,
    allowlist: Option<usize>,
    disabled: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        prop::collection::vec(prop::sample::select(SCOPES.to_vec()), 0..4),
        0..GROUPS.len(),
        prop::option::of(0..WORKSPACES.len()),
        prop::option::of(prop::sample::select(LIFETIMES.to_vec())),
        prop::option::of(0..ALLOWLISTS.len()),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(scopes, group, workspace, lifetime, allowlist, disabled)| Wish {
            scopes,
            group,
            workspace,
            lifetime,
            allowlist,
            disabled,
        })
}

impl Wish {
    fn new_key(&self, world: &World, name: &str) -> NewKey {
        NewKey {
            group: Some(GROUPS[self.group].to_owned()),
            workspace: self.workspace.map(|w| WORKSPACES[w].to_owned()),
            scopes: Some(texts(&self.scopes)),
            expires_at: self.lifetime.map(|seconds| world.later(seconds)),
            disabled: self.disabled,
            ip_allowlist: self.allowlist.map(|a| texts(ALLOWLISTS[a])),
            ..named(name)
        }
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Create(Wish),
    Import(Wish),
    Rotate(Index),
    Scopes(Index, Vec<&'static str>),
    Lifetime(Index, Option<i64>),
    Allowlist(Index, Option<usize>),
    Switch(Index, bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    let scopes = prop::collection::vec(prop::sample::select(SCOPES.to_vec()), 0..4);
    let lifetime = prop::option::of(prop::sample::select(LIFETIMES.to_vec()));
    let allowlist = prop::option::of(0..ALLOWLISTS.len());
    prop_oneof![
        3 => wish().prop_map(Deed::Create),
        2 => wish().prop_map(Deed::Import),
        2 => any::<Index>().prop_map(Deed::Rotate),
        1 => (any::<Index>(), scopes).prop_map(|(target, scopes)| Deed::Scopes(target, scopes)),
        1 => (any::<Index>(), lifetime).prop_map(|(target, seconds)| Deed::Lifetime(target, seconds)),
        1 => (any::<Index>(), allowlist).prop_map(|(target, list)| Deed::Allowlist(target, list)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(target, on)| Deed::Switch(target, on)),
    ]
}

/// A key in play.
#[derive(Clone)]
struct Player {
    id: KeyId,
    text: String,
}

/// What passes where, and in which group: all that a key can do at doors.
struct Power {
    passes: Vec<bool>,
    group: keyrack_core::GroupId,
    scopes: ScopeSet,
}

fn power(world: &World, key: &KnownKey, workspaces: &[WorkspaceId], now: Timestamp) -> Power {
    let organization = key.tenant.organization.id;
    let any = Guard::new(Audience::Own(organization));
    let demand = |scope: &Scope| Guard { demand: Some(Demand::Scope(scope.clone())), ..any.clone() };
    let asked = ["a:read", "a:write", "a:admin", "b:read", "b:write", "b:admin"];
    let own =
        ["keys:read", "keys:admin", "groups:admin", "routes:write", "instance:admin"].map(|s| format!("keyrack.{s}"));
    let asked =
        asked.map(str::to_owned).into_iter().chain(own).chain(["*:read".to_owned(), "keyrack.*:admin".to_owned()]);
    let mut guards: Vec<Guard> = asked.map(|scope| demand(&scope.parse().unwrap())).collect();
    guards.push(Guard { roles: Some([Role::Admin].into()), ..any.clone() });
    guards.push(any);
    let places = [Place::Nowhere, Place::In(workspaces[0]), Place::In(workspaces[1])];
    let moments = [now, world.later(59), world.later(60), world.later(120), world.later(3599), world.later(3600)];
    let mut passes = Vec::new();
    for guard in &guards {
        for place in places {
            for address in ADDRESSES {
                let request = Request { method: "GET", address: address.parse().ok(), place };
                let is_in = |at| matches!(decide(guard, Caller::Key(key.facts()), &request, at), Decision::Grant(_));
                passes.extend(moments.map(is_in));
            }
        }
    }
    Power { passes, group: key.record.profile.group, scopes: key.record.profile.scopes.clone() }
}

impl Power {
    fn is_within(&self, other: &Self) -> bool {
        let rules_groups = other.scopes.grants(&"keyrack.groups:admin".parse().unwrap());
        let is_mute = !self.passes.contains(&true);
        let in_group = self.group == other.group || rules_groups || is_mute;
        in_group && self.passes.iter().zip(&other.passes).all(|(mine, theirs)| !mine || *theirs)
    }
}

#[derive(Default)]
struct Tally {
    done: AtomicUsize,
    refused: AtomicUsize,
}

struct Play<'w> {
    world: &'w World,
    host: Context,
    workspaces: Vec<WorkspaceId>,
    players: Vec<Player>,
    made: usize,
}

impl<'w> Play<'w> {
    async fn begin(world: &'w World, number: usize) -> Self {
        let new = NewOrganization {
            slug: format!("case-{number}"),
            name: None,
            tier: None,
            owner_email: Some(OWNER.to_owned()),
        };
        let organization = world.engine.create_organization(&world.host(), new).await.unwrap().id;
        let host = Context::host(organization);
        let mut workspaces = Vec::new();
        for slug in WORKSPACES {
            workspaces.push(world.engine.create_workspace(&host, slug, None).await.unwrap().id);
        }
        world.engine.create_group(&host, NewGroup { name: "other".to_owned(), ..NewGroup::default() }).await.unwrap();
        Self { world, host, workspaces, players: Vec::new(), made: 0 }
    }

    async fn known(&self, text: &str) -> KnownKey {
        let presented = crate::support::presented(text);
        self.world.engine.verify(&Guard::new(Audience::Any), &presented).await.unwrap().into_key().unwrap()
    }

    async fn power_of(&self, text: &str) -> Power {
        power(self.world, &self.known(text).await, &self.workspaces, self.world.now())
    }

    /// Does a deed as a key. The powers that came of it, if it was done, with those that it was done to.
    async fn act(&mut self, actor: &Player, deed: &Deed) -> Result<Vec<Power>, Error> {
        let engine = &self.world.engine;
        let ctx = Context { organization: self.host.organization, ..self.world.acting(&actor.text).await };
        self.made += 1;
        let name = format!("key {}", self.made);
        let before = match deed {
            Deed::Create(wish) => {
                let (view, text) = shown(engine.create_key(&ctx, wish.new_key(self.world, &name)).await?);
                self.players.push(Player { id: view.key.id, text });
                return Ok(vec![self.power_of(&self.players[self.players.len() - 1].text).await]);
            }
            Deed::Import(wish) => {
                let text = format!("imported-{}-{}", self.host.organization, self.made);
                let new = wish.new_key(self.world, &name);
                let key = ImportKey { new, text: Some(PlainKey::new(text.clone())), sha256: None };
                let view = engine.import_keys(&ctx, vec![key]).await?.remove(0);
                self.players.push(Player { id: view.key.id, text: text.clone() });
                return Ok(vec![self.power_of(&text).await]);
            }
            Deed::Rotate(target)
            | Deed::Scopes(target, _)
            | Deed::Lifetime(target, _)
            | Deed::Allowlist(target, _)
            | Deed::Switch(target, _) => target.index(self.players.len()),
        };
        let target = self.players[before].clone();
        let power_before = self.power_of(&target.text).await;
        let none = KeyPatch::default();
        let patch = match deed {
            Deed::Rotate(_) => {
                let how = RotateKey { overlap_seconds: Some(0), force: true };
                let text = engine.rotate_key(&ctx, target.id, how).await?.secret.unwrap().expose().to_owned();
                self.players[before].text = text;
                return Ok(vec![power_before, self.power_of(&self.players[before].text).await]);
            }
            Deed::Scopes(_, scopes) => KeyPatch { scopes: Some(texts(scopes)), ..none },
            Deed::Lifetime(_, seconds) => {
                KeyPatch { expires_at: Some(seconds.map(|seconds| self.world.later(seconds))), ..none }
            }
            Deed::Allowlist(_, list) => {
                KeyPatch { ip_allowlist: Some(list.map(|list| texts(ALLOWLISTS[list]))), ..none }
            }
            Deed::Switch(_, on) => KeyPatch { enabled: Some(*on), ..none },
            Deed::Create(_) | Deed::Import(_) => unreachable!(),
        };
        engine.update_key(&ctx, target.id, patch).await?;
        Ok(vec![power_before, self.power_of(&target.text).await])
    }
}

async fn play(world: &World, number: usize, first: &[Wish], deeds: &[(Index, Deed)], tally: &Tally) {
    let mut play = Play::begin(world, number).await;
    // One that may do everything, and some that the host made as the case would have them.
    let strong = NewKey {
        group: Some("management".to_owned()),
        scopes: Some(texts(&["*:admin", "keyrack.*:admin"])),
        ..named("strong")
    };
    let wished = first.iter().enumerate().map(|(n, wish)| wish.new_key(world, &format!("first {n}")));
    for new in std::iter::once(strong).chain(wished) {
        let (view, text) = shown(world.engine.create_key(&play.host, new).await.unwrap());
        play.players.push(Player { id: view.key.id, text });
    }
    for (actor, deed) in deeds {
        let actor = actor.get(&play.players).clone();
        let known = play.known(&actor.text).await;
        let state = KeyState { switch: known.record.switch, expires_at: known.record.expires_at.moment() };
        let status = state.status(world.now());
        let is_alive = status == keyrack_core::KeyStatus::Active;
        let own = play.power_of(&actor.text).await;
        match play.act(&actor, deed).await {
            Ok(powers) => {
                assert!(is_alive, "a key that is not active did {deed:?}");
                for power in powers {
                    assert!(power.is_within(&own), "{deed:?} went beyond who did it");
                }
                tally.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Forbidden { .. }) => drop(tally.refused.fetch_add(1, Ordering::Relaxed)),
            // Of another workspace it does not know.
            Err(Error::Invalid(wrong)) if wrong.field.ends_with("workspace") => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
            }
            // The actor is switched off, or cannot see the key, or it is too late for it.
            Err(Error::Unauthorized) => assert!(!is_alive),
            Err(Error::NotFound("key") | Error::Conflict { code: "key_final", .. }) => {}
            Err(error) => panic!("{deed:?}: {error:?}"),
        }
    }
}

#[test]
fn no_key_ever_exceeds_whoever_made_changed_rotated_or_imported_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::new(Database::Sqlite));
    let (tally, cases) = (Tally::default(), AtomicUsize::new(0));
    let strategy = (prop::collection::vec(wish(), 3), prop::collection::vec((any::<Index>(), deed()), 1..16));
    let mut runner = runner(200);
    let outcome = runner.run(&strategy, |(first, deeds)| {
        let number = cases.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(play(&world, number, &first, &deeds, &tally));
        Ok(())
    });
    outcome.unwrap();
    let (done, refused) = (tally.done.into_inner(), tally.refused.into_inner());
    assert!(done > 100 && refused > 100, "the cases show something: {done} done, {refused} refused");
}
