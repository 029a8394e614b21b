//! Names, slugs and e-mail addresses.

use keyrack_core::name::{MAX_DESCRIPTION, NameError, description, email, group, name, slug};
use proptest::prelude::*;

#[test]
fn name_is_trimmed_and_composed() {
    for (text, expected) in [
        ("CI", "CI"),
        ("  build server \n", "build server"),
        ("\u{a0}a\u{3000}", "a"),
        ("Cafe\u{301}", "Caf\u{e9}"),
        ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
        ("\u{212b}", "\u{e5}".to_uppercase().as_str()),
        ("日本語 🔑", "日本語 🔑"),
    ] {
        assert_eq!(name(text).as_deref(), Ok(expected), "{text:?}");
    }
}

#[test]
fn name_has_1_to_100_characters_once_trimmed_and_composed() {
    for good in ["x".repeat(100), "🔑".repeat(100), format!("  {}  ", "x".repeat(100)), "e\u{301}".repeat(100)] {
        assert_eq!(name(&good).unwrap().chars().count(), 100);
    }
    for (bad, why) in [
        (String::new(), NameError::Empty),
        (" \t\r\n\u{3000}".to_owned(), NameError::Empty),
        ("x".repeat(101), NameError::TooLong(100)),
        ("🔑".repeat(101), NameError::TooLong(100)),
        ("x".repeat(5_000_000), NameError::TooLong(100)),
    ] {
        assert_eq!(name(&bad), Err(why));
    }
}

/// White space around a name is no part of it, but what nobody means as a name is refused before it is looked at.
#[test]
fn name_of_more_than_1200_bytes_is_too_long_whatever_it_holds() {
    assert_eq!(name(&format!("{:>1200}", "x")).as_deref(), Ok("x"));
    assert_eq!(name(&format!("{:>1201}", "x")), Err(NameError::TooLong(100)));
}

#[test]
fn name_holds_no_control_character_and_no_mark_that_reorders_or_hides_text() {
    let marks = [
        '\0', '\x1b', '\x7f', '\u{85}', '\t', '\n', // controls
        '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
        '\u{200e}', '\u{200f}', '\u{61c}', // bidi
        '\u{2028}', '\u{2029}', // line and paragraph separators
        '\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}', '\u{180e}', // invisible
    ];
    for mark in marks {
        assert_eq!(name(&format!("pay{mark}roll")), Err(NameError::Invisible), "{mark:?}");
        assert_eq!(description(&format!("pay{mark}roll")), Err(NameError::Invisible), "{mark:?}");
    }
}

#[test]
fn description_may_be_empty_and_has_up_to_1000_characters() {
    assert_eq!(description("  "), Ok(String::new()));
    assert_eq!(description(&"é".repeat(1000)).unwrap().chars().count(), 1000);
    assert_eq!(description(&"é".repeat(1001)), Err(NameError::TooLong(MAX_DESCRIPTION)));
}

#[test]
fn slug_is_1_to_63_of_a_to_z_0_to_9_and_dash_not_first() {
    for good in ["a", "0", "acme", "acme-eu", "a-", "9-9", &"a".repeat(63)] {
        assert_eq!(slug(good).as_deref(), Ok(good));
    }
    for bad in ["", "-a", "-", "A", "a_b", "a.b", "a/b", " a", "a ", "a\n", "é", "%61", &"a".repeat(64)] {
        assert_eq!(slug(bad), Err(NameError::Slug), "{bad:?}");
    }
}

#[test]
fn group_is_1_to_63_of_a_to_z_0_to_9_dash_and_underscore() {
    for good in ["a", "-", "_", "default", "a_b-9", &"a".repeat(63)] {
        assert_eq!(group(good).as_deref(), Ok(good));
    }
    for bad in ["", "A", "a b", "a,b", "a.b", "é", "a\0", &"a".repeat(64)] {
        assert_eq!(group(bad), Err(NameError::Group), "{bad:?}");
    }
}

#[test]
fn email_is_trimmed_and_lowered() {
    for (text, expected) in [
        ("ada@example.com", "ada@example.com"),
        ("  Ada.Lovelace+keys@Example.COM\n", "ada.lovelace+keys@example.com"),
        ("o'hara@sub.example.co.uk", "o'hara@sub.example.co.uk"),
        ("ÅSA@EXAMPLE.SE", "åsa@example.se"),
    ] {
        assert_eq!(email(text).as_deref(), Ok(expected), "{text:?}");
    }
    let local = "x".repeat(242);
    assert!(email(&format!("{local}@example.com")).is_ok(), "254 bytes");
    assert_eq!(email(&format!("x{local}@example.com")), Err(NameError::Email), "255 bytes");
}

#[test]
fn email_needs_one_at_with_something_on_both_sides_and_no_space() {
    for bad in [
        "",
        " ",
        "ada",
        "@",
        "@example.com",
        "ada@",
        "ada@@example.com",
        "a@b@c",
        "a b@c",
        "a@b c",
        "a\t@b",
        "a\n@b",
        "a@b\r\nBcc: c@d",
        "a\u{202e}@b",
        "a\0@b",
        "a\u{2003}b@c",
    ] {
        assert_eq!(email(bad), Err(NameError::Email), "{bad:?}");
    }
}

/// Lowering can undo the composed form: `H` with a macron below has none, `h` has one.
#[test]
fn same_email_in_other_letters_or_another_normal_form_is_the_same() {
    for (one, other) in [
        ("h\u{331}@example.com", "H\u{331}@example.com"),
        ("j\u{30c}@example.com", "J\u{30c}@example.com"),
        ("e\u{301}@example.com", "\u{c9}@example.com"),
        ("k@example.com", "\u{212a}@example.com"),
    ] {
        assert_eq!(email(one), email(other), "{one:?} {other:?}");
    }
}

fn text() -> impl Strategy<Value = String> {
    // Letters whose composed forms change under lowering, marks that compose, white space and what is refused.
    let parts = [
        "H", "h", "j", "J", "e", "\u{331}", "\u{30c}", "\u{301}", "\u{130}", "Σ", "\u{212a}", "ß", "@", " ",
        "\u{2001}", "\n", ".",
    ];
    prop_oneof![
        any::<String>(),
        prop::collection::vec(prop::sample::select(parts.to_vec()), 0..9).prop_map(|p| p.concat())
    ]
}

proptest! {
    #[test]
    fn reading_twice_changes_nothing(text in text()) {
        for read in [name, description, email, slug, group] {
            if let Ok(once) = read(&text) {
                prop_assert_eq!(read(&once), Ok(once));
            }
        }
    }

    #[test]
    fn email_in_capitals_is_the_same_email(text in "[a-zé.+]{1,10}@[a-z.]{1,10}") {
        prop_assert_eq!(email(&text.to_uppercase()), email(&text));
    }
}
