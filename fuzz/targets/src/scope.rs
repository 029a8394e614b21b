//! Scopes.

use keyrack_core::scope::{MAX_SCOPES, Resource};
use keyrack_core::{Action, Scope, ScopeSet};

/// Lines as scopes. They are read back as they were written; what a set covers it grants, scope by scope; and the borders
/// between the customer's resources, Keyrack's and the instance are crossed by none.
pub fn scope(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let scopes: Vec<Scope> = lines.iter().filter_map(|line| read(line)).collect();
    match ScopeSet::parse(&lines) {
        Ok(set) => {
            assert!(lines.len() <= MAX_SCOPES && scopes.len() == lines.len());
            assert_eq!(set, ScopeSet::of(scopes.iter().rev().cloned()));
            assert_eq!(ScopeSet::parse(&set.to_strings()), Ok(set));
        }
        Err((at, _)) => assert!(lines.len() > MAX_SCOPES || lines[at].parse::<Scope>().is_err()),
    }
    let (some, others) = scopes.split_at(scopes.len() / 2);
    let (some, others) = (ScopeSet::of(some.iter().cloned()), ScopeSet::of(others.iter().cloned()));
    let lacking: Vec<&Scope> = others.iter().filter(|asked| !some.grants(asked)).collect();
    assert_eq!(some.covers(&others).err().as_ref(), lacking.first().copied());
    for have in &some {
        for asked in &others {
            assert!(!have.covers(asked) || some.grants(asked));
            assert_borders(have, asked);
        }
    }
}

fn read(text: &str) -> Option<Scope> {
    let scope: Scope = text.parse().ok()?;
    assert_eq!(scope.to_string(), text);
    assert!(scope.covers(&scope));
    assert!(text.is_ascii() && text.len() <= "keyrack.".len() + 63 + ":write".len());
    Some(scope)
}

fn assert_borders(have: &Scope, asked: &Scope) {
    let own = |scope: &Scope| matches!(scope.resource, Resource::AnyKeyrack | Resource::Keyrack(_));
    let instance = |scope: &Scope| matches!(&scope.resource, Resource::Keyrack(name) if &**name == Resource::INSTANCE);
    if have.covers(asked) {
        assert_eq!(own(have), own(asked));
        assert_eq!(instance(have), instance(asked));
        assert!(have.action == Action::Admin || have.action == asked.action);
    }
}
