//! The decision.

use keyrack_core::decide::{Caller, KeyFacts, Outward, Place, Request, SessionFacts};
use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::status::Switch;
use keyrack_core::{
    Action, Decision, Grant, GroupId, Guard, IpAllowlist, KeyId, OrganizationId, OrganizationState, Reason, Role,
    Scope, ScopeSet, Timestamp, WorkspaceId, decide, from_micros,
};
use uuid::Uuid;

/// Bytes as choices, from which a guard, a key and a session are put together. A grant has every reason it needs, time
/// and deletions never turn a denial into a grant, and strangers are told of nothing before the key is accepted here.
pub fn decision(data: &[u8]) {
    let mut choices = Choices(data);
    let guard = guard(&mut choices);
    let key = Key::chosen(&mut choices);
    let session = SessionFacts {
        organization: OrganizationId(key.organization),
        organization_state: key.organization_state,
        role: choices.maybe(|c| c.of(&Role::ALL)),
    };
    let place = match choices.up_to(4) {
        0 => Place::In(WorkspaceId(choices.id())),
        1 => Place::Nowhere,
        2 => Place::Anywhere,
        _ => Place::Unstated,
    };
    let address = choices.maybe(|c| [10, 0, 0, c.up_to(4)].into());
    let request = Request { method: choices.of(&["GET", "HEAD", "POST", "DELETE"]), address, place };
    let now = from_micros(i64::from(choices.up_to(4)));
    let about = |guard: &Guard, key: &Key, now| decide(guard, Caller::Key(key.facts()), &request, now);

    let decision = about(&guard, &key, now);
    match decision {
        Decision::Grant(grant) => assert_grant(&guard, &key, &request, now, grant),
        Decision::Deny(reason) => {
            assert!(reason.outward() == Outward::Unauthorized || is_alive(&key, now) && is_accepted(&guard, &key));
        }
    }
    let weaker = [
        (Guard { admitted: Some(Admitted::default()), ..guard.clone() }, key.clone()),
        (Guard { roles: guard.roles.as_ref().map(|_| [].into()), ..guard.clone() }, key.clone()),
        (guard.clone(), Key { scopes: ScopeSet::default(), ..key.clone() }),
        (guard.clone(), Key { organization_state: OrganizationState::Deleted, ..key.clone() }),
        (guard.clone(), Key { switch: Switch::Revoked, ..key.clone() }),
    ];
    let nobody = KeyFacts { secret_matches: false, ..key.facts() };
    assert_eq!(decide(&guard, Caller::Key(nobody), &request, now), Decision::Deny(Reason::NotFound));
    if let Decision::Deny(_) = decision {
        assert!(matches!(about(&guard, &key, now + std::time::Duration::from_secs(1)), Decision::Deny(_)));
        for (guard, key) in &weaker {
            assert!(matches!(about(guard, key, now), Decision::Deny(_)));
        }
    }

    let about = |guard: &Guard| decide(guard, Caller::Session(session), &request, now);
    if let Decision::Grant(grant) = about(&guard) {
        assert!(guard.sessions && session.organization_state == OrganizationState::Active);
        assert!(guard.audience != Audience::Own(OTHER) || session.organization == OTHER);
        assert_eq!(grant, session.role.filter(|_| !guard.public).map_or(Grant::Anonymous, Grant::Session));
        assert!(session.role.is_some());
    } else {
        assert!(matches!(about(&weaker[0].0), Decision::Deny(_)));
    }
    let anonymous = decide(&guard, Caller::Anonymous, &request, now);
    assert_eq!(matches!(anonymous, Decision::Grant(Grant::Anonymous)), guard.public);
    assert!(matches!(decide(&guard, Caller::Unknown, &request, now), Decision::Deny(_)));
}

fn is_alive(key: &Key, now: Timestamp) -> bool {
    let before = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
    key.switch == Switch::Active
        && before(key.expires_at)
        && before(key.secret_expires_at)
        && key.organization_state == OrganizationState::Active
}

fn is_accepted(guard: &Guard, key: &Key) -> bool {
    let audience = match guard.audience {
        Audience::Own(organization) => organization == OrganizationId(key.organization),
        Audience::Any => true,
        Audience::Access => key.in_access_group,
    };
    let admitted = guard
        .admitted
        .as_ref()
        .is_none_or(|admitted| admitted.groups.contains(&GroupId(key.group)) || admitted.keys.contains(&KeyId(key.id)));
    audience && admitted
}

