//! Patterns of routes, and the table that finds the route for a path.

use keyrack_core::path::NonCanonical;
use keyrack_core::pattern::{MAX_PATTERN, Pattern, PatternError, Table};
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

/// A table in which each pattern's value is its own text.
fn table<'p>(patterns: &[&'p str]) -> Table<&'p str> {
    let mut table = Table::default();
    for text in patterns {
        table.insert(&pattern(text), *text);
    }
    table
}

#[test]
fn good_patterns_are_read_and_written_alike() {
    let longest = format!("/{}", "a".repeat(MAX_PATTERN - 1));
    for text in [
        "/",
        "/a",
        "/v1/users/:id",
        "/:a/:b/:c",
        "/*rest",
        "/files/*path",
        "/a:b/c*d",
        "/v1/models/x:predict",
        "/:_/:A1",
        "/%C3%A9",
        "/%3Aname",
        &longest,
    ] {
        assert_eq!(pattern(text).to_string(), text);
    }
}

#[test]
fn bad_patterns_are_refused_and_say_why() {
    let long = format!("/{}", "a".repeat(MAX_PATTERN));
    for (text, why) in [
        (long.as_str(), PatternError::TooLong),
        ("/:", PatternError::Name),
        ("/*", PatternError::Name),
        ("/:/a", PatternError::Name),
        ("/:a-b", PatternError::Name),
        ("/:a.json", PatternError::Name),
        ("/*a*", PatternError::Name),
        ("/::a", PatternError::Name),
        ("/:a/:a", PatternError::Repeated),
        ("/:a/b/*a", PatternError::Repeated),
        ("/*a/b", PatternError::RestNotLast),
        ("/*a/", PatternError::TrailingSlash),
        ("/a/", PatternError::TrailingSlash),
        ("/*a/*b", PatternError::RestNotLast),
    ] {
        assert_eq!(Pattern::parse(text), Err(why), "{text}");
    }
    for text in ["", "a", "//", "/a//b", "/../a", "/a;b", "/%2f", "/%61", "/a b", "/é", "/a\\b", "/a?b", "/a#b", "/%"]
    {
        assert!(matches!(Pattern::parse(text), Err(PatternError::Path(NonCanonical(_)))), "{text}");
    }
}

#[test]
fn static_beats_parameter_beats_rest_segment_by_segment() {
    let all = ["/users/me", "/users/:id", "/users/*rest", "/:a/me", "/:a/:b", "/*all", "/:a", "/", "/users"];
    let table = table(&all);
    for (path, expected) in [
        ("/users/me", Some("/users/me")),
        ("/users/42", Some("/users/:id")),
        ("/users/42/posts", Some("/users/*rest")),
        ("/users/me/posts", Some("/users/*rest")),
        ("/teams/me", Some("/:a/me")),
        ("/teams/42", Some("/:a/:b")),
        ("/teams/42/posts", Some("/*all")),
        ("/teams", Some("/:a")),
        ("/users", Some("/users")),
        ("/users/", Some("/users")),
        ("/", Some("/")),
        ("/teams/", Some("/:a")),
    ] {
        assert_eq!(table.find(path).first().copied(), expected, "{path}");
    }
}

#[test]
fn dead_end_behind_a_static_segment_does_not_hide_weaker_patterns() {
    let table = table(&["/a/b/c", "/a/:x/d", "/:y/b/e", "/*rest"]);
    for (path, expected) in
        [("/a/b/c", "/a/b/c"), ("/a/b/d", "/a/:x/d"), ("/a/b/e", "/:y/b/e"), ("/a/b/f", "/*rest"), ("/a/b", "/*rest")]
    {
        assert_eq!(table.find(path), [expected], "{path}");
    }
}

