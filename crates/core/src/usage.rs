//! What is counted of requests: by what they are told apart, and what can be said of how long they took.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compact_str::CompactString;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::address::canonical;
use crate::{Reason, Timestamp, from_micros, micros};

/// How many endpoints are told apart of one key; what comes then counts as [`OTHER_ENDPOINT`].
pub const MAX_ENDPOINTS: usize = 64;
/// The endpoint of requests that were not told apart any more.
pub const OTHER_ENDPOINT: &str = "other";
/// The longest endpoint, in bytes.
const MAX_ENDPOINT: usize = 256;
/// The longest part of what a client calls itself that is kept, in bytes.
pub const MAX_USER_AGENT: usize = 256;

/// From when on a key that nobody uses counts as unused.
pub const UNUSED_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How long a time one count is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Span {
    /// A minute; kept for 48 hours.
    Minute,
    /// An hour; kept for 90 days.
    Hour,
    /// A day of UTC; kept for two years.
    Day,
}

impl Span {
    /// Every span, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// How many seconds it has: the form a database column holds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }

    /// For how long counts about such a time are kept.
    pub fn kept_for(self) -> SignedDuration {
        SignedDuration::from_hours(match self {
            Self::Minute => 48,
            Self::Hour => 90 * 24,
            Self::Day => 2 * 365 * 24,
        })
    }

    /// The beginning of the one that a moment is in.
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let long = self.seconds() * 1_000_000;
        from_micros(micros(at).div_euclid(long) * long)
    }

    /// The beginning of the one after it.
    pub fn next(self, start: Timestamp) -> Timestamp {
        from_micros(micros(start).saturating_add(self.seconds() * 1_000_000))
    }

    /// `minute`, `hour` or `day`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// A method, as far as they are told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Method {
    /// It was not told.
    #[default]
    Unknown,
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// Any other.
    Other,
}

impl Method {
    const NAMED: [(Self, &'static str); 9] = [
        (Self::Unknown, ""),
        (Self::Get, "GET"),
        (Self::Head, "HEAD"),
        (Self::Post, "POST"),
        (Self::Put, "PUT"),
        (Self::Patch, "PATCH"),
        (Self::Delete, "DELETE"),
        (Self::Options, "OPTIONS"),
        (Self::Other, "other"),
    ];

    /// The method of a name; methods are written in capitals.
    pub fn of(name: &str) -> Self {
        Self::NAMED.into_iter().find(|(_, known)| *known == name).map_or(Self::Other, |(method, _)| method)
    }

    /// Its name; empty if it was not told.
    pub fn as_str(self) -> &'static str {
        Self::NAMED.into_iter().find(|(method, _)| *method == self).map_or("", |(_, name)| name)
    }
}

/// The first digit of an answer's status; 0 if there was none, or it was somebody else who answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StatusClass(u8);

impl StatusClass {
    /// The class of a status.
    pub fn of(status: u16) -> Self {
        Self(u8::try_from(status / 100).ok().filter(|class| (1..=5).contains(class)).unwrap_or(0))
    }

    /// The digit.
    pub fn digit(self) -> u8 {
        self.0
    }

    /// `2xx`; `None` if there was no answer.
    pub fn name(self) -> Option<&'static str> {
        [None, Some("1xx"), Some("2xx"), Some("3xx"), Some("4xx"), Some("5xx")].get(usize::from(self.0)).copied()?
    }
}

/// What requests are told apart by that have the same key, secret and minute.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Label {
    /// The pattern of the route, or what [`endpoint`] makes of a path; empty if it was not told.
    pub endpoint: CompactString,
    /// The method.
    pub method: Method,
    /// The class of the answer's status.
    pub status: StatusClass,
    /// Why the caller was kept out; `None` if it was let in.
    pub denial: Option<Reason>,
}

impl Label {
    /// A number for it, the same everywhere: the first 8 bytes of a SHA-256 of its parts.
    pub fn id(&self) -> i64 {
        let denial = self.denial.map_or("", Reason::code);
        let text = format!("{} {} {} {}", self.method.as_str(), self.status.digit(), denial, self.endpoint);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_ref()[..8]);
        i64::from_be_bytes(first)
    }
}

