//! What doors ask.

use std::collections::BTreeSet;

use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::{GroupId, Guard, KeyId, Scope};
use uuid::Uuid;

#[test]
fn demand_for_a_resource_is_read_or_write_by_method() {
    let demand = Demand::Resource("contacts".parse().unwrap());
    for (method, scope) in [
        ("GET", "contacts:read"),
        ("HEAD", "contacts:read"),
        ("OPTIONS", "contacts:read"),
        ("POST", "contacts:write"),
        ("PUT", "contacts:write"),
        ("PATCH", "contacts:write"),
        ("DELETE", "contacts:write"),
        ("BREW", "contacts:write"),
    ] {
        assert_eq!(demand.scope(method).to_string(), scope, "{method}");
    }
}

#[test]
fn demand_for_a_scope_is_that_scope_whatever_the_method() {
    let scope: Scope = "contacts:admin".parse().unwrap();
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(Demand::Scope(scope.clone()).scope(method), scope);
    }
}

#[test]
fn groups_and_keys_are_one_set_and_the_empty_set_admits_nobody() {
    let (group, key) = (GroupId(Uuid::from_u128(1)), KeyId(Uuid::from_u128(2)));
    // The same numbers in the other kind: a key's id never stands for a group's.
    let (group_like_key, key_like_group) = (GroupId(Uuid::from_u128(2)), KeyId(Uuid::from_u128(1)));
    let admitted = |groups: &[GroupId], keys: &[KeyId]| Admitted {
        groups: groups.iter().copied().collect(),
        keys: keys.iter().copied().collect(),
    };
    for (set, includes) in [
        (admitted(&[group], &[]), true),
        (admitted(&[], &[key]), true),
        (admitted(&[group], &[key]), true),
        (admitted(&[group_like_key], &[key]), true),
        (admitted(&[], &[]), false),
        (Admitted::default(), false),
        (admitted(&[group_like_key], &[key_like_group]), false),
    ] {
        assert_eq!(set.includes(group, key), includes, "{set:?}");
        assert_eq!(set.is_empty(), set == Admitted::default(), "{set:?}");
    }
}

#[test]
fn new_guard_takes_live_keys_only_and_none_from_the_query() {
    let guard = Guard::new(Audience::Any);
    assert!(guard.keys && !guard.public && !guard.sessions && !guard.query_key);
    assert_eq!((guard.admitted, guard.demand, guard.roles), (None, None, None::<BTreeSet<_>>));
}
