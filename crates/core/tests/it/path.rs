//! Paths that are taken, and paths that two parsers could read differently.

use keyrack_core::path::check;
use proptest::prelude::*;

#[test]
fn canonical_paths_are_taken_as_they_are() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/v1/users/42",
        "/a.b/c-d/e_f/g~h",
        "/...",
        "/.a",
        "/a.",
        "/..a",
        "/a..",
        "/.well-known/x",
        "/a!$&'()*+,=:@b",
        "/a%20b",
        "/%C3%A9",
        "/%c3%a9",
        "/%3F",
        "/%3b",
        "/%23",
        "/a%40b",
        "/%ff",
        "/%80",
        "/~ada",
        "/-/",
        "/a|b",
        "/a\"b",
        "/<a>",
        "/{a}",
        "/[a]",
        "/^`",
    ] {
        assert_eq!(check(path.as_bytes()), Ok(()), "{path}");
    }
    assert_eq!(check(format!("/{}", "a/".repeat(50_000)).as_bytes()), Ok(()));
}

#[test]
fn paths_that_can_be_read_differently_are_refused() {
    let refused: [(&str, &[&str]); 13] = [
        ("it does not start with a slash", &["", "a", "*", "http://host/a", "%2fa", " /a", "\\a", "?/a"]),
        ("it holds an empty segment", &["//", "//a", "/a//b", "/a//", "///", "/a///b"]),
        ("it holds a dot segment", &["/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "/../../etc"]),
        ("it escapes a slash", &["/a%2fb", "/a%2Fb", "/%2f", "/..%2f..%2fetc", "/%2F%2F"]),
        ("it escapes a backslash", &["/a%5cb", "/a%5Cb", "/..%5c"]),
        ("it escapes a percent sign", &["/a%25b", "/%252f", "/%252e%252e", "/%25"]),
        ("it escapes a control character", &["/a%00", "/%00", "/a%0a", "/a%0D%0A", "/a%09b", "/%1f", "/%7f", "/%7F"]),
        (
            "it escapes a character that needs no escape",
            &["/%2e", "/%2E%2E", "/%2e./a", "/%61dmin", "/%5a", "/%7e", "/%2d", "/%5f", "/%5F", "/%30", "/a/%2e%2e/b"],
        ),
        (
            "it holds a % that escapes nothing",
            &["/%", "/%2", "/a%", "/%zz", "/%2g", "/%g2", "/%%", "/% 2", "/%+1", "/%é"],
        ),
        ("it holds a backslash", &["/\\", "/a\\b", "/..\\", "/a/\\../b"]),
        ("it holds a semicolon", &["/;", "/a;b", "/..;/admin", "/a;jsessionid=1", "/a/;/b"]),
        ("it holds a number sign", &["/#", "/a#b", "/a/#/b"]),
        (
            "it holds a byte that is not printable ASCII",
            &["/a b", "/é", "/a\tb", "/a\0", "/a\n", "/a\r\nHost: x", "/\u{7f}", "/\u{2215}a", "/\u{ff0e}\u{ff0e}"],
        ),
    ];
    for (why, paths) in refused {
        for path in paths {
            assert_eq!(check(path.as_bytes()).map_err(|e| e.0), Err(why), "{path:?}");
        }
    }
    // A byte string need not be UTF-8.
    for path in [&b"/\xff"[..], b"/\x80", b"/a\xc0\xafb"] {
        assert!(check(path).is_err(), "{path:?}");
    }
}

/// What is checked ends before the first `?`, so one in it comes from somewhere that parted the request differently.
#[test]
fn question_mark_is_no_part_of_a_path() {
    for path in ["/?", "/a?b", "/a?", "/admin?/../public"] {
        assert!(check(path.as_bytes()).is_err(), "{path}");
    }
}

/// As a lenient server might: escapes undone, backslashes taken for slashes.
fn lenient(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(match escaped.unwrap_or(*byte) {
            b'\\' => b'/',
            byte => byte,
        });
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    out
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"/",
        b"/",
        b"/",
        b"a",
        b"B",
        b".",
        b"..",
        b"%",
        b"2",
        b"f",
        b"5c",
        b"%2f",
        b"%2e",
        b"%25",
        b"%00",
        b"%20",
        b"%C3%A9",
        b"%40",
        b"\\",
        b";",
        b"#",
        b"?",
        b"\xff",
        b"\xc3\xa9",
        b" ",
        b":",
        b"*",
        b"~",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..8)
        .prop_map(|pieces| [b"/", pieces.concat().as_slice()].concat())
}

proptest! {
    /// The point of it all: strict or lenient, decoding once or twice, everyone sees the same segments.
    #[test]
    fn path_that_is_taken_has_the_same_segments_for_every_reader(path in path()) {
        if check(&path).is_ok() {
            let decoded = lenient(&path);
            prop_assert_eq!(&lenient(&decoded), &decoded);
            let count = |path: &[u8]| path.split(|b| *b == b'/').count();
            prop_assert_eq!(count(&decoded), count(&path));
            prop_assert!(path.iter().all(u8::is_ascii_graphic));
            prop_assert!(!decoded.iter().any(u8::is_ascii_control));
            prop_assert!(!path.iter().any(|b| matches!(b, b';' | b'#' | b'?' | b'\\')));
            let segments: Vec<&[u8]> = decoded[1..].split(|b| *b == b'/').collect();
            let (last, before) = segments.split_last().unwrap();
            prop_assert!(before.iter().all(|s| !s.is_empty()));
            prop_assert!(!before.iter().chain([last]).any(|s| *s == b"." || *s == b".."));
        }
    }

    #[test]
    fn plain_segments_are_always_taken(path in "(/[A-Za-z0-9_~-]{1,8}){1,6}/?") {
        prop_assert_eq!(check(path.as_bytes()), Ok(()));
    }
}
