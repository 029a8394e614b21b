//! Scopes and sets of them.

use keyrack_core::scope::{Level, MAX_SCOPES, Resource, ScopeError};
use keyrack_core::{Action, Scope, ScopeSet};
use proptest::prelude::*;

const RESOURCES: [&str; 7] = ["*", "keyrack.*", "keyrack.keys", "keyrack.instance", "keyrack", "contacts", "Contacts"];

/// Which resources (by name) each resource covers. Whatever is not listed is not covered.
const COVERED_RESOURCES: [(&str, &[&str]); 7] = [
    // `keyrack` without a dot is a name like any other.
    ("*", &["*", "contacts", "Contacts", "keyrack"]),
    ("keyrack.*", &["keyrack.*", "keyrack.keys"]),
    ("keyrack.keys", &["keyrack.keys"]),
    ("keyrack.instance", &["keyrack.instance"]),
    ("keyrack", &["keyrack"]),
    ("contacts", &["contacts"]),
    ("Contacts", &["Contacts"]),
];

const COVERED_ACTIONS: [(&str, &[&str]); 3] =
    [("read", &["read"]), ("write", &["write"]), ("admin", &["read", "write", "admin"])];

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn set(texts: &[&str]) -> ScopeSet {
    ScopeSet::parse(texts).unwrap()
}

#[test]
fn covering_follows_the_table_for_every_pair() {
    let mut pairs = 0;
    for (have_resource, resources) in COVERED_RESOURCES {
        for (have_action, actions) in COVERED_ACTIONS {
            for asked_resource in RESOURCES {
                for asked_action in ["read", "write", "admin"] {
                    let have = scope(&format!("{have_resource}:{have_action}"));
                    let asked = scope(&format!("{asked_resource}:{asked_action}"));
                    let expected = resources.contains(&asked_resource) && actions.contains(&asked_action);
                    assert_eq!(have.covers(&asked), expected, "{have} covers {asked}");
                    assert_eq!(ScopeSet::of([have.clone()]).grants(&asked), expected, "{{{have}}} grants {asked}");
                    pairs += 1;
                }
            }
        }
    }
    assert_eq!(pairs, 21 * 21);
}

#[test]
fn what_matters_most_in_the_table_said_one_by_one() {
    for (have, asked, covers) in [
        ("contacts:admin", "contacts:read", true),
        ("contacts:admin", "contacts:write", true),
        ("contacts:write", "contacts:read", false),
        ("contacts:read", "contacts:write", false),
        ("contacts:write", "contacts:admin", false),
        ("*:admin", "keyrack.keys:read", false),
        ("*:admin", "keyrack.*:read", false),
        ("*:admin", "keyrack.instance:read", false),
        ("keyrack.*:admin", "keyrack.keys:write", true),
        ("keyrack.*:admin", "keyrack.instance:read", false),
        ("keyrack.*:admin", "contacts:read", false),
        ("keyrack.*:admin", "*:read", false),
        ("contacts:read", "Contacts:read", false),
    ] {
        assert_eq!(scope(have).covers(&scope(asked)), covers, "{have} {asked}");
    }
}

#[test]
fn what_is_no_scope_is_refused_and_says_why() {
    let long = format!("{}:read", "a".repeat(64));
    for (text, why) in [
        ("", ScopeError::Form),
        ("contacts", ScopeError::Form),
        ("contacts read", ScopeError::Form),
        ("contacts:", ScopeError::Action),
        ("contacts:Read", ScopeError::Action),
        ("contacts:delete", ScopeError::Action),
        ("contacts:*", ScopeError::Action),
        ("contacts:read ", ScopeError::Action),
        ("contacts:read:write", ScopeError::Action),
        (":read", ScopeError::Resource),
        (" contacts:read", ScopeError::Resource),
        ("**:read", ScopeError::Resource),
        ("1st:read", ScopeError::Resource),
        ("_a:read", ScopeError::Resource),
        ("-a:read", ScopeError::Resource),
        ("a.b:read", ScopeError::Resource),
        ("con*:read", ScopeError::Resource),
        ("kontakté:read", ScopeError::Resource),
        (&long, ScopeError::Resource),
        ("keyrack.:read", ScopeError::Resource),
        ("keyrack.a.b:read", ScopeError::Resource),
        ("keyrack.keyrack.*:read", ScopeError::Resource),
        ("keyrack.1:read", ScopeError::Resource),
        ("Keyrack.keys:read", ScopeError::Resource),
        ("keyrack.*x:read", ScopeError::Resource),
    ] {
        assert_eq!(text.parse::<Scope>(), Err(why), "{text}");
    }
}

#[test]
fn resource_has_up_to_63_characters_besides_keyrack() {
    for text in [
        format!("{}:read", "a".repeat(63)),
        format!("keyrack.{}:read", "a".repeat(63)),
        "a:write".to_owned(),
        "Z-9_:admin".to_owned(),
    ] {
        assert_eq!(scope(&text).to_string(), text);
    }
    assert!(format!("keyrack.{}:read", "a".repeat(64)).parse::<Scope>().is_err());
}

#[test]
fn set_is_sorted_without_repetition_and_equal_whatever_the_order() {
    let one = set(&["b:read", "a:write", "b:read", "*:read", "a:read"]);
    let other = set(&["a:read", "*:read", "a:write", "b:read"]);
    assert_eq!(one, other);
    assert_eq!(one.to_strings(), ["*:read", "a:read", "a:write", "b:read"]);
    assert_eq!(one.iter().count(), 4);
    assert_eq!((&one).into_iter().map(ToString::to_string).collect::<Vec<_>>(), one.to_strings());
}