#[test]
fn parameter_and_rest_match_something() {
    let table = table(&["/users/:id", "/files/*path"]);
    for path in ["/users/", "/users", "/files/", "/files", "/"] {
        assert_eq!(table.find(path), [""; 0], "{path}");
    }
    for (path, expected) in [("/users/1", "/users/:id"), ("/files/a", "/files/*path"), ("/files/a/b/", "/files/*path")]
    {
        assert_eq!(table.find(path), [expected], "{path}");
    }
}

/// Many targets take the one for the other, so a slash must not lead past a guard.
#[test]
fn slash_at_the_end_does_not_slip_past_a_pattern() {
    let table = table(&["/v1/admin", "/v1/users/:id", "/v1/*rest"]);
    for (path, expected) in [("/v1/admin/", "/v1/admin"), ("/v1/users/7/", "/v1/users/:id"), ("/v1/x/", "/v1/*rest")] {
        assert_eq!(table.find(path), [expected], "{path}");
    }
}

#[test]
fn static_segments_are_case_sensitive_and_whole() {
    let table = table(&["/Users", "/v1"]);
    for path in ["/users", "/USERS", "/Users2", "/User", "/v1x", "/v"] {
        assert_eq!(table.find(path), [""; 0], "{path}");
    }
    assert_eq!(table.find("/Users"), ["/Users"]);
}

/// A target undoes escapes, so the guard of `/admin@x` must be met by `/admin%40x` too and not passed by.
#[test]
fn escape_does_not_slip_past_a_static_segment() {
    let table = table(&["/models/x:predict", "/models/:name", "/caf%C3%A9", "/%3Aname", "/*rest"]);
    for (path, expected) in [
        ("/models/x:predict", "/models/x:predict"),
        ("/models/x%3Apredict", "/models/x:predict"),
        ("/models/x%3apredict", "/models/x:predict"),
        ("/models/x%3bpredict", "/models/:name"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/:name", "/%3Aname"),
        ("/other", "/*rest"),
    ] {
        assert_eq!(table.find(path), [expected], "{path}");
    }
    assert!(pattern("/x:predict").meets(&pattern("/x%3Apredict")));
    assert!(!pattern("/%3Aname").meets(&pattern("/:name")));
}

#[test]
fn patterns_meet_when_they_are_equal_but_for_the_names() {
    for (one, other, meets) in [
        ("/a/:b", "/a/:c", true),
        ("/*a", "/*b", true),
        ("/a", "/a", true),
        ("/", "/", true),
        ("/a/:b", "/a/*b", false),
        ("/a/:b", "/a/b", false),
        ("/a", "/A", false),
        ("/a/:b", "/a/:b/c", false),
        ("/:a/b", "/:b/:a", false),
    ] {
        assert_eq!(pattern(one).meets(&pattern(other)), meets, "{one} {other}");
        assert_eq!(pattern(other).meets(&pattern(one)), meets, "{other} {one}");
    }
}

#[test]
fn patterns_that_meet_are_found_together_in_the_order_they_came() {
    // One for GET and one for POST, say: methods do not matter to the table.
    let table = table(&["/a/:b", "/a/*rest", "/a/:c"]);
    assert_eq!(table.find("/a/x"), ["/a/:b", "/a/:c"]);
    assert_eq!(table.find("/a/x/y"), ["/a/*rest"]);
}

#[test]
fn parameters_take_the_raw_text_of_their_segments() {
    for (text, path, bound) in [
        ("/", "/", &[][..]),
        ("/a/:b", "/a/x", &[("b", "x")]),
        ("/:a/s/:b", "/1/s/2", &[("a", "1"), ("b", "2")]),
        ("/:a/*rest", "/1/2/3/", &[("a", "1"), ("rest", "2/3/")]),
        ("/:a", "/ada%40x", &[("a", "ada%40x")]),
        ("/:a", "/1/", &[("a", "1")]),
    ] {
        assert_eq!(pattern(text).bind(path), bound, "{text} {path}");
    }
}

#[test]
fn pattern_tells_its_first_static_segment_and_its_parameters() {
    for (text, first) in [("/api/x", Some("api")), ("/", Some("")), ("/:api", None), ("/*api", None)] {
        assert_eq!(pattern(text).first_static(), first, "{text}");
    }
    assert!(pattern("/:workspace/x").has_param("workspace"));
    assert!(!pattern("/workspace/*workspace").has_param("workspace"));
}

/// The reference: how specific a pattern (as text) is for a path, `None` if it does not match. The least is the best.
fn rank(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let path = path.strip_suffix('/').filter(|bare| !bare.is_empty()).unwrap_or(path);
    let mut segments = path[1..].split('/').peekable();
    let mut rank = Vec::new();
    for part in pattern[1..].split('/') {
        let segment = segments.next()?;
        match part.chars().next() {
            Some(':' | '*') if segment.is_empty() => return None,
            Some(':') => rank.push(1),
            Some('*') => {
                rank.push(2);
                return Some(rank);
            }
            _ if part == segment => rank.push(0),
            _ => return None,
        }
    }
    segments.peek().is_none().then_some(rank)
}

/// Patterns over few names, so that they often compete. Parameters get their names by position.
fn some_pattern() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(prop::sample::select(vec!["a", "b", ":", ":"]), 0..4);
    let end = prop::sample::select(vec![None, Some("a"), Some(":"), Some("*"), Some("*")]);
    (segments, end).prop_map(|(segments, end)| {
        let text =
            segments.into_iter().chain(end).enumerate().fold(String::new(), |text, (i, segment)| match segment {
                ":" | "*" => format!("{text}/{segment}p{i}"),
                _ => format!("{text}/{segment}"),
            });
        if text.is_empty() { "/".to_owned() } else { text }
    })
}

