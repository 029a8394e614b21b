//! Patterns of routes.

use keyrack_core::path::check;
use keyrack_core::pattern::{MAX_PATTERN, Pattern, Table};

/// Lines as patterns, the last one as a path. Patterns are read back as they were written; the table finds a pattern
/// exactly when some pattern alone matches, and then the most specific ones.
pub fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (lines, path) = text.rsplit_once('\n').unwrap_or((text, "/"));
    let patterns: Vec<Pattern> = lines.split('\n').take(32).filter_map(read).collect();
    for (i, one) in patterns.iter().enumerate() {
        assert!(one.meets(one));
        for other in &patterns[..i] {
            assert_eq!(one.meets(other), other.meets(one));
            assert!(!one.meets(other) || kinds(one) == kinds(other));
        }
    }
    if check(path.as_bytes()).is_err() {
        return;
    }
    let mut table = Table::default();
    for (i, pattern) in patterns.iter().enumerate() {
        table.insert(pattern, i);
    }
    let matching: Vec<usize> = (0..patterns.len()).filter(|i| matches_alone(&patterns[*i], path)).collect();
    let best = matching.iter().map(|i| kinds(&patterns[*i])).min();
    let expected: Vec<usize> = matching.iter().copied().filter(|i| Some(kinds(&patterns[*i])) == best).collect();
    assert_eq!(table.find(path), expected, "{path}");
    for one in &expected {
        assert!(expected.iter().all(|other| patterns[*one].meets(&patterns[*other])));
        assert_bound(&patterns[*one], path);
    }
}

fn read(text: &str) -> Option<Pattern> {
    let pattern = Pattern::parse(text).ok()?;
    assert_eq!(pattern.to_string(), text);
    assert!(text.len() <= MAX_PATTERN);
    assert_eq!(check(text.as_bytes()), Ok(()));
    Some(pattern)
}

fn matches_alone(pattern: &Pattern, path: &str) -> bool {
    let mut table = Table::default();
    table.insert(pattern, ());
    !table.find(path).is_empty()
}

/// What kind each segment is; the least is the most specific.
fn kinds(pattern: &Pattern) -> Vec<u8> {
    let kind = |segment: &str| if segment.starts_with('*') { 2 } else { u8::from(segment.starts_with(':')) };
    pattern.to_string()[1..].split('/').map(kind).collect()
}

/// Each parameter has the value that stands in its place, none an empty one.
fn assert_bound(pattern: &Pattern, path: &str) {
    assert!(!pattern.to_string().ends_with('/') || pattern.to_string() == "/");
    let segments: Vec<&str> = path[1..].split('/').collect();
    let expected: Vec<String> = kinds(pattern)
        .iter()
        .enumerate()
        .filter(|(_, kind)| **kind > 0)
        .map(|(i, kind)| if *kind == 1 { segments[i].to_owned() } else { segments[i..].join("/") })
        .collect();
    let bound: Vec<&str> = pattern.bind(path).into_iter().map(|(_, value)| value).collect();
    assert_eq!(bound, expected);
    assert!(!bound.contains(&""));
}
