//! Authority: nobody makes a key stronger than himself.

use keyrack_core::authority::Excess;
use keyrack_core::{
    Authority, GroupId, IpAllowlist, OrganizationId, RateLimits, Role, Scope, ScopeSet, Timestamp, WorkspaceId,
    from_micros,
};
use proptest::prelude::*;
use uuid::Uuid;

fn organization(n: u128) -> OrganizationId {
    OrganizationId(Uuid::from_u128(n))
}

fn group(n: u128) -> GroupId {
    GroupId(Uuid::from_u128(n))
}

fn workspace(n: u128) -> WorkspaceId {
    WorkspaceId(Uuid::from_u128(n))
}

fn scopes(texts: &[&str]) -> ScopeSet {
    ScopeSet::parse(texts).unwrap()
}

fn list(texts: &[&str]) -> IpAllowlist {
    IpAllowlist::parse(Some(texts)).unwrap()
}

fn rates(limits: &[(i64, i64)]) -> RateLimits {
    RateLimits::new(Some(limits)).unwrap()
}

/// A key restricted along every dimension.
fn actor() -> Authority {
    Authority {
        organization: organization(1),
        group: Some(group(1)),
        scopes: scopes(&["contacts:admin", "keyrack.keys:admin"]),
        workspace: Some(workspace(1)),
        expires_at: Some(from_micros(1000)),
        ip_allowlist: list(&["10.0.0.0/8"]),
        rate_limits: rates(&[(10, 1), (1000, 3600)]),
        role: Role::Admin,
    }
}

#[test]
fn key_that_is_equal_or_narrower_is_within() {
    let narrower = Authority {
        scopes: scopes(&["contacts:read"]),
        expires_at: Some(from_micros(999)),
        ip_allowlist: list(&["10.1.0.0/16", "10.2.0.1"]),
        rate_limits: rates(&[(9, 1), (500, 3600), (5000, 86400)]),
        role: Role::Member,
        ..actor()
    };
    let mute = Authority { scopes: ScopeSet::default(), ..actor() };
    for key in [actor(), narrower, mute] {
        assert_eq!(key.within(&actor()), Ok(()), "{key:?}");
    }
}

#[test]
fn each_dimension_alone_exceeds() {
    let lacking = |text: &str| Excess::Scope(text.parse().unwrap());
    let with = |texts: &[&str]| Authority { scopes: scopes(texts), ..actor() };
    for (key, excess) in [
        (Authority { organization: organization(2), ..actor() }, Excess::Organization),
        (Authority { group: Some(group(2)), ..actor() }, Excess::Group),
        (Authority { group: None, ..actor() }, Excess::Group),
        (with(&["contacts:admin", "deals:read"]), lacking("deals:read")),
        (with(&["*:read"]), lacking("*:read")),
        (with(&["keyrack.*:admin"]), lacking("keyrack.*:admin")),
        (with(&["keyrack.instance:read"]), lacking("keyrack.instance:read")),
        (Authority { workspace: Some(workspace(2)), ..actor() }, Excess::Workspace),
        (Authority { workspace: None, ..actor() }, Excess::Workspace),
        (Authority { expires_at: Some(from_micros(1001)), ..actor() }, Excess::Expiry),
        (Authority { expires_at: None, ..actor() }, Excess::Expiry),
        (Authority { ip_allowlist: list(&["10.0.0.0/7"]), ..actor() }, Excess::Addresses),
        (Authority { ip_allowlist: list(&["10.0.0.1", "::1"]), ..actor() }, Excess::Addresses),
        (Authority { ip_allowlist: IpAllowlist::default(), ..actor() }, Excess::Addresses),
        (Authority { rate_limits: rates(&[(11, 1), (1000, 3600)]), ..actor() }, Excess::Rate),
        (Authority { rate_limits: rates(&[(10, 1)]), ..actor() }, Excess::Rate),
        (Authority { rate_limits: RateLimits::default(), ..actor() }, Excess::Rate),
        (Authority { role: Role::Owner, ..actor() }, Excess::Role),
    ] {
        assert_eq!(key.within(&actor()), Err(excess), "{key:?}");
    }
}

#[test]
fn unrestricted_actor_may_make_restricted_keys() {
    let (ip_allowlist, rate_limits) = Default::default();
    let free = Authority { workspace: None, expires_at: None, ip_allowlist, rate_limits, ..actor() };
    assert_eq!(actor().within(&free), Ok(()));
    assert_eq!(free.within(&free), Ok(()));
}

