//! The decision, compared with the rules read straight from the book: every combination of what the rules speak of.

use std::collections::{BTreeSet, HashSet};

use keyrack_core::decide::{Caller, KeyFacts, Outward, Place, Request, SessionFacts, explain};
use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::status::Switch;
use keyrack_core::{
    Decision, Grant, GroupId, Guard, IpAllowlist, KeyId, OrganizationId, OrganizationState, Reason, Role, ScopeSet,
    Timestamp, WorkspaceId, decide,
};
use uuid::Uuid;

use Reason::{
    Disabled, Expired, InsufficientRole, InsufficientScope, IpNotAllowed, IpRequired, KeyNotAccepted,
    OrganizationInactive, Revoked, WorkspaceRequired, WrongGroup, WrongOrganization, WrongWorkspace,
};

const HOME: OrganizationId = OrganizationId(Uuid::from_u128(1));
const ABROAD: OrganizationId = OrganizationId(Uuid::from_u128(2));
const GROUP: GroupId = GroupId(Uuid::from_u128(3));
const OTHER_GROUP: GroupId = GroupId(Uuid::from_u128(4));
const KEY: KeyId = KeyId(Uuid::from_u128(5));
const OTHER_KEY: KeyId = KeyId(Uuid::from_u128(6));
const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(7));
const OTHER_WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(8));

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admits {
    Everyone,
    Nobody,
    TheGroup,
    TheKey,
    Others,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Peer {
    Anywhere,
    ListedAddress,
    UnlistedAddress,
    UnstatedAddress,
}

/// What the guard demands, and whether the key (`contacts:read`) and the method (GET or POST) meet it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Demands {
    Nothing,
    WhatItHas,
    WhatItLacks,
    ReadByMethod,
    WriteByMethod,
}

/// One row of the truth table, in the words of the rules.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
#[derive(Clone, Copy, Debug)]
struct Row {
    switch: Switch,
    expired: bool,
    secret_over: bool,
    organization: OrganizationState,
    audience: Audience,
    in_access_group: bool,
    bound: bool,
    place: Place,
    admits: Admits,
    peer: Peer,
    roles: Option<&'static [Role]>,
    demands: Demands,
    public: bool,
    keys: bool,
}

/// Why a key is kept out, and when.
type Rule = (Reason, fn(&Row) -> bool);

/// The rules in their order. The first that applies gives the reason.
const RULES: [Rule; 16] = [
    // Alive: the key active and not expired (nor its secret), the organization active.
    (Revoked, |row| row.switch == Switch::Revoked),
    (Expired, |row| row.expired),
    (Disabled, |row| row.switch == Switch::Disabled),
    (Expired, |row| row.secret_over),
    (OrganizationInactive, |row| row.organization != OrganizationState::Active),
    // Accepted here: the organization, the workspace, the groups and keys, and whether keys are taken at all.
    (WrongOrganization, |row| row.audience == Audience::Own(ABROAD)),
    (WrongGroup, |row| row.audience == Audience::Access && !row.in_access_group),
    (WorkspaceRequired, |row| row.bound && row.place == Place::Unstated),
    (WrongWorkspace, |row| row.bound && matches!(row.place, Place::Nowhere | Place::In(OTHER_WORKSPACE))),
    (WrongWorkspace, |row| row.place == Place::Elsewhere),
    (WrongGroup, |row| matches!(row.admits, Admits::Nobody | Admits::Others)),
    (KeyNotAccepted, |row| !row.keys),
    // Where it comes from.
    (IpRequired, |row| row.peer == Peer::UnstatedAddress),
    (IpNotAllowed, |row| row.peer == Peer::UnlistedAddress),
    // What it may do: the role, then the scope.
    (InsufficientRole, |row| row.roles.is_some_and(|only| !only.contains(&Role::of_key(row.in_access_group)))),
    (InsufficientScope, |row| matches!(row.demands, Demands::WhatItLacks | Demands::WriteByMethod)),
];

fn by_the_book(row: &Row) -> Decision {
    match RULES.iter().find(|(_, fails)| fails(row)) {
        Some((reason, _)) => Decision::Deny(*reason),
        // A good key at a public door brings no identity with it.
        None if row.public => Decision::Grant(Grant::Anonymous),
        None if row.in_access_group => Decision::Grant(Grant::Key(Role::Admin)),
        None => Decision::Grant(Grant::Key(Role::Member)),
    }
}