fn some_path() -> impl Strategy<Value = String> {
    (prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..5), any::<bool>())
        .prop_map(|(segments, slash)| format!("/{}{}", segments.join("/"), if slash { "/" } else { "" }))
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn table_finds_what_a_linear_scan_by_precedence_finds(
        patterns in prop::collection::vec(some_pattern(), 0..10),
        path in some_path(),
    ) {
        let mut table = Table::default();
        for (i, text) in patterns.iter().enumerate() {
            table.insert(&pattern(text), i);
        }
        let best = patterns.iter().filter_map(|p| rank(p, &path)).min();
        let expected: Vec<usize> =
            (0..patterns.len()).filter(|i| best.is_some() && rank(&patterns[*i], &path) == best).collect();
        prop_assert_eq!(table.find(&path), expected);
    }

    #[test]
    fn values_put_into_the_pattern_give_the_path_again(text in some_pattern(), path in some_path()) {
        if rank(&text, &path).is_some() {
            let parsed = pattern(&text);
            let bound = parsed.bind(&path);
            let rebuilt: String = text[1..]
                .split('/')
                .map(|part| match bound.iter().find(|(name, _)| part.strip_prefix([':', '*']) == Some(*name)) {
                    Some((_, value)) => format!("/{value}"),
                    None => format!("/{part}"),
                })
                .collect();
            prop_assert_eq!(rebuilt.strip_suffix('/').unwrap_or(&rebuilt), path.strip_suffix('/').unwrap_or(&path));
        }
    }

    #[test]
    fn pattern_reads_back_what_it_writes(text in "(/[:*]?[a-z_%2Fé.]{0,3}){1,4}") {
        if let Ok(parsed) = Pattern::parse(&text) {
            prop_assert_eq!(parsed.to_string(), text.clone());
            prop_assert!(parsed.meets(&parsed));
        }
    }

    #[test]
    fn patterns_meet_exactly_when_every_path_ranks_them_alike(a in some_pattern(), b in some_pattern()) {
        let shape = |text: &str| -> Vec<String> {
            text[1..].split('/').map(|p| if p.starts_with([':', '*']) { p[..1].to_owned() } else { p.to_owned() }).collect()
        };
        prop_assert_eq!(pattern(&a).meets(&pattern(&b)), shape(&a) == shape(&b));
    }
}