#[test]
fn another_group_takes_groups_admin_and_nothing_less() {
    let other = Authority { group: Some(group(2)), scopes: ScopeSet::default(), ..actor() };
    for (texts, allowed) in [
        (&["keyrack.groups:admin"][..], true),
        (&["keyrack.*:admin"], true),
        (&["keyrack.groups:write", "keyrack.groups:read"], false),
        (&["keyrack.keys:admin"], false),
        (&["*:admin"], false),
        (&["groups:admin"], false),
        (&["keyrack.instance:admin"], false),
    ] {
        let actor = Authority { scopes: scopes(texts), ..actor() };
        assert_eq!(other.within(&actor), if allowed { Ok(()) } else { Err(Excess::Group) }, "{texts:?}");
    }
    let person = Authority { group: None, ..actor() };
    assert_eq!(other.within(&person), Ok(()), "a person is of every group");
    // Though he may choose the group, he may not choose one that counts for more.
    let stronger = Authority { role: Role::Admin, ..other.clone() };
    let member = Authority { role: Role::Member, group: None, ..actor() };
    assert_eq!(stronger.within(&member), Err(Excess::Role));
}

#[test]
fn people_have_the_authority_of_their_role_and_only_the_host_that_of_the_instance() {
    let person = |role| Authority::of_person(organization(1), role);
    let host = Authority::of_host(organization(1));
    let instance: Scope = "keyrack.instance:admin".parse().unwrap();
    assert_eq!(person(Role::Member).within(&person(Role::Admin)), Ok(()));
    assert_eq!(person(Role::Admin).within(&person(Role::Owner)), Ok(()));
    assert_eq!(person(Role::Owner).within(&person(Role::Admin)), Err(Excess::Role));
    assert!(person(Role::Admin).within(&person(Role::Member)).is_err());
    assert_eq!(person(Role::Owner).within(&host), Ok(()));
    assert_eq!(host.within(&person(Role::Owner)), Err(Excess::Scope(instance)));
    assert_eq!(actor().within(&person(Role::Admin)), Ok(()));
    assert_eq!(actor().within(&Authority::of_host(organization(2))), Err(Excess::Organization));
}

const SCOPES: [&str; 10] = [
    "a:read",
    "a:write",
    "a:admin",
    "b:read",
    "*:read",
    "*:admin",
    "keyrack.keys:write",
    "keyrack.groups:admin",
    "keyrack.*:admin",
    "keyrack.instance:admin",
];
const NETWORKS: [&str; 6] = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "10.2.0.0/16", "2001:db8::/32", "2001:db8::1"];

fn some_scopes() -> impl Strategy<Value = ScopeSet> {
    prop::sample::subsequence(SCOPES.to_vec(), 0..5).prop_map(|texts| scopes(&texts))
}

fn some_list() -> impl Strategy<Value = IpAllowlist> {
    prop::option::of(prop::sample::subsequence(NETWORKS.to_vec(), 1..4))
        .prop_map(|texts| IpAllowlist::parse(texts.as_deref()).unwrap())
}

fn some_rates() -> impl Strategy<Value = RateLimits> {
    let one = (1..4_i64, 1..4_i64);
    prop::collection::vec(one, 0..3).prop_map(|limits| RateLimits::new(Some(&limits)).unwrap_or_default())
}

/// The most that whoever keeps these limits can ask for within so many seconds.
fn most_within(limits: &RateLimits, seconds: u32) -> u64 {
    let most = |l: keyrack_core::RateLimit| u64::from(l.limit()) * u64::from(seconds.div_ceil(l.seconds()));
    limits.iter().map(most).min().unwrap_or(u64::MAX)
}

/// Over few values, so that one is often within another.
fn authority() -> impl Strategy<Value = Authority> {
    (
        (1..=40_u128).prop_map(|n| organization(1 + n / 40)),
        prop::option::weighted(0.8, (1..3_u128).prop_map(group)),
        some_scopes(),
        prop::option::of((1..3_u128).prop_map(workspace)),
        prop::option::of((1..4_i64).prop_map(from_micros)),
        some_list(),
        some_rates(),
        prop::sample::select(Role::ALL.to_vec()),
    )
        .prop_map(|(organization, group, scopes, workspace, expires_at, ip_allowlist, rate_limits, role)| {
            Authority { organization, group, scopes, workspace, expires_at, ip_allowlist, rate_limits, role }
        })
}