fn admitted(admits: Admits) -> Option<Admitted> {
    let set = |groups: &[GroupId], keys: &[KeyId]| {
        Some(Admitted { groups: groups.iter().copied().collect(), keys: keys.iter().copied().collect() })
    };
    match admits {
        Admits::Everyone => None,
        Admits::Nobody => set(&[], &[]),
        Admits::TheGroup => set(&[GROUP, OTHER_GROUP], &[]),
        Admits::TheKey => set(&[OTHER_GROUP], &[KEY]),
        Admits::Others => set(&[OTHER_GROUP], &[OTHER_KEY]),
    }
}

fn demand(demands: Demands) -> Option<Demand> {
    match demands {
        Demands::Nothing => None,
        Demands::WhatItHas => Some(Demand::Scope("contacts:read".parse().unwrap())),
        Demands::WhatItLacks => Some(Demand::Scope("contacts:write".parse().unwrap())),
        Demands::ReadByMethod | Demands::WriteByMethod => Some(Demand::Resource("contacts".parse().unwrap())),
    }
}

fn roles(only: Option<&[Role]>) -> Option<BTreeSet<Role>> {
    only.map(|only| only.iter().copied().collect())
}

fn method(demands: Demands) -> &'static str {
    if demands == Demands::WriteByMethod { "POST" } else { "GET" }
}

const AUDIENCES: [Audience; 4] = [Audience::Own(HOME), Audience::Own(ABROAD), Audience::Any, Audience::Access];
const PLACES: [Place; 6] = [
    Place::In(WORKSPACE),
    Place::In(OTHER_WORKSPACE),
    Place::Nowhere,
    Place::Elsewhere,
    Place::Anywhere,
    Place::Unstated,
];
const ADMITS: [Admits; 5] = [Admits::Everyone, Admits::Nobody, Admits::TheGroup, Admits::TheKey, Admits::Others];
const PEERS: [Peer; 4] = [Peer::Anywhere, Peer::ListedAddress, Peer::UnlistedAddress, Peer::UnstatedAddress];
/// No demand, sets of roles, and the set that admits no role at all.
const ROLES: [Option<&[Role]>; 5] =
    [None, Some(&[Role::Member]), Some(&[Role::Admin]), Some(&[Role::Admin, Role::Owner]), Some(&[])];
const DEMANDS: [Demands; 5] =
    [Demands::Nothing, Demands::WhatItHas, Demands::WhatItLacks, Demands::ReadByMethod, Demands::WriteByMethod];
const BOTH: [bool; 2] = [false, true];

/// Every guard of the table, with the part of the row it stands for.
fn guards() -> Vec<(Guard, Row)> {
    let mut all = Vec::new();
    for audience in AUDIENCES {
        for admits in ADMITS {
            for only in ROLES {
                for demands in DEMANDS {
                    for (public, keys) in [(false, false), (false, true), (true, false), (true, true)] {
                        let guard = Guard {
                            public,
                            keys,
                            admitted: admitted(admits),
                            roles: roles(only),
                            demand: demand(demands),
                            ..Guard::new(audience)
                        };
                        let row = Row { audience, admits, roles: only, demands, public, keys, ..PLAIN };
                        all.push((guard, row));
                    }
                }
            }
        }
    }
    all
}

const PLAIN: Row = Row {
    switch: Switch::Active,
    expired: false,
    secret_over: false,
    organization: OrganizationState::Active,
    audience: Audience::Own(HOME),
    in_access_group: false,
    bound: false,
    place: Place::Nowhere,
    admits: Admits::Everyone,
    peer: Peer::Anywhere,
    roles: None,
    demands: Demands::Nothing,
    public: false,
    keys: true,
};

/// Every state of a key and its secret, with the part of the row it stands for.
fn states() -> Vec<Row> {
    let mut all = Vec::new();
    for switch in Switch::ALL {
        for expired in BOTH {
            for secret_over in BOTH {
                for organization in OrganizationState::ALL {
                    let (switch, organization) = (*switch, *organization);
                    all.push(Row { switch, expired, secret_over, organization, ..PLAIN });
                }
            }
        }
    }
    all
}

fn facts<'k>(row: &Row, scopes: &'k ScopeSet, ip_allowlist: &'k IpAllowlist) -> KeyFacts<'k> {
    // At the moment itself it is over already.
    let until = |over: bool| Some(if over { now() } else { now() + jiff::SignedDuration::from_micros(1) });
    KeyFacts {
        key: KEY,
        group: GROUP,
        organization: HOME,
        organization_state: row.organization,
        in_access_group: row.in_access_group,
        workspace: row.bound.then_some(WORKSPACE),
        secret_matches: true,
        switch: row.switch,
        expires_at: until(row.expired).into(),
        secret_expires_at: until(row.secret_over).into(),
        scopes,
        narrowed_to: None,
        ip_allowlist,
    }
}

