//! Path patterns of routes, and the table that finds the one route for a path.
//!
//! A pattern is segments: a static one matches itself, `:name` matches one segment, a final `*rest` matches one or more.
//! Segment by segment, static beats `:name` beats `*rest`. Static segments are compared with their escapes undone, as the
//! target will read them: `/x%3Arun` must not slip past the route `/x:run`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::path::percent_decode;

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 1024;

/// One segment of a pattern.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Segment {
    /// Matches itself.
    Static(Box<str>),
    /// `:name`: matches any one segment.
    Param(Box<str>),
    /// `*name`: matches all that is left, at least one segment.
    Rest(Box<str>),
}

/// A pattern such as `/v1/users/:id` or `/files/*path`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(Vec<Segment>);

/// Why text is no pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    /// Too long.
    #[error("must have at most 1024 characters")]
    TooLong,
    /// Not a canonical path.
    #[error("{0}")]
    Path(#[from] crate::path::NonCanonical),
    /// A name that is none.
    #[error("a parameter is : or * and a name of letters, digits and _")]
    Name,
    /// The same name twice.
    #[error("two parameters have the same name")]
    Repeated,
    /// `*rest` that is not last.
    #[error("*rest can only be the last segment")]
    RestNotLast,
    /// A slash at the end.
    #[error("must not end with a slash; a path that does is meant anyway")]
    TrailingSlash,
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        crate::path::check(text.as_bytes())?;
        if text.len() > 1 && text.ends_with('/') {
            return Err(PatternError::TrailingSlash);
        }
        let mut names = std::collections::BTreeSet::new();
        let mut segments = Vec::new();
        for part in text[1..].split('/') {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return Err(PatternError::RestNotLast);
            }
            let mut take_name = |name: &str| {
                let ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !ok {
                    return Err(PatternError::Name);
                }
                if names.insert(name.to_owned()) { Ok(name.into()) } else { Err(PatternError::Repeated) }
            };
            segments.push(match part.as_bytes().first() {
                Some(b':') => Segment::Param(take_name(&part[1..])?),
                Some(b'*') => Segment::Rest(take_name(&part[1..])?),
                _ => Segment::Static(part.into()),
            });
        }
        Ok(Self(segments))
    }

    /// Its first segment, if that is static: what reserved paths are compared with.
    pub fn first_static(&self) -> Option<&str> {
        match self.0.first() {
            Some(Segment::Static(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether a parameter of that name stands in it.
    pub fn has_param(&self, name: &str) -> bool {
        self.0.iter().any(|s| matches!(s, Segment::Param(n) if &**n == name))
    }

    /// Whether both match the same paths with the same precedence: names of parameters and escapes aside, they are equal.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| slot(a) == slot(b))
    }

    /// Whether it matches a canonical path, as a table with nothing but it would find it.
    pub fn matches(&self, path: &str) -> bool {
        let mut table = Table::default();
        table.insert(self, ());
        !table.find(path).is_empty()
    }

    /// The values its parameters take in a path that it matches.
    pub fn bind<'p>(&self, path: &'p str) -> Vec<(&str, &'p str)> {
        let mut bound = Vec::new();
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        for segment in &self.0 {
            let (head, tail) = rest.split_once('/').unwrap_or((rest, ""));
            match segment {
                Segment::Static(_) => {}
                Segment::Param(name) => bound.push((&**name, head)),
                Segment::Rest(name) => bound.push((&**name, rest)),
            }
            rest = tail;
        }
        bound
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Static(text) => write!(f, "/{text}"),
            Segment::Param(name) => write!(f, "/:{name}"),
            Segment::Rest(name) => write!(f, "/*{name}"),
        })
    }
}

/// A segment as the table sees it. The order of the variants is the order of precedence.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Slot {
    /// With its escapes undone.
    Static(Box<[u8]>),
    Param,
    Rest,
}

fn slot(segment: &Segment) -> Slot {
    match segment {
        Segment::Static(text) => static_slot(text),
        Segment::Param(_) => Slot::Param,
        Segment::Rest(_) => Slot::Rest,
    }
}

fn static_slot(text: &str) -> Slot {
    Slot::Static(percent_decode(text).unwrap_or(Cow::Borrowed(text.as_bytes())).into())
}

/// Finds values by path. Values whose patterns meet are kept together, in the order they came.
#[derive(Clone, Debug)]
pub struct Table<V> {
    values: Vec<V>,
    below: BTreeMap<Slot, Table<V>>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { values: Vec::new(), below: BTreeMap::new() }
    }
}

impl<V> Table<V> {
    /// Adds a value under a pattern.
    pub fn insert(&mut self, pattern: &Pattern, value: V) {
        let node = pattern.0.iter().fold(self, |node, segment| node.below.entry(slot(segment)).or_default());
        node.values.push(value);
    }

    /// The values of the most specific pattern that matches a canonical path, or none. Methods do not matter here: a
    /// request whose method the best pattern does not take is not passed on to a weaker one. Nor does a slash at the end of
    /// the path: many targets take `/admin/` for `/admin`, so the guard of the one is the guard of the other.
    pub fn find(&self, path: &str) -> &[V] {
        let path = path.strip_prefix('/').unwrap_or(path);
        self.descend(path.strip_suffix('/').unwrap_or(path)).unwrap_or(&[])
    }

    fn descend(&self, rest: &str) -> Option<&[V]> {
        let (head, tail) = match rest.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (rest, None),
        };
        let step = |slot: &Slot| {
            let node = self.below.get(slot)?;
            tail.map_or_else(|| node.own_values(), |tail| node.descend(tail))
        };
        if let Some(found) = step(&static_slot(head)) {
            return Some(found);
        }
        // A parameter matches something, so that /users/ is not /users/:id.
        if head.is_empty() {
            return None;
        }
        step(&Slot::Param).or_else(|| self.below.get(&Slot::Rest)?.own_values())
    }

    fn own_values(&self) -> Option<&[V]> {
        (!self.values.is_empty()).then_some(&self.values)
    }
}