/// What a path counts as: parts of it that look like ids of things are not told apart.
pub fn endpoint(path: &str) -> CompactString {
    let mut endpoint = CompactString::default();
    for (at, part) in path.split('/').enumerate() {
        if at > 0 {
            endpoint.push('/');
        }
        endpoint.push_str(if is_id(part) { ":id" } else { part });
        if endpoint.len() > MAX_ENDPOINT {
            return OTHER_ENDPOINT.into();
        }
    }
    endpoint
}

/// A number, or something long with a digit in it: a UUID, a hash, a key of a database.
fn is_id(part: &str) -> bool {
    let has_digit = part.bytes().any(|byte| byte.is_ascii_digit());
    let is_number = has_digit && part.bytes().all(|byte| byte.is_ascii_digit());
    is_number || (has_digit && part.len() >= 16)
}

/// A network that requests came from: of IPv4 the first 24 bits, of IPv6 the first 48.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Network(Uuid);

impl Network {
    /// Nobody said where they came from.
    pub const UNKNOWN: Self = Self(Uuid::from_u128(1));
    /// One of so many that they were not told apart any more.
    pub const OTHER: Self = Self(Uuid::max());

    /// The network of an address.
    pub fn of(address: Option<IpAddr>) -> Self {
        let bits = match address.map(canonical) {
            None => return Self::UNKNOWN,
            Some(IpAddr::V4(v4)) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).to_ipv6_mapped().to_bits(),
            Some(IpAddr::V6(v6)) => v6.to_bits() & !(u128::MAX >> 48),
        };
        Self(Uuid::from_u128(bits))
    }

    /// The network of what [`Network::bits`] gave.
    pub fn from_bits(bits: Uuid) -> Self {
        Self(bits)
    }

    /// The address as 128 bits: the form a database column holds.
    pub fn bits(self) -> Uuid {
        self.0
    }
}

/// `203.0.113.0/24`, `2001:db8:7::/48`, `unknown` or `other`
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.0.as_u128());
        match address.to_ipv4_mapped() {
            _ if *self == Self::UNKNOWN => f.write_str("unknown"),
            _ if *self == Self::OTHER => f.write_str("other"),
            Some(v4) => write!(f, "{v4}/24"),
            None => write!(f, "{address}/48"),
        }
    }
}

/// The bucket of requests whose time was not taken.
pub const UNTIMED: i8 = -1;

/// The bucket of a time in microseconds: two to each power of two.
pub fn latency_bucket(micros: u64) -> i8 {
    let micros = micros.max(1);
    let power = micros.ilog2();
    // The middle between two powers is at the root of 2 times the lower.
    let is_upper = u128::from(micros) * u128::from(micros) >= 1_u128 << (2 * power + 1);
    i8::try_from(2 * power + u32::from(is_upper)).unwrap_or(i8::MAX)
}

/// How long requests took, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// On average, exactly.
    pub mean: u64,
    /// Half of them took no longer: the mean of the bucket it is in.
    pub p50: u64,
    /// 99 of 100 took no longer: the mean of the bucket it is in.
    pub p99: u64,
}

impl Latency {
    /// From buckets in ascending order, each with how many requests it has and how many microseconds they took together;
    /// `None` if no time was taken.
    pub fn of(buckets: &[(i8, u64, u64)]) -> Option<Self> {
        let timed = || buckets.iter().filter(|(bucket, requests, _)| *bucket != UNTIMED && *requests > 0);
        let requests: u64 = timed().map(|(_, requests, _)| requests).sum();
        let took: u64 = timed().map(|(_, _, took)| took).sum();
        let quantile = |hundredths: u64| {
            let rank = (u128::from(requests) * u128::from(hundredths)).div_ceil(100);
            let mut seen = 0;
            let reaches = |(_, requests, _): &&(i8, u64, u64)| {
                seen += u128::from(*requests);
                seen >= rank
            };
            timed().find(reaches).map_or(0, |(_, requests, took)| took / requests)
        };
        (requests > 0).then(|| Self { mean: took / requests, p50: quantile(50), p99: quantile(99) })
    }
}
