//! No deletion ever turns a denial into a grant.

use std::collections::BTreeSet;

use keyrack_core::decide::{Caller, KeyFacts, Place, Request, SessionFacts};
use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::status::{End, Switch};
use keyrack_core::{
    Decision, GroupId, Guard, IpAllowlist, KeyId, OrganizationId, OrganizationState, Role, Scope, ScopeSet, Timestamp,
    WorkspaceId, decide,
};
use proptest::prelude::*;
use uuid::Uuid;

/// Few of each kind, so that they are often the same.
fn id() -> impl Strategy<Value = Uuid> {
    (1..4_u128).prop_map(Uuid::from_u128)
}

fn scope() -> impl Strategy<Value = Scope> {
    let scopes = ["a:read", "a:write", "a:admin", "*:read", "*:admin", "keyrack.*:admin", "keyrack.keys:read"];
    prop::sample::select(scopes.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn guard() -> impl Strategy<Value = Guard> {
    let audience = prop_oneof![
        4 => id().prop_map(|id| Audience::Own(OrganizationId(id))),
        1 => Just(Audience::Any),
        1 => Just(Audience::Access),
    ];
    let admitted =
        (prop::collection::btree_set(id(), 0..3), prop::collection::btree_set(id(), 0..3)).prop_map(|(g, k)| {
            Admitted { groups: g.into_iter().map(GroupId).collect(), keys: k.into_iter().map(KeyId).collect() }
        });
    let roles = prop::collection::btree_set(prop::sample::select(Role::ALL.to_vec()), 0..3);
    let demand =
        prop_oneof![scope().prop_map(Demand::Scope), scope().prop_map(|scope| Demand::Resource(scope.resource)),];
    let (admitted, roles, demand) =
        (prop::option::of(admitted), prop::option::weighted(0.3, roles), prop::option::weighted(0.6, demand));
    (audience, admitted, roles, demand, prop::bool::weighted(0.1), any::<bool>()).prop_map(
        |(audience, admitted, roles, demand, public, sessions)| Guard {
            admitted,
            roles,
            demand,
            public,
            sessions,
            ..Guard::new(audience)
        },
    )
}

/// A key with its scopes, and a session of the same organization.
#[derive(Clone, Debug)]
struct Callers {
    facts: (Uuid, Uuid, Uuid, Option<Uuid>, bool),
    organization_state: OrganizationState,
    switch: Switch,
    scopes: ScopeSet,
    role: Option<Role>,
}

fn callers() -> impl Strategy<Value = Callers> {
    let often_active = prop_oneof![4 => Just(OrganizationState::Active), 1 => Just(OrganizationState::Suspended)];
    let often_on = prop_oneof![4 => Just(Switch::Active), 1 => Just(Switch::Disabled)];
    (
        (id(), id(), id(), prop::option::of(id()), any::<bool>()),
        often_active,
        often_on,
        prop::collection::vec(scope(), 0..4).prop_map(ScopeSet::of),
        prop::option::of(prop::sample::select(Role::ALL.to_vec())),
    )
        .prop_map(|(facts, organization_state, switch, scopes, role)| Callers {
            facts,
            organization_state,
            switch,
            scopes,
            role,
        })
}

impl Callers {
    /// What the door says to the key and to the session.
    fn decisions(&self, guard: &Guard, request: &Request<'_>) -> [Decision; 2] {
        let (key, group, organization, workspace, in_access_group) = self.facts;
        let (key, group, organization) = (KeyId(key), GroupId(group), OrganizationId(organization));
        let facts = KeyFacts {
            key,
            group,
            organization,
            organization_state: self.organization_state,
            in_access_group,
            workspace: workspace.map(WorkspaceId),
            secret_matches: true,
            switch: self.switch,
            expires_at: End::NEVER,
            secret_expires_at: End::NEVER,
            scopes: &self.scopes,
            narrowed_to: None,
            ip_allowlist: &IpAllowlist::default(),
        };
        let session = SessionFacts { organization, organization_state: self.organization_state, role: self.role };
        [Caller::Key(facts), Caller::Session(session)]
            .map(|caller| decide(guard, caller, request, Timestamp::UNIX_EPOCH))
    }
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        id().prop_map(|id| Place::In(WorkspaceId(id))),
        Just(Place::Nowhere),
        Just(Place::Elsewhere),
        Just(Place::Anywhere),
        Just(Place::Unstated),
    ]
}

/// Everything that can be taken away from a guard and its callers, one thing at a time.
fn deletions(guard: &Guard, callers: &Callers) -> Vec<(Guard, Callers)> {
    let mut all = Vec::new();
    if let Some(admitted) = &guard.admitted {
        let with = |admitted: Admitted| (Guard { admitted: Some(admitted), ..guard.clone() }, callers.clone());
        for group in &admitted.groups {
            let groups = admitted.groups.iter().copied().filter(|g| g != group).collect();
            all.push(with(Admitted { groups, ..admitted.clone() }));
        }
        for key in &admitted.keys {
            let keys = admitted.keys.iter().copied().filter(|k| k != key).collect();
            all.push(with(Admitted { keys, ..admitted.clone() }));
        }
        all.push(with(Admitted::default()));
    }
    if let Some(roles) = &guard.roles {
        for role in roles {
            let roles: BTreeSet<Role> = roles.iter().copied().filter(|r| r != role).collect();
            all.push((Guard { roles: Some(roles), ..guard.clone() }, callers.clone()));
        }
    }
    for scope in &callers.scopes {
        let scopes = ScopeSet::of(callers.scopes.iter().filter(|s| *s != scope).cloned());
        all.push((guard.clone(), Callers { scopes, ..callers.clone() }));
    }
    for organization_state in [OrganizationState::Suspended, OrganizationState::Deleted] {
        all.push((guard.clone(), Callers { organization_state, ..callers.clone() }));
    }
    for switch in [Switch::Disabled, Switch::Revoked] {
        all.push((guard.clone(), Callers { switch, ..callers.clone() }));
    }
    all.push((guard.clone(), Callers { role: None, ..callers.clone() }));
    all
}

proptest! {
    #![proptest_config(crate::cases(4000))]

    #[test]
    fn no_deletion_turns_a_denial_into_a_grant(guard in guard(), callers in callers(), place in place(), post: bool) {
        let request = Request { method: if post { "POST" } else { "GET" }, address: None, place };
        let before = callers.decisions(&guard, &request);
        for (guard, callers) in deletions(&guard, &callers) {
            for (before, after) in before.iter().zip(callers.decisions(&guard, &request)) {
                prop_assert!(matches!(before, Decision::Grant(_)) || matches!(after, Decision::Deny(_)), "{:?}", guard);
            }
        }
    }

    #[test]
    fn what_is_emptied_admits_nobody(guard in guard(), callers in callers(), place in place()) {
        let guard = Guard { admitted: Some(Admitted::default()), ..guard };
        let request = Request { method: "GET", address: None, place };
        for decision in callers.decisions(&guard, &request) {
            prop_assert!(matches!(decision, Decision::Deny(_)), "{:?}", decision);
        }
    }
}
