//! No deletion ever lets somebody in who was kept out before, at whichever door.

use std::sync::atomic::{AtomicUsize, Ordering};

use keyrack_core::carrier::Carried;
use keyrack_core::{GroupId, KeyId, OrganizationId, Role, RouteId, UserId, WorkspaceId};
use keyrack_engine::{
    ActorKind, Context, Error, GuardText, Invited, NewGroup, NewKey, NewMember, NewOrganization, NewRoute, Presented,
    SubjectKind, Target,
};
use keyrack_testkit::Database;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{IsGrant as _, OWNER, PASSWORD, World, named, presented, runner, shown, texts};

const SCOPES: [&str; 4] = ["a:read", "a:write", "*:read", "*:admin"];
const WORKSPACES: [&str; 2] = ["sales", "support"];
const ROLES: [Role; 3] = Role::ALL;
const GROUPS: usize = 4;
const KEYS: usize = 6;

#[derive(Clone, Debug)]
struct KeyWish {
    group: usize,
    workspace: Option<usize>,
    scopes: Vec<&'static str>,
}

fn key_wish() -> impl Strategy<Value = KeyWish> {
    let scopes = prop::collection::vec(prop::sample::select(SCOPES.to_vec()), 0..3);
    (0..GROUPS, prop::option::of(0..WORKSPACES.len()), scopes).prop_map(|(group, workspace, scopes)| KeyWish {
        group,
        workspace,
        scopes,
    })
}

/// What a door asks, with numbers in the place of what there is to be named.
#[derive(Clone, Debug)]
struct Door {
    groups: Option<Vec<usize>>,
    keys: Option<Vec<usize>>,
    scope: Option<&'static str>,
    roles: Option<Vec<Role>>,
    workspace: Option<usize>,
    workspace_in_path: bool,
    sessions: bool,
    public: bool,
}

fn door() -> impl Strategy<Value = Door> {
    let some = |most| prop::option::weighted(0.5, prop::collection::vec(0..most, 0..3));
    (
        some(GROUPS),
        some(KEYS),
        prop::option::of(prop::sample::select(SCOPES.to_vec())),
        prop::option::weighted(0.2, prop::collection::vec(prop::sample::select(ROLES.to_vec()), 0..3)),
        prop::option::weighted(0.2, 0..WORKSPACES.len()),
        prop::bool::weighted(0.3),
        any::<bool>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(groups, keys, scope, roles, workspace, workspace_in_path, sessions, public)| Door {
            groups,
            keys,
            scope,
            roles,
            workspace,
            workspace_in_path,
            sessions,
            public,
        })
}

#[derive(Clone, Debug)]
enum Deletion {
    Key(Index),
    Revocation(Index),
    Group(Index, bool),
    Workspace(Index, bool),
    Member(Index),
    Door(Index),
}

fn deletion() -> impl Strategy<Value = Deletion> {
    prop_oneof![
        3 => any::<Index>().prop_map(Deletion::Key),
        1 => any::<Index>().prop_map(Deletion::Revocation),
        3 => (any::<Index>(), prop::bool::weighted(0.8)).prop_map(|(at, keys)| Deletion::Group(at, keys)),
        2 => (any::<Index>(), prop::bool::weighted(0.8)).prop_map(|(at, keys)| Deletion::Workspace(at, keys)),
        2 => any::<Index>().prop_map(Deletion::Member),
        2 => any::<Index>().prop_map(Deletion::Door),
    ]
}

/// The people of all cases: signed in once, members of each case's organization anew.
struct People {
    cookies: Vec<(UserId, String)>,
}

impl People {
    async fn sign_in(world: &World) -> Self {
        let mut cookies = Vec::new();
        for role in ROLES {
            let email = format!("{}@example.com", role.as_str());
            let new = NewMember { email: email.clone(), role, password: Some(PASSWORD.to_owned()), name: None };
            let Invited::Member(member) = world.engine.add_member(&world.host(), new).await.unwrap() else { panic!() };
            let signed_in = world.engine.sign_in(&email, PASSWORD, (None, None)).await.unwrap();
            cookies.push((member.user, signed_in.token.expose().to_owned()));
        }
        Self { cookies }
    }
}

struct Case<'w> {
    world: &'w World,
    people: &'w People,
    host: Context,
    slug: String,
    groups: Vec<GroupId>,
    workspaces: Vec<WorkspaceId>,
    keys: Vec<(KeyId, String)>,
    doors: Vec<RouteId>,
}

