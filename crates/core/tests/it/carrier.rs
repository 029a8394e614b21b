//! Where credentials stand, and which of several is tried.

use std::borrow::Cow;

use keyrack_core::carrier::{Carried, find, without_query_carriers};
use proptest::prelude::*;

fn carried<'r>(x_api_key: &[&'r str], authorization: &[&'r str], query: Option<&'r str>) -> Carried<'r> {
    find(x_api_key.iter().map(|v| v.as_bytes()), authorization.iter().map(|v| v.as_bytes()), query)
}

type Made = fn(&str) -> Carried<'_>;

fn key(text: &str) -> Carried<'_> {
    Carried::Key(Cow::Borrowed(text))
}

fn basic(pair: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()))
}

#[test]
fn carriers_are_tried_in_order_and_only_the_first_that_holds_something() {
    for (x_api_key, authorization, query, expected) in [
        (&[][..], &[][..], None, Carried::Nothing),
        (&["k1"], &["Bearer k2"], Some("api_key=k3"), key("k1")),
        (&["k1"], &[], None, key("k1")),
        (&[], &["Bearer k2"], Some("api_key=k3"), key("k2")),
        (&[], &[], Some("api_key=k3"), key("k3")),
        // What comes first decides, even if it is wrong and a better one follows.
        (&["k 1"], &["Bearer k2"], Some("api_key=k3"), Carried::Malformed),
        (&[], &["Bearer "], Some("api_key=k3"), key("Bearer")),
        (&[], &["Digest username=\"a\""], Some("api_key=k3"), Carried::Foreign),
        // An empty header holds nothing.
        (&[""], &["Bearer k2"], Some("api_key=k3"), key("k2")),
        (&[" \t"], &[""], Some("api_key=k3"), key("k3")),
        (&[""], &[""], Some(""), Carried::Nothing),
        // The query is looked at only where the door takes it.
        (&[], &[], Some("a=b"), Carried::Nothing),
    ] {
        assert_eq!(carried(x_api_key, authorization, query), expected, "{x_api_key:?} {authorization:?} {query:?}");
    }
}

#[test]
fn same_header_twice_is_malformed_whatever_it_holds() {
    for values in [&["k1", "k2"][..], &["k1", "k1"], &["k1", ""], &["", "k1"], &["", ""], &["k", "k", "k"]] {
        assert_eq!(carried(values, &["Bearer k2"], None), Carried::Malformed, "{values:?}");
        assert_eq!(carried(&[], values, Some("api_key=k3")), Carried::Malformed, "{values:?}");
    }
    assert_eq!(carried(&[], &["Digest a", "Digest b"], None), Carried::Malformed);
    // But a second carrier is not a second header: it is not looked at.
    assert_eq!(carried(&["k1"], &["Bearer a", "Bearer b"], Some("api_key=c&api_key=d")), key("k1"));
}

#[test]
fn comma_joined_values_are_malformed() {
    for value in ["k1,k2", "k1, k2", ",", "k1,", ",k1"] {
        assert_eq!(carried(&[value], &[], None), Carried::Malformed, "{value}");
    }
    let basics = format!("{}, Bearer k2", basic(":k1"));
    for value in
        ["Bearer k1,Bearer k2", "Bearer k1, Bearer k2", "Bearer k1,", "k1,k2", "k1, Bearer k2", "Bearer, k1", &basics]
    {
        assert_eq!(carried(&[], &[value], None), Carried::Malformed, "{value}");
    }
    assert_eq!(carried(&[], &[], Some("api_key=k1,k2")), Carried::Malformed);
    assert_eq!(carried(&[], &[], Some("api_key=k1%2Ck2")), Carried::Malformed);
}

#[test]
fn authorization_is_bearer_in_any_case_or_bare_or_basic_with_an_empty_user_name() {
    let basic_key = basic(":k2");
    for value in [
        "Bearer k2",
        "bearer k2",
        "BEARER k2",
        "bEaReR k2",
        "Bearer   k2",
        "Bearer k2  ",
        " Bearer k2",
        "k2",
        " k2 ",
        &basic_key,
        &basic_key.replace("Basic", "bAsIc"),
        &basic_key.replace("Basic ", "Basic   "),
    ] {
        assert_eq!(carried(&[], &[value], None), Carried::Key("k2".into()), "{value}");
    }
    // What looks like a scheme without credentials is bare text, and no key.
    assert_eq!(carried(&[], &["Basic"], None), key("Basic"));
}

#[test]
fn other_schemes_belong_to_somebody_else() {
    let user = basic("ada:k2");
    let user_only = basic("ada:");
    let utf8 = basic("ädä:k2");
    for value in [
        "Digest username=\"ada\", realm=\"r\"",
        "Negotiate YII=",
        "ApiKey k2",
        "Token token=k2",
        "AWS4-HMAC-SHA256 a=b",
        &user,
        &user_only,
        &utf8,
    ] {
        assert_eq!(carried(&[], &[value], None), Carried::Foreign, "{value}");
    }
}