#[test]
fn set_has_at_most_64_scopes_and_an_error_says_which() {
    let names: Vec<String> = (0..=MAX_SCOPES).map(|i| format!("r{i}:read")).collect();
    assert_eq!(ScopeSet::parse(&names[..MAX_SCOPES]).unwrap().iter().count(), 64);
    assert_eq!(ScopeSet::parse(&names), Err((MAX_SCOPES, ScopeError::TooMany)));
    assert_eq!(ScopeSet::parse(&["a:read", "b", "c"]), Err((1, ScopeError::Form)));
    assert_eq!(ScopeSet::parse(&["a:read", "b:read", ":read"]), Err((2, ScopeError::Resource)));
}

#[test]
fn empty_set_grants_nothing_and_is_covered_by_every_set() {
    let empty = ScopeSet::default();
    assert!(empty.is_empty() && set(&[]).is_empty() && !set(&["a:read"]).is_empty());
    for resource in RESOURCES {
        assert!(!empty.grants(&scope(&format!("{resource}:read"))), "{resource}");
    }
    assert_eq!(empty.covers(&empty), Ok(()));
    assert_eq!(set(&["a:read"]).covers(&empty), Ok(()));
}

#[test]
fn set_that_does_not_cover_another_names_the_first_scope_it_lacks() {
    let actor = set(&["contacts:admin", "deals:read"]);
    assert_eq!(actor.covers(&set(&["contacts:read", "contacts:write", "deals:read"])), Ok(()));
    assert_eq!(actor.covers(&set(&["contacts:read", "deals:write", "tasks:read"])), Err(scope("deals:write")));
    assert_eq!(actor.covers(&set(&["*:read"])), Err(scope("*:read")));
    // Two scopes that together do what one does are not that one: admin stands for more than read and write.
    assert_eq!(set(&["a:read", "a:write"]).covers(&set(&["a:admin"])), Err(scope("a:admin")));
}

#[test]
fn method_reads_or_writes() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(Action::of_method(method), Action::Read, "{method}");
    }
    // An unknown method, or one in other letters, is taken for the stronger of the two.
    for method in ["POST", "PUT", "PATCH", "DELETE", "QUERY", "TRACE", "CONNECT", "get", "", "GET "] {
        assert_eq!(Action::of_method(method), Action::Write, "{method}");
    }
}

#[test]
fn levels_are_presets_over_the_customers_resources() {
    assert_eq!(Level::parse("read_only").unwrap().scopes(), set(&["*:read"]));
    assert_eq!(Level::parse("read_write").unwrap().scopes(), set(&["*:read", "*:write"]));
    for word in ["", "READ_ONLY", "admin", "read"] {
        assert_eq!(Level::parse(word), None, "{word}");
    }
}

/// From few names, so that two of them often have to do with each other.
fn some_scope() -> impl Strategy<Value = Scope> {
    let action = prop::sample::select(Action::ALL.to_vec());
    (prop::sample::select(RESOURCES.to_vec()), action)
        .prop_map(|(resource, action)| Scope { resource: resource.parse().unwrap(), action })
}

fn some_set() -> impl Strategy<Value = ScopeSet> {
    prop::collection::vec(some_scope(), 0..5).prop_map(ScopeSet::of)
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let name = || "[A-Za-z][A-Za-z0-9_-]{0,62}".prop_map(|name| Box::from(name.as_str()));
    let resource = prop_oneof![
        Just(Resource::Any),
        Just(Resource::AnyKeyrack),
        name().prop_map(Resource::Keyrack),
        name().prop_map(Resource::Named),
    ];
    (resource, prop::sample::select(Action::ALL.to_vec())).prop_map(|(resource, action)| Scope { resource, action })
}

proptest! {
    #[test]
    fn scope_reads_back_what_it_writes(scope in any_scope()) {
        prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
    }

    #[test]
    fn scope_writes_back_what_it_read(text in r"(keyrack\.)?[*A-Za-z0-9_.-]{0,5}:(read|write|admin)|[ -~]{0,20}") {
        if let Ok(scope) = text.parse::<Scope>() {
            prop_assert_eq!(scope.to_string(), text);
        }
    }

    #[test]
    fn covering_is_reflexive(scope in any_scope()) {
        prop_assert!(scope.covers(&scope));
    }

    #[test]
    fn covering_is_transitive(a in some_scope(), b in some_scope(), c in some_scope()) {
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c), "{} {} {}", a, b, c);
    }

    #[test]
    fn covering_both_ways_is_being_the_same(a in some_scope(), b in some_scope()) {
        prop_assert_eq!(a.covers(&b) && b.covers(&a), a == b);
    }

    #[test]
    fn set_that_covers_another_grants_whatever_that_grants(a in some_set(), b in some_set(), asked in some_scope()) {
        prop_assert!(a.covers(&b).is_err() || !b.grants(&asked) || a.grants(&asked));
        prop_assert_eq!(a.covers(&a), Ok(()));
    }

    #[test]
    fn taking_scopes_away_never_grants_more(set in some_set(), keep: u8, asked in some_scope()) {
        let fewer = ScopeSet::of(set.iter().enumerate().filter(|(i, _)| keep >> i & 1 == 1).map(|(_, s)| s.clone()));
        prop_assert!(set.grants(&asked) || !fewer.grants(&asked));
    }
}
