//! How things are written on pages.

use jiff::{SignedDuration, Timestamp};
use keyrack_core::{Action, KeyStatus, RateLimits, Scope, ScopeSet};
use keyrack_engine::KeyView;

/// How many scopes a table names.
const SCOPES: usize = 3;

/// A moment: exactly, and as people say it.
#[derive(Clone)]
pub(super) struct Moment {
    /// RFC 3339, for machines.
    pub(super) exact: String,
    /// By UTC, for people.
    pub(super) utc: String,
    /// From now.
    pub(super) relative: String,
}

impl Moment {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        let utc = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        Self { exact: at.to_string(), utc, relative: relative(at, now) }
    }
}

/// How long ago something was, or in how long it will be.
fn relative(at: Timestamp, now: Timestamp) -> String {
    let between = now.duration_since(at);
    let words = length(between.abs());
    match between {
        _ if words.is_empty() => "now".to_owned(),
        between if between.is_negative() => format!("in {words}"),
        _ => format!("{words} ago"),
    }
}

/// A length of time in its largest unit; empty for less than five seconds.
pub(super) fn length(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    let (number, unit) = match seconds {
        ..5 => return String::new(),
        5..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        86_400.. => (seconds / 86_400, if seconds < 2 * 86_400 { "day" } else { "days" }),
    };
    format!("{number} {unit}")
}

/// A number with thin gaps between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as milliseconds.
pub(super) fn micros(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// Scopes as a table has them.
pub(super) struct Scopes {
    pub(super) first: Vec<String>,
    /// How many more there are, and which.
    pub(super) more: Option<(usize, String)>,
}

impl Scopes {
    pub(super) fn new(scopes: &ScopeSet) -> Self {
        let mut first = scopes.to_strings();
        let rest = first.split_off(first.len().min(SCOPES));
        let more = (!rest.is_empty()).then(|| (rest.len(), rest.join(" ")));
        Self { first, more }
    }
}

/// What scopes allow, in a sentence.
pub(super) fn may(scopes: &ScopeSet) -> String {
    let of = |action: Action| -> Vec<String> {
        let named = |scope: &&Scope| scope.action == action;
        let resource = |scope: &Scope| match scope.resource.to_string().as_str() {
            "*" => "everything".to_owned(),
            "keyrack.*" => "all of Keyrack itself".to_owned(),
            other => other.to_owned(),
        };
        scopes.iter().filter(named).map(resource).collect()
    };
    let parts: Vec<String> = [(Action::Read, "read"), (Action::Write, "write"), (Action::Admin, "administer")]
        .into_iter()
        .map(|(action, verb)| (verb, of(action)))
        .filter(|(_, resources)| !resources.is_empty())
        .map(|(verb, resources)| format!("{verb} {}", list(&resources)))
        .collect();
    if parts.is_empty() { "May do nothing that asks for a scope.".to_owned() } else { format!("May {}.", list(&parts)) }
}

/// Things with commas and an `and` between.
pub(super) fn list(things: &[String]) -> String {
    match things {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Rate limits, one by one.
pub(super) fn limits(limits: &RateLimits) -> Vec<String> {
    let window = |seconds: u32| match seconds {
        1 => "second".to_owned(),
        60 => "minute".to_owned(),
        3600 => "hour".to_owned(),
        86_400 => "day".to_owned(),
        other => length(SignedDuration::from_secs(other.into())),
    };
    limits.iter().map(|limit| format!("{} per {}", count(limit.limit().into()), window(limit.seconds()))).collect()
}

/// A browser by what it calls itself, as people know it; what is no browser by its first word.
pub(super) fn agent(text: &str) -> String {
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let named =
        |known: &[(&str, &'static str)]| known.iter().find(|(sign, _)| text.contains(sign)).map(|(_, name)| *name);
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ => text.split(['/', ' ']).next().unwrap_or_default().to_owned(),
    }
}

/// A state and how it is shown.
#[derive(Clone, Copy)]
pub(super) struct Status {
    pub(super) word: &'static str,
    /// The class of its chip.
    pub(super) class: &'static str,
}

impl Status {
    pub(super) fn of(status: KeyStatus) -> Self {
        let (word, class) = match status {
            KeyStatus::Active => ("Active", "good"),
            KeyStatus::Disabled => ("Disabled", "quiet"),
            KeyStatus::Revoked => ("Revoked", "bad"),
            KeyStatus::Expired => ("Expired", "warn"),
        };
        Self { word, class }
    }
}

/// When a key ends, and whether that is soon.
pub(super) fn expiry(view: &KeyView, now: Timestamp) -> Option<(Moment, bool)> {
    const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
    let at = view.key.expires_at?;
    let is_soon = at > now && at.duration_since(now) < SOON;
    Some((Moment::new(at, now), is_soon))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        for (seconds, words) in [
            (0, "now"),
            (-4, "now"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (-7_200, "2 h ago"),
            (90_000, "in 1 day"),
            (12 * 86_400, "in 12 days"),
            (-400 * 86_400, "400 days ago"),
        ] {
            let at = Timestamp::from_second(1_000_000_000 + seconds).unwrap();
            assert_eq!(relative(at, now), words);
        }
    }

    #[test]
    fn numbers_have_gaps_between_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn scopes_are_told_in_words() {
        for (scopes, words) in [
            (&["contacts:read", "incidents:write"][..], "May read contacts and write incidents."),
            (&["*:read", "*:write"], "May read everything and write everything."),
            (&["a:read", "b:read", "c:admin"], "May read a and b and administer c."),
            (&[], "May do nothing that asks for a scope."),
        ] {
            assert_eq!(may(&ScopeSet::parse(scopes).unwrap()), words);
        }
    }
}