impl<'w> Case<'w> {
    async fn begin(world: &'w World, people: &'w People, number: usize) -> Self {
        let slug = format!("case-{number}");
        let new = NewOrganization { slug: slug.clone(), name: None, tier: None, owner_email: Some(OWNER.to_owned()) };
        let host = Context::host(world.engine.create_organization(&world.host(), new).await.unwrap().id);
        let mut workspaces = Vec::new();
        for slug in WORKSPACES {
            workspaces.push(world.engine.create_workspace(&host, slug, None).await.unwrap().id);
        }
        let tenant = world.engine.directory().tenant(host.organization).unwrap();
        let mut groups = vec![tenant.group("management").unwrap().id, tenant.group("default").unwrap().id];
        for name in ["third", "fourth"] {
            let new = NewGroup { name: name.to_owned(), ..NewGroup::default() };
            groups.push(world.engine.create_group(&host, new).await.unwrap().id);
        }
        let case = Self { world, people, host, slug, groups, workspaces, keys: Vec::new(), doors: Vec::new() };
        case.join(case.host.organization).await;
        case
    }

    async fn join(&self, organization: OrganizationId) {
        let mut writer = self.world.store().await.write(&[organization]).await.unwrap();
        for ((user, _), role) in self.people.cookies.iter().zip(ROLES) {
            writer.insert_member(organization, *user, role, self.world.now()).await.unwrap();
        }
        let event = keyrack_store::NewEvent {
            id: keyrack_core::EventId::new(self.world.engine.now(), self.world.engine.random_bits().unwrap()),
            at: self.world.now(),
            organization: Some(organization),
            kind: "member.added",
            actor_kind: ActorKind::System,
            actor_id: None,
            actor_name: "test".to_owned(),
            subject_kind: SubjectKind::Member,
            subject_id: None,
            subject_name: "all".to_owned(),
            data: serde_json::json!({}),
            request_id: None,
        };
        writer.commit(event, vec![]).await.unwrap();
    }

    async fn make_key(&mut self, number: usize, wish: &KeyWish) {
        let new = NewKey {
            group: Some(self.groups[wish.group].to_string()),
            workspace: wish.workspace.map(|w| WORKSPACES[w].to_owned()),
            scopes: Some(texts(&wish.scopes)),
            ..named(&format!("key {number}"))
        };
        let (view, text) = shown(self.world.engine.create_key(&self.host, new).await.unwrap());
        self.keys.push((view.key.id, text));
    }

    async fn make_door(&mut self, number: usize, door: &Door) {
        let guard = if door.public {
            GuardText { public: true, ..GuardText::default() }
        } else {
            GuardText {
                groups: door.groups.as_ref().map(|g| g.iter().map(|at| self.groups[*at].to_string()).collect()),
                keys: door.keys.as_ref().map(|k| k.iter().map(|at| self.keys[*at].0.to_string()).collect()),
                scope: door.scope.map(str::to_owned),
                roles: door.roles.clone(),
                workspace: door.workspace.map(|at| WORKSPACES[at].to_owned()),
                sessions: door.sessions,
                ..GuardText::default()
            }
        };
        let new = NewRoute {
            name: format!("door {number}"),
            host: None,
            path: if door.workspace_in_path { format!("/d{number}/:workspace") } else { format!("/d{number}/x") },
            methods: None,
            disabled: false,
            guard,
            target: Target::upstream("http://localhost:9"),
            cors: None,
        };
        match self.world.engine.create_route(&self.host, new).await {
            Ok(route) => self.doors.push(route.id),
            Err(error) => assert!(matches!(&error, Error::Invalid(f) if f.field == "guard"), "{error:?}"),
        }
    }

