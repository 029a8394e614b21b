//! Scopes: `resource:action`, what they cover and how sets of them compare.

use std::fmt;
use std::str::FromStr;

/// The most scopes one key may have.
pub const MAX_SCOPES: usize = 64;
/// The longest name of a resource, without `keyrack.`.
const MAX_RESOURCE: usize = 63;
const OWN: &str = "keyrack.";

/// What may be done. `Admin` implies the other two; `Write` does not imply `Read`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// Look.
    Read,
    /// Change.
    Write,
    /// Everything.
    Admin,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The word after the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// What a request of this HTTP method does to a resource.
    pub fn of_method(method: &str) -> Self {
        if matches!(method, "GET" | "HEAD" | "OPTIONS") { Self::Read } else { Self::Write }
    }

    fn covers(self, asked: Self) -> bool {
        self == Self::Admin || self == asked
    }
}

/// What it may be done to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Resource {
    /// `*`: any resource of the customer's, none of Keyrack's.
    Any,
    /// `keyrack.*`: all of Keyrack's own but `keyrack.instance`.
    AnyKeyrack,
    /// One of Keyrack's own, named without the prefix.
    Keyrack(Box<str>),
    /// One of the customer's.
    Named(Box<str>),
}

impl Resource {
    /// The resource that stands for the whole instance; only ever covered by its own name.
    pub const INSTANCE: &str = "instance";

    fn covers(&self, asked: &Self) -> bool {
        match (self, asked) {
            (Self::Any, Self::Named(_)) => true,
            (Self::AnyKeyrack, Self::Keyrack(name)) => &**name != Self::INSTANCE,
            _ => self == asked,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::AnyKeyrack => f.write_str("keyrack.*"),
            Self::Keyrack(name) => write!(f, "keyrack.{name}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl FromStr for Resource {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let name = |name: &str| {
            let mut bytes = name.bytes();
            let ok = name.len() <= MAX_RESOURCE
                && bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
                && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            ok.then(|| name.into()).ok_or(ScopeError::Resource)
        };
        match text.strip_prefix(OWN) {
            Some("*") => Ok(Self::AnyKeyrack),
            Some(own) => Ok(Self::Keyrack(name(own)?)),
            None if text == "*" => Ok(Self::Any),
            None => Ok(Self::Named(name(text)?)),
        }
    }
}

/// One permission: `contacts:read`, `*:write`, `keyrack.keys:admin`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Scope {
    /// To what.
    pub resource: Resource,
    /// What.
    pub action: Action,
}

impl Scope {
    /// A scope over one of Keyrack's own resources, named without `keyrack.`.
    pub fn keyrack(resource: &str, action: Action) -> Self {
        Self { resource: Resource::Keyrack(resource.into()), action }
    }

    /// Whether having this scope is enough where `asked` is asked for.
    pub fn covers(&self, asked: &Self) -> bool {
        self.action.covers(asked.action) && self.resource.covers(&asked.resource)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.action.as_str())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let (resource, action) = text.split_once(':').ok_or(ScopeError::Form)?;
        let action = Action::ALL.into_iter().find(|a| a.as_str() == action).ok_or(ScopeError::Action)?;
        Ok(Self { resource: resource.parse()?, action })
    }
}

/// Why text is no scope, or scopes are no set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScopeError {
    /// No colon.
    #[error("a scope is written resource:action, for instance contacts:read")]
    Form,
    /// No such action.
    #[error("the action of a scope is read, write or admin")]
    Action,
    /// The resource is no name.
    #[error("a resource is *, keyrack.* or a name of up to 63 letters, digits, - and _ that starts with a letter")]
    Resource,
    /// More than [`MAX_SCOPES`].
    #[error("a key has at most 64 scopes")]
    TooMany,
}

/// Scopes, sorted and without repetition. The empty set grants nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ScopeSet(Box<[Scope]>);

impl ScopeSet {
    /// A set of these. For text from outside use [`ScopeSet::parse`], which bounds the number.
    pub fn of(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }

    /// Reads each scope; the error comes with the position of the one it speaks of.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, (usize, ScopeError)> {
        if texts.len() > MAX_SCOPES {
            return Err((MAX_SCOPES, ScopeError::TooMany));
        }
        let parsed = texts.iter().enumerate().map(|(i, text)| text.as_ref().parse().map_err(|e| (i, e)));
        Ok(Self::of(parsed.collect::<Result<Vec<Scope>, _>>()?))
    }

    /// Whether some scope of the set covers the one asked for.
    pub fn grants(&self, asked: &Scope) -> bool {
        self.0.iter().any(|have| have.covers(asked))
    }

    /// Whether the set covers every scope of `other`; the first it does not cover is named otherwise.
    pub fn covers(&self, other: &Self) -> Result<(), Scope> {
        other.0.iter().find(|asked| !self.grants(asked)).map_or(Ok(()), |missing| Err(missing.clone()))
    }

    /// What both sets grant.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let ours = self.0.iter().filter(|scope| other.grants(scope));
        let theirs = other.0.iter().filter(|scope| self.grants(scope));
        Self::of(ours.chain(theirs).cloned())
    }

    /// The scopes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// Whether it grants nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes as text, in order.
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(Scope::to_string).collect()
    }
}

impl<'s> IntoIterator for &'s ScopeSet {
    type Item = &'s Scope;
    type IntoIter = std::slice::Iter<'s, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A preset of scopes over all of the customer's resources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// `*:read`: GET, HEAD and OPTIONS.
    ReadOnly,
    /// `*:read *:write`: every method.
    ReadWrite,
}

impl Level {
    /// The scopes of the level.
    pub fn scopes(self) -> ScopeSet {
        let any = |action| Scope { resource: Resource::Any, action };
        match self {
            Self::ReadOnly => ScopeSet::of([any(Action::Read)]),
            Self::ReadWrite => ScopeSet::of([any(Action::Read), any(Action::Write)]),
        }
    }

    /// The level of that word: `read_only` or `read_write`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "read_only" => Some(Self::ReadOnly),
            "read_write" => Some(Self::ReadWrite),
            _ => None,
        }
    }
}
