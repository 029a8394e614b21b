//! Roles.

use keyrack_core::{Role, ScopeSet};

#[test]
fn roles_have_the_scopes_they_are_said_to_have() {
    let table: [(Role, &[&str]); 3] = [
        (Role::Member, &["*:read", "*:write"]),
        (Role::Admin, &["*:admin", "keyrack.*:admin"]),
        (Role::Owner, &["*:admin", "keyrack.*:admin"]),
    ];
    for (role, scopes) in table {
        assert_eq!(role.scopes(), ScopeSet::parse(scopes).unwrap(), "{role:?}");
        assert!(!role.scopes().grants(&"keyrack.instance:read".parse().unwrap()), "{role:?}");
    }
}

#[test]
fn member_is_weaker_than_admin_and_admin_than_owner() {
    assert!(Role::Member < Role::Admin && Role::Admin < Role::Owner);
}

#[test]
fn key_counts_as_admin_in_an_access_group_and_never_as_owner() {
    assert_eq!(Role::of_key(true), Role::Admin);
    assert_eq!(Role::of_key(false), Role::Member);
}

#[test]
fn words_of_roles_are_read_back() {
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(role));
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
    assert_eq!(Role::parse("Owner"), None);
}