#[test]
fn decision_about_every_key_at_every_door_is_by_the_book() {
    let scopes = ScopeSet::parse(&["contacts:read"]).unwrap();
    let (no_list, list) = (IpAllowlist::default(), IpAllowlist::parse(Some(&["203.0.113.0/24"])).unwrap());
    let (listed, unlisted) = ("203.0.113.7".parse().unwrap(), "198.51.100.7".parse().unwrap());
    let (guards, states) = (guards(), states());
    let (mut rows, mut grants) = (0_u32, 0_u32);
    for state in &states {
        for in_access_group in BOTH {
            for bound in BOTH {
                for peer in PEERS {
                    let row = Row { in_access_group, bound, peer, ..*state };
                    let facts = facts(&row, &scopes, if peer == Peer::Anywhere { &no_list } else { &list });
                    let address = match peer {
                        Peer::ListedAddress => Some(listed),
                        Peer::UnlistedAddress => Some(unlisted),
                        // No list: no address needed.
                        Peer::Anywhere | Peer::UnstatedAddress => None,
                    };
                    for (guard, part) in &guards {
                        for place in PLACES {
                            let Row { audience, admits, roles, demands, public, keys, .. } = *part;
                            let row = Row { audience, place, admits, roles, demands, public, keys, ..row };
                            let request = Request { method: method(demands), address, place };
                            let decision = decide(guard, Caller::Key(facts), &request, now());
                            assert_eq!(decision, by_the_book(&row), "{row:?}");
                            // A key that only stands in for nobody lets nobody in and is not heard of.
                            let nobody = KeyFacts { secret_matches: false, ..facts };
                            let refused = decide(guard, Caller::Key(nobody), &request, now());
                            assert_eq!(refused, Decision::Deny(Reason::NotFound), "{row:?}");
                            if rows.is_multiple_of(17) {
                                let asked = explain(guard, &facts, &request, now());
                                let first = asked.into_iter().find(|(_, passes)| !passes).map(|(reason, _)| reason);
                                let reason = if let Decision::Deny(reason) = decision { Some(reason) } else { None };
                                assert_eq!(first, reason, "{row:?}");
                            }
                            rows += 1;
                            grants += u32::from(matches!(decision, Decision::Grant(_)));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(rows, 36 * 2 * 2 * 4 * 2000 * 6);
    // What is granted of it, for a key outside the access groups (2 audiences, 2 sets of roles) and one in them (3, 3):
    // x 5 places for an unbound key and 2 for a bound one x 2 addresses x 3 sets x 3 demands, public or not, keys taken.
    assert_eq!(grants, (2 * 2 + 3 * 3) * (5 + 2) * 2 * 3 * 3 * 2);
}

#[test]
fn key_without_expiry_or_end_of_its_secret_passes_and_one_past_it_does_not() {
    let (scopes, list) = (ScopeSet::default(), IpAllowlist::default());
    let guard = Guard::new(Audience::Own(HOME));
    let request = Request { method: "GET", address: None, place: Place::Nowhere };
    let step = jiff::SignedDuration::from_secs(1);
    let times = [(None, false), (Some(now() + step), false), (Some(now()), true), (Some(now() - step), true)];
    for (expires_at, over) in times {
        for (secret_expires_at, secret_over) in times {
            let (expires_at, secret_expires_at) = (expires_at.into(), secret_expires_at.into());
            let facts = KeyFacts { expires_at, secret_expires_at, ..facts(&PLAIN, &scopes, &list) };
            let expected =
                if over || secret_over { Decision::Deny(Expired) } else { Decision::Grant(Grant::Key(Role::Member)) };
            assert_eq!(decide(&guard, Caller::Key(facts), &request, now()), expected);
        }
    }
}

#[test]
fn decision_about_every_session_is_by_the_book() {
    let mut rows = 0;
    for (guard, part) in guards() {
        for sessions in BOTH {
            let guard = Guard { sessions, ..guard.clone() };
            for state in OrganizationState::ALL {
                for role in [None, Some(Role::Member), Some(Role::Admin), Some(Role::Owner)] {
                    for place in PLACES {
                        let session = SessionFacts { organization: HOME, organization_state: *state, role };
                        let request = Request { method: method(part.demands), address: None, place };
                        let decision = decide(&guard, Caller::Session(session), &request, now());
                        assert_eq!(
                            decision,
                            session_by_the_book(&Row { place, ..part }, sessions, *state, role),
                            "{part:?} {session:?}"
                        );
                        rows += 1;
                    }
                }
            }
        }
    }
    assert_eq!(rows, 2000 * 2 * 3 * 4 * 6);
}

/// Membership stands for being accepted here, the role's scopes for those of a key. A member reads and writes the customer's
/// resources, so every demand of this table is met. Whether the door takes keys does not matter, nor in which of the
/// organization's workspaces it is.
fn session_by_the_book(part: &Row, sessions: bool, state: OrganizationState, role: Option<Role>) -> Decision {
    let rules = [
        (Reason::NotFound, !sessions),
        (OrganizationInactive, state != OrganizationState::Active),
        (WrongOrganization, part.audience == Audience::Own(ABROAD) || role.is_none()),
        (WrongWorkspace, part.place == Place::Elsewhere),
        // A member counts as in every group; but what deletions emptied admits nobody, not people either.
        (WrongGroup, part.admits == Admits::Nobody),
        (InsufficientRole, part.roles.is_some_and(|only| role.is_none_or(|role| !only.contains(&role)))),
    ];
    match (rules.iter().find(|(_, fails)| *fails), role) {
        (Some((reason, _)), _) => Decision::Deny(*reason),
        (None, Some(role)) if !part.public => Decision::Grant(Grant::Session(role)),
        (None, _) => Decision::Grant(Grant::Anonymous),
    }
}

#[test]
fn member_is_not_let_in_where_more_than_read_and_write_is_demanded() {
    let request = Request { method: "GET", address: None, place: Place::Nowhere };
    let session = |role| {
        Caller::Session(SessionFacts {
            organization: HOME,
            organization_state: OrganizationState::Active,
            role: Some(role),
        })
    };
    for (scope, member, admin) in [
        ("contacts:read", true, true),
        ("contacts:write", true, true),
        ("contacts:admin", false, true),
        ("keyrack.keys:read", false, true),
        ("keyrack.instance:admin", false, false),
    ] {
        let demand = Some(Demand::Scope(scope.parse().unwrap()));
        let guard = Guard { sessions: true, demand, ..Guard::new(Audience::Own(HOME)) };
        for (role, passes) in [(Role::Member, member), (Role::Admin, admin), (Role::Owner, admin)] {
            let expected =
                if passes { Decision::Grant(Grant::Session(role)) } else { Decision::Deny(InsufficientScope) };
            assert_eq!(decide(&guard, session(role), &request, now()), expected, "{scope} {role:?}");
        }
    }
}

#[test]
fn anonymous_passes_public_doors_only_and_an_unknown_credential_none() {
    for (guard, part) in guards() {
        for place in PLACES {
            let request = Request { method: "GET", address: None, place };
            let expected =
                if part.public { Decision::Grant(Grant::Anonymous) } else { Decision::Deny(Reason::Missing) };
            assert_eq!(decide(&guard, Caller::Anonymous, &request, now()), expected, "{part:?}");
            let unknown = decide(&guard, Caller::Unknown, &request, now());
            assert_eq!(unknown, Decision::Deny(Reason::NotFound), "{part:?}");
        }
    }
}

#[test]
fn whatever_tells_a_stranger_nothing_comes_before_whatever_tells_something() {
    let told: Vec<Outward> = RULES.iter().map(|(reason, _)| reason.outward()).collect();
    assert!(told.is_sorted_by_key(|outward| *outward == Outward::Forbidden), "{told:?}");
}

#[test]
fn reasons_tell_strangers_what_the_table_says_and_insiders_a_code_of_their_own() {
    let forbidden = [KeyNotAccepted, IpNotAllowed, IpRequired, InsufficientRole, InsufficientScope];
    let mut codes = HashSet::new();
    for (at, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, at, "counters are found by number");
        let expected = match reason {
            Reason::RateLimited | Reason::QuotaExceeded => Outward::TooMany,
            _ if forbidden.contains(&reason) => Outward::Forbidden,
            _ => Outward::Unauthorized,
        };
        assert_eq!(reason.outward(), expected, "{reason:?}");
        assert!(codes.insert(reason.code()), "{reason:?}");
        // The code is the name: InsufficientScope is INSUFFICIENT_SCOPE.
        let name = format!("{reason:?}").to_uppercase();
        assert_eq!(reason.code().replace('_', ""), name);
    }
}