/// The authority with one dimension taken from another: what somebody would try who wants a bit more.
fn with_one_from(base: &Authority, other: &Authority, dimension: u8) -> Authority {
    let (base, other) = (base.clone(), other.clone());
    match dimension {
        0 => Authority { organization: other.organization, ..base },
        1 => Authority { group: other.group, ..base },
        2 => Authority { scopes: other.scopes, ..base },
        3 => Authority { workspace: other.workspace, ..base },
        4 => Authority { expires_at: other.expires_at, ..base },
        5 => Authority { ip_allowlist: other.ip_allowlist, ..base },
        6 => Authority { role: other.role, ..base },
        7 => Authority { rate_limits: other.rate_limits, ..base },
        _ => base,
    }
}

/// Whether a key can do nothing that the root cannot, found by asking for everything one by one.
fn does_no_more_than(key: &Authority, root: &Authority) -> bool {
    let grants = |who: &Authority, text: &str| who.scopes.grants(&text.parse().unwrap());
    let works_at = |who: &Authority, moment: Timestamp| who.expires_at.is_none_or(|end| moment < end);
    let addresses = ["10.1.1.1", "10.1.2.3", "10.2.0.1", "10.9.9.9", "11.0.0.1", "2001:db8::1", "2001:db8::2", "::1"];
    key.organization == root.organization
        && (root.group.is_none() || key.group == root.group || grants(root, "keyrack.groups:admin"))
        && SCOPES.iter().all(|text| !grants(key, text) || grants(root, text))
        && (1..4).map(workspace).all(|w| {
            let reaches = |who: &Authority| who.workspace.is_none_or(|bound| bound == w);
            !reaches(key) || reaches(root)
        })
        && root.rate_limits.iter().all(|l| most_within(&key.rate_limits, l.seconds()) <= l.limit().into())
        && (0..5).map(from_micros).all(|moment| !works_at(key, moment) || works_at(root, moment))
        && addresses.iter().all(|text| {
            let address = text.parse().unwrap();
            !key.ip_allowlist.admits(address) || root.ip_allowlist.admits(address)
        })
        && key.role <= root.role
}

proptest! {
    #![proptest_config(crate::cases(1000))]

    #[test]
    fn within_is_reflexive(a in authority()) {
        prop_assert_eq!(a.within(&a), Ok(()));
    }

    #[test]
    fn within_is_transitive(a in authority(), others in (authority(), authority()), take: [u8; 2]) {
        // Chains of small steps, since three at random are seldom within each other.
        let b = with_one_from(&a, &others.0, take[0] % 9);
        let c = with_one_from(&b, &others.1, take[1] % 9);
        for [x, y, z] in [[&a, &b, &c], [&c, &b, &a], [&b, &a, &c], [&a, &others.0, &others.1]] {
            prop_assert!(x.within(y).is_err() || y.within(z).is_err() || x.within(z).is_ok(), "{:?} {:?} {:?}", x, y, z);
        }
    }

    #[test]
    fn key_within_another_does_no_more_than_that(a in authority(), other in authority(), take in 0..10_u8) {
        let b = if take == 9 { other } else { with_one_from(&a, &other, take) };
        prop_assert!(a.within(&b).is_err() || does_no_more_than(&a, &b), "{:?} {:?}", a, b);
    }

    /// Each step, one of the keys so far asks for a new key that is one of the keys so far, bent along one or two
    /// dimensions; it is made if it is within its maker.
    #[test]
    fn no_sequence_of_creations_yields_a_key_beyond_the_root(
        root in authority(),
        steps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), authority(), 0..9_u8, 0..9_u8), 0..30),
    ) {
        let mut keys = vec![root.clone()];
        for (actor, model, other, first, second) in steps {
            let wanted = with_one_from(&with_one_from(actor.get(&keys), model.get(&keys), first), &other, second);
            if wanted.within(actor.get(&keys)).is_ok() {
                keys.push(wanted);
            }
        }
        for key in &keys {
            prop_assert_eq!(key.within(&root), Ok(()));
            prop_assert!(does_no_more_than(key, &root), "{:?} {:?}", key, root);
        }
    }
}