/// What is longer is not decoded at all.
#[test]
fn basic_with_a_user_name_belongs_to_somebody_else_up_to_4096_characters() {
    let (longest, longer) = (basic(&format!("ada:{}", "x".repeat(3068))), basic(&format!("ada:{}", "x".repeat(3069))));
    assert_eq!((longest.len(), longer.len()), ("Basic ".len() + 4096, "Basic ".len() + 4100));
    assert_eq!(carried(&[], &[&longest], None), Carried::Foreign);
    assert_eq!(carried(&[], &[&longer], None), Carried::Malformed);
}

#[test]
fn what_is_no_scheme_is_nobody_elses() {
    for value in ["k1, Digest a", "\"k\" a", "k1; a", "a=b c", "(x) y", "{\"a\": 1}", "schéma x"] {
        assert_eq!(carried(&[], &[value], None), Carried::Malformed, "{value}");
    }
}

#[test]
fn basic_that_is_not_base64_of_a_pair_is_malformed() {
    let no_colon = basic("k2");
    let empty = basic(":");
    let inner_space = basic(":k 2");
    let umlaut = basic(":kü");
    let nul = basic(":k\0");
    let padding = basic(":k").replace('=', "");
    let url_safe = "Basic Oj8_Pz8-";
    let long = basic(&format!(":{}", "k".repeat(3100)));
    for value in
        [&no_colon, &empty, &inner_space, &umlaut, &nul, &padding, "Basic !!!", url_safe, "Basic Omsy Omsy", &long]
    {
        assert_eq!(carried(&[], &[value], None), Carried::Malformed, "{value}");
    }
    // Only the first colon parts them, so a key may hold one.
    assert_eq!(carried(&[], &[&basic(":a:b")], None), Carried::Key("a:b".into()));
}

#[test]
fn text_up_to_128_bytes_is_a_key_up_to_2048_a_token_and_more_is_malformed() {
    let text = "t".repeat(2049);
    let percent = "%74".repeat(2049);
    let sizes: [(usize, Made); 6] = [
        (1, key),
        (128, key),
        (129, |t| Carried::Token(t.into())),
        (2047, |t| Carried::Token(t.into())),
        (2048, |t| Carried::Token(t.into())),
        (2049, |_| Carried::Malformed),
    ];
    for (length, expected) in sizes {
        let text = &text[..length];
        let (bearer, basic) = (format!("Bearer {text}"), basic(&format!(":{text}")));
        let (query, escaped) = (format!("api_key={text}"), format!("api_key={}", &percent[..3 * length]));
        assert_eq!(carried(&[text], &[], None), expected(text), "{length}");
        for authorization in [text, &bearer, &basic] {
            assert_eq!(carried(&[], &[authorization], None), expected(text), "{length} {authorization}");
        }
        // The length that counts is the decoded one.
        for query in [&query, &escaped] {
            assert_eq!(carried(&[], &[], Some(query)), expected(text), "{length} {query}");
        }
    }
}

#[test]
fn credentials_are_printable_ascii() {
    for value in ["k 1", "k\t1", "k\u{7f}", "k\0", "ké", "\u{a0}k", "k\r\nX-Admin: 1"] {
        assert_eq!(carried(&[value], &[], None), Carried::Malformed, "{value:?}");
        assert_eq!(carried(&[], &[&format!("Bearer {value}")], None), Carried::Malformed, "{value:?}");
    }
    assert_eq!(find([&b"k\xff"[..]].into_iter(), [].into_iter(), None), Carried::Malformed);
    for query in ["api_key=k%201", "api_key=k%00", "api_key=k%0d%0a", "api_key=k%c3%a9", "api_key=é", "api_key=k 1"] {
        assert_eq!(carried(&[], &[], Some(query)), Carried::Malformed, "{query:?}");
    }
    let graphic = "!\"#$%&'()*+-./:;<=>?@[\\]^_`{|}~";
    assert_eq!(carried(&[graphic], &[], None), key(graphic));
}

#[test]
fn query_names_and_values_are_decoded_and_plus_stays_plus() {
    for (query, expected) in [
        ("api_key=k3", "k3"),
        ("apiKey=k3", "k3"),
        ("api_ley=k3", "k3"),
        ("a=b&api_key=k3&c=d", "k3"),
        ("api%5Fkey=k3", "k3"),
        ("%61pi%5fkey=k3", "k3"),
        ("api%4bey=k3", "k3"),
        ("api_key=%6b3", "k3"),
        ("api_key=%6B3", "k3"),
        ("api_key=a+b", "a+b"),
        ("api_key=a%2Bb", "a+b"),
        ("api_key=a=b", "a=b"),
        ("api_key=%2541", "%41"),
        ("api_key=a%26b", "a&b"),
        ("&&api_key=k3", "k3"),
        ("%zz=1&api_key=k3", "k3"),
        // Pairs that hold nothing do not count.
        ("api_key=&apiKey=k3", "k3"),
        ("api_key&api_key=k3", "k3"),
    ] {
        assert_eq!(carried(&[], &[], Some(query)), Carried::Key(expected.into()), "{query}");
    }
}