    /// Who gets in where: every path, for nobody, each key and each person.
    async fn admitted(&self, paths: &[String]) -> Vec<bool> {
        let engine = &self.world.engine;
        let mut persons = Vec::new();
        for (_, cookie) in &self.people.cookies {
            persons.push(engine.person(cookie, Some(self.host.organization)).await.unwrap());
        }
        let mut admitted = Vec::new();
        for path in paths {
            let found = engine.find_route("anywhere.example", path, "GET");
            let place = found.as_ref().and_then(|m| m.route.place(m.path, engine.directory()));
            let (Some(found), Some(place)) = (found, place) else {
                admitted.extend(vec![false; 1 + self.keys.len() + self.people.cookies.len()]);
                continue;
            };
            let guard = &found.route.guard;
            let mut ask = async |presented: Presented<'_>| {
                admitted.push(engine.verify(guard, &Presented { place, ..presented }).await.unwrap().is_grant());
            };
            let nobody = || Presented { credential: Carried::Nothing, ..presented("") };
            ask(nobody()).await;
            for (_, text) in &self.keys {
                ask(presented(text)).await;
            }
            for person in &persons {
                ask(Presented { session: person.clone(), ..nobody() }).await;
            }
        }
        admitted
    }

    /// Whether it was done. A refusal is fine: what a door names is not deleted.
    async fn delete(&self, deletion: &Deletion) -> bool {
        let (engine, host) = (&self.world.engine, &self.host);
        let result = match deletion {
            Deletion::Key(at) => engine.delete_key(host, at.get(&self.keys).0).await,
            Deletion::Revocation(at) => engine.revoke_key(host, at.get(&self.keys).0, None).await.map(|_| ()),
            Deletion::Group(at, keys) => engine.delete_group(host, *at.get(&self.groups), *keys).await,
            Deletion::Workspace(at, keys) => engine.delete_workspace(host, *at.get(&self.workspaces), *keys).await,
            Deletion::Member(at) => engine.remove_member(host, at.get(&self.people.cookies).0).await,
            Deletion::Door(_) if self.doors.is_empty() => return false,
            Deletion::Door(at) => engine.delete_route(host, *at.get(&self.doors)).await,
        };
        match result {
            Ok(()) => true,
            Err(Error::NotFound(_) | Error::Conflict { .. }) => false,
            Err(error) => panic!("{deletion:?}: {error:?}"),
        }
    }
}

#[derive(Default)]
struct Tally {
    cases: AtomicUsize,
    deletions: AtomicUsize,
    let_in: AtomicUsize,
    shut_out: AtomicUsize,
}

async fn play(world: &World, people: &People, keys: &[KeyWish], doors: &[Door], deletions: &[Deletion], tally: &Tally) {
    let mut case = Case::begin(world, people, tally.cases.fetch_add(1, Ordering::Relaxed)).await;
    for (number, wish) in keys.iter().enumerate() {
        case.make_key(number, wish).await;
    }
    for (number, door) in doors.iter().enumerate() {
        case.make_door(number, door).await;
    }
    let ends = ["x", "sales", "support"];
    let paths: Vec<String> =
        (0..doors.len()).flat_map(|n| ends.map(|end| format!("/o/{}/d{n}/{end}", case.slug))).collect();
    let mut before = case.admitted(&paths).await;
    tally.let_in.fetch_add(before.iter().filter(|in_| **in_).count(), Ordering::Relaxed);
    for deletion in deletions {
        if case.delete(deletion).await {
            tally.deletions.fetch_add(1, Ordering::Relaxed);
        }
        let after = case.admitted(&paths).await;
        for (was, is) in before.iter().zip(&after) {
            assert!(*was || !is, "{deletion:?} let somebody in");
            tally.shut_out.fetch_add(usize::from(*was && !is), Ordering::Relaxed);
        }
        before = after;
    }
    // Each case finds as few doors as the first.
    for door in &case.doors {
        match world.engine.delete_route(&case.host, *door).await {
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn no_deletion_of_keys_groups_workspaces_members_or_routes_turns_a_denial_into_a_grant() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::new(Database::Sqlite));
    let people = runtime.block_on(People::sign_in(&world));
    let tally = Tally::default();
    let strategy = (
        prop::collection::vec(key_wish(), KEYS),
        prop::collection::vec(door(), 1..6),
        prop::collection::vec(deletion(), 1..10),
    );
    let mut runner = runner(64);
    let outcome = runner.run(&strategy, |(keys, doors, deletions)| {
        runtime.block_on(play(&world, &people, &keys, &doors, &deletions, &tally));
        Ok(())
    });
    outcome.unwrap();
    let [deletions, let_in, shut_out] = [tally.deletions, tally.let_in, tally.shut_out].map(AtomicUsize::into_inner);
    let told = format!("{deletions} deletions, {let_in} let in at first, {shut_out} shut out by deletions");
    assert!(deletions > 100 && let_in > 200 && shut_out > 50, "the cases show something: {told}");
}
