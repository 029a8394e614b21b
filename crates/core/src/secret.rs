//! Secrets: named values that callers are given, each what is theirs.

use std::fmt;

use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{GroupId, KeyId, OrganizationId, RouteId};

/// The longest name, in characters.
pub const MAX_SECRET_NAME: usize = 128;
/// The longest value, in bytes.
pub const MAX_SECRET_VALUE: usize = 16 * 1024;

/// Why text cannot be the name or the value of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// Something else than the characters a name is made of, or too many.
    #[error("must have 1 to 128 characters of A-Z, a-z, 0-9, - and _")]
    Name,
    /// No value.
    #[error("must not be empty")]
    Empty,
    /// Over the limit.
    #[error("must have at most 16384 bytes")]
    TooLong,
}

/// The name of a secret: `[A-Za-z0-9_-]{1,128}`.
pub fn secret_name(text: &str) -> Result<&str, SecretError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let ok = (1..=MAX_SECRET_NAME).contains(&text.len()) && text.bytes().all(is_plain);
    if ok { Ok(text) } else { Err(SecretError::Name) }
}

/// Who is given a secret. Of several that have its name, the one that says most of the caller counts: that of the key, then that of its
/// group, then that of the route, then that of the organization.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SecretScope {
    /// Everybody whom a door of the organization lets in.
    Global,
    /// Everybody at this route.
    Route(RouteId),
    /// Keys of this group.
    Group(GroupId),
    /// This key.
    Key(KeyId),
}

impl SecretScope {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Route(_) => "route",
            Self::Group(_) => "group",
            Self::Key(_) => "key",
        }
    }

    /// What owns it and takes it along when it is deleted; `None` for the organization itself.
    pub fn owner(self) -> Option<Uuid> {
        match self {
            Self::Global => None,
            Self::Route(id) => Some(id.0),
            Self::Group(id) => Some(id.0),
            Self::Key(id) => Some(id.0),
        }
    }

    /// The scope of a word and an owner.
    pub fn of(word: &str, owner: Option<Uuid>) -> Option<Self> {
        match (word, owner) {
            ("global", None) => Some(Self::Global),
            ("route", Some(id)) => Some(Self::Route(RouteId(id))),
            ("group", Some(id)) => Some(Self::Group(GroupId(id))),
            ("key", Some(id)) => Some(Self::Key(KeyId(id))),
            _ => None,
        }
    }
}

/// Who asks for a secret, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeker {
    /// Whose door it is: nothing of another organization is given out there.
    pub organization: OrganizationId,
    /// The door.
    pub route: Option<RouteId>,
    /// The group of the key that was let in. `None` where the door asked for no key.
    pub group: Option<GroupId>,
    /// The key that was let in. `None` where the door asked for no key.
    pub key: Option<KeyId>,
}

impl Seeker {
    /// The scopes whose secrets they may have, the one that counts most first.
    pub fn scopes(&self) -> impl Iterator<Item = SecretScope> + use<> {
        let narrower = [
            self.key.map(SecretScope::Key),
            self.group.map(SecretScope::Group),
            self.route.map(SecretScope::Route),
            Some(SecretScope::Global),
        ];
        narrower.into_iter().flatten()
    }
}

/// The value of a secret. Not printed, not compared, and gone from memory once it is not needed any more.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Text that can be a value.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Result<Self, SecretError> {
        let text = text.into();
        match text.len() {
            0 => Err(SecretError::Empty),
            length if length > MAX_SECRET_VALUE => Err(SecretError::TooLong),
            _ => Ok(Self(text)),
        }
    }

    /// The value itself, for whoever is given it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_few_characters() {
        for good in ["DATABASE_URL", "a", "api-key_2", &"x".repeat(128)] {
            assert_eq!(secret_name(good), Ok(good));
        }
        for bad in ["", " ", "a b", "a.b", "ä", "a\0", "a/b", "$HOME", &"x".repeat(129)] {
            assert_eq!(secret_name(bad), Err(SecretError::Name), "{bad:?}");
        }
    }

    #[test]
    fn values_are_neither_empty_nor_endless_nor_printed() {
        assert!(matches!(SecretText::new(String::new()), Err(SecretError::Empty)));
        assert!(matches!(SecretText::new("x".repeat(16_385)), Err(SecretError::TooLong)));
        let value = SecretText::new("ä".repeat(8192)).unwrap();
        assert_eq!(value.expose().len(), 16_384);
        assert_eq!(format!("{value:?}"), "SecretText");
    }

    #[test]
    fn a_scope_is_its_word_and_its_owner() {
        let id = Uuid::from_u128(7);
        for (word, owner) in [("global", None), ("route", Some(id)), ("group", Some(id)), ("key", Some(id))] {
            let scope = SecretScope::of(word, owner).unwrap();
            assert_eq!((scope.as_str(), scope.owner()), (word, owner));
        }
        assert_eq!(SecretScope::of("global", Some(id)), None);
        assert_eq!(SecretScope::of("key", None), None);
        assert_eq!(SecretScope::of("workspace", Some(id)), None);
    }

    #[test]
    fn the_key_counts_most_and_the_organization_least() {
        let [org, route, group, key] = [1, 2, 3, 4].map(Uuid::from_u128);
        let (organization, route) = (OrganizationId(org), Some(RouteId(route)));
        let known = Seeker { organization, route, group: Some(GroupId(group)), key: Some(KeyId(key)) };
        let words = |seeker: Seeker| seeker.scopes().map(SecretScope::as_str).collect::<Vec<_>>();
        assert_eq!(words(known), ["key", "group", "route", "global"]);
        assert_eq!(words(Seeker { group: None, key: None, ..known }), ["route", "global"]);
        assert_eq!(words(Seeker { route: None, group: None, key: None, ..known }), ["global"]);
    }
}