fn assert_grant(guard: &Guard, key: &Key, request: &Request<'_>, now: Timestamp, grant: Grant) {
    assert!(is_alive(key, now) && is_accepted(guard, key) && guard.keys);
    let workspace = key.workspace.map(WorkspaceId);
    assert!(workspace.is_none_or(|bound| request.place == Place::Anywhere || request.place == Place::In(bound)));
    assert!(key.addresses.is_unrestricted() || request.address.is_some_and(|address| key.addresses.admits(address)));
    let role = if key.in_access_group { Role::Admin } else { Role::Member };
    assert!(guard.roles.as_ref().is_none_or(|roles| roles.contains(&role)));
    assert!(guard.demand.as_ref().is_none_or(|demand| key.scopes.grants(&demand.scope(request.method))));
    assert_eq!(grant, if guard.public { Grant::Anonymous } else { Grant::Key(role) });
}

const OTHER: OrganizationId = OrganizationId(Uuid::from_u128(2));

#[derive(Clone)]
struct Key {
    id: Uuid,
    group: Uuid,
    organization: Uuid,
    organization_state: OrganizationState,
    in_access_group: bool,
    workspace: Option<Uuid>,
    switch: Switch,
    expires_at: Option<Timestamp>,
    secret_expires_at: Option<Timestamp>,
    scopes: ScopeSet,
    addresses: IpAllowlist,
}

impl Key {
    fn chosen(choices: &mut Choices<'_>) -> Self {
        let moment = |c: &mut Choices<'_>| from_micros(i64::from(c.up_to(4)));
        Self {
            id: choices.id(),
            group: choices.id(),
            organization: choices.id(),
            organization_state: choices.of(OrganizationState::ALL),
            in_access_group: choices.up_to(2) == 1,
            workspace: choices.maybe(Choices::id),
            switch: choices.of(Switch::ALL),
            expires_at: choices.maybe(moment),
            secret_expires_at: choices.maybe(moment),
            scopes: (0..choices.up_to(4))
                .map(|_| choices.scope())
                .fold(ScopeSet::default(), |set, scope| ScopeSet::of(set.iter().cloned().chain([scope]))),
            addresses: choices
                .maybe(|c| c.of(&["10.0.0.0/31", "10.0.0.1", "10.0.0.0/8", "::/0"]))
                .and_then(|network| IpAllowlist::parse(Some(&[network])).ok())
                .unwrap_or_default(),
        }
    }

    fn facts(&self) -> KeyFacts<'_> {
        KeyFacts {
            key: KeyId(self.id),
            group: GroupId(self.group),
            organization: OrganizationId(self.organization),
            organization_state: self.organization_state,
            in_access_group: self.in_access_group,
            workspace: self.workspace.map(WorkspaceId),
            secret_matches: true,
            switch: self.switch,
            expires_at: self.expires_at.into(),
            secret_expires_at: self.secret_expires_at.into(),
            scopes: &self.scopes,
            narrowed_to: None,
            ip_allowlist: &self.addresses,
        }
    }
}

fn guard(choices: &mut Choices<'_>) -> Guard {
    let audience = match choices.up_to(4) {
        0 => Audience::Any,
        1 => Audience::Access,
        2 => Audience::Own(OTHER),
        _ => Audience::Own(OrganizationId(choices.id())),
    };
    Guard {
        public: choices.up_to(4) == 1,
        admitted: choices.maybe(|c| Admitted {
            groups: (0..c.up_to(3)).map(|_| GroupId(c.id())).collect(),
            keys: (0..c.up_to(3)).map(|_| KeyId(c.id())).collect(),
        }),
        demand: choices.maybe(|c| match c.up_to(2) {
            0 => Demand::Scope(c.scope()),
            _ => Demand::Resource(c.scope().resource),
        }),
        roles: choices.maybe(|c| (0..c.up_to(3)).map(|_| c.of(&Role::ALL)).collect()),
        sessions: choices.up_to(2) == 1,
        keys: choices.up_to(4) != 1,
        ..Guard::new(audience)
    }
}

/// The bytes one by one, then zeros.
struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    fn up_to(&mut self, bound: u8) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let bound = u8::try_from(all.len()).unwrap_or(u8::MAX);
        all[usize::from(self.up_to(bound))]
    }

    fn maybe<T>(&mut self, some: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.up_to(2) == 1).then(|| some(self))
    }

    /// One of three, so that two are often the same.
    fn id(&mut self) -> Uuid {
        Uuid::from_u128(1 + u128::from(self.up_to(3)))
    }

    fn scope(&mut self) -> Scope {
        let resource = self.of(&["*", "keyrack.*", "keyrack.keys", "keyrack.instance", "contacts"]);
        let action = self.of(&Action::ALL);
        match resource.parse() {
            Ok(resource) => Scope { resource, action },
            Err(error) => panic!("{resource}: {error}"),
        }
    }
}