#[test]
fn query_without_a_key_under_these_names_carries_nothing() {
    for query in [
        "",
        "api_key",
        "api_key=",
        "apikey=k3",
        "API_KEY=k3",
        "api-key=k3",
        "xapi_key=k3",
        "api_key%20=k3",
        "key=k3",
        "a=api_key=k3",
        "api_key%3Dk3",
        "api+key=k3",
        "a;api_key=k3",
    ] {
        assert_eq!(carried(&[], &[], Some(query)), Carried::Nothing, "{query}");
    }
}

#[test]
fn query_with_two_keys_or_a_broken_escape_is_malformed() {
    for query in [
        "api_key=k3&api_key=k3",
        "api_key=k3&apiKey=k4",
        "api_key=k3&api%5fkey=k4",
        "api_key=%",
        "api_key=%4",
        "api_key=%zz",
        "api_key=%+1",
        "api_key=k%é1",
    ] {
        assert_eq!(carried(&[], &[], Some(query)), Carried::Malformed, "{query}");
    }
}

#[test]
fn key_is_cut_out_of_the_query_and_every_other_byte_stays() {
    for (query, expected) in [
        ("", ""),
        ("a=b", "a=b"),
        ("api_key=k3", ""),
        ("api_key=k3&a=b", "a=b"),
        ("a=b&api_key=k3", "a=b"),
        ("a=b&api_key=k3&c=d", "a=b&c=d"),
        ("a=%26&api_key=k3&b=%zz+é", "a=%26&b=%zz+é"),
        ("a&&b&api_key=k3", "a&&b"),
        ("api_key=k3&apiKey=k4&api_ley=k5&x", "x"),
        ("api_key&api_key=&a", "a"),
        ("api%5Fkey=k3&a", "a"),
        ("apikey=k3&a", "apikey=k3&a"),
        ("&api_key=k3&", "&"),
        ("api_key=k&a=api_key=k", "a=api_key=k"),
    ] {
        assert_eq!(without_query_carriers(query), expected, "{query}");
    }
}

/// Queries of pieces that matter here, in any order.
fn query() -> impl Strategy<Value = String> {
    let pieces =
        ["api_key", "apiKey", "api%5fkey", "api_ley", "=", "&", "&", "k3", "%", "%26", "%3D", "+", "é", "a", ",", " "];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn query_that_was_cut_carries_nothing_and_is_what_was_left(query in query()) {
        let cut = without_query_carriers(&query);
        prop_assert_eq!(carried(&[], &[], Some(&cut)), Carried::Nothing);
        prop_assert_eq!(without_query_carriers(&cut), cut.as_ref());
        let mut pairs = query.split('&');
        prop_assert!(cut.is_empty() || cut.split('&').all(|kept| pairs.any(|pair| pair == kept)));
        if carried(&[], &[], Some(&query)) == Carried::Nothing && !query.contains("api") {
            prop_assert_eq!(cut.as_ref(), query.as_str());
        }
    }

    #[test]
    fn what_is_found_is_printable_ascii_within_its_bounds(
        x_api_key in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..2),
        authorization in prop::collection::vec(
            prop_oneof![prop::collection::vec(any::<u8>(), 0..200), "(Bearer |basic |x )?[ -~]{0,150}".prop_map(String::into_bytes)],
            0..2,
        ),
        query in prop::option::of(query()),
    ) {
        let found = find(x_api_key.iter().map(Vec::as_slice), authorization.iter().map(Vec::as_slice), query.as_deref());
        let bounds = match &found {
            Carried::Key(text) => Some((text, 1..=128)),
            Carried::Token(text) => Some((text, 129..=2048)),
            _ => None,
        };
        if let Some((text, bounds)) = bounds {
            prop_assert!(bounds.contains(&text.len()));
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b','));
        }
    }

    #[test]
    fn every_printable_text_passes_through_each_carrier_unchanged(text in "[!-+--~]{1,128}") {
        let expected = Carried::Key(Cow::Borrowed(text.as_str()));
        let escaped = text.bytes().fold(String::new(), |escaped, b| format!("{escaped}%{b:02x}"));
        let (bearer, basic, query) = (format!("Bearer {text}"), basic(&format!(":{text}")), format!("api_key={escaped}"));
        prop_assert_eq!(&carried(&[&text], &[], None), &expected);
        prop_assert_eq!(&carried(&[], &[&bearer], None), &expected);
        prop_assert_eq!(&carried(&[], &[&basic], None), &expected);
        prop_assert_eq!(&carried(&[], &[], Some(&query)), &expected);
    }
}
