//! Credentials in headers.

use keyrack_core::carrier::{Carried, MAX_TOKEN_LENGTH, find};
use keyrack_core::format::MAX_KEY_LENGTH;

/// Lines as headers: those that start with `x` are values of `X-API-Key`, with `a` of `Authorization`, with `q` the query.
/// One carrier decides alone, a repeated header is malformed, and what is found is printable and within its bounds.
pub fn authorization(data: &[u8]) {
    let values = |kind: u8| -> Vec<&[u8]> {
        data.split(|b| *b == b'\n').filter_map(|line| line.strip_prefix(&[kind])).collect()
    };
    let (x_api_key, authorization) = (values(b'x'), values(b'a'));
    let query = values(b'q').first().and_then(|q| std::str::from_utf8(q).ok());
    let found = carried(&x_api_key, &authorization, query);
    assert_bounds(&found);

    let decides = |values: &[&[u8]]| values.len() > 1 || values.iter().any(|v| !v.trim_ascii().is_empty());
    let alone = if decides(&x_api_key) {
        carried(&x_api_key, &[], None)
    } else if decides(&authorization) {
        carried(&[], &authorization, None)
    } else {
        carried(&[], &[], query)
    };
    assert_eq!(found, alone);
    assert_eq!(
        found == Carried::Nothing,
        !decides(&x_api_key) && !decides(&authorization) && alone == Carried::Nothing
    );
    if x_api_key.len() > 1 || !decides(&x_api_key) && authorization.len() > 1 {
        assert_eq!(found, Carried::Malformed);
    }
    assert!(found != Carried::Foreign || !decides(&x_api_key) && authorization.len() == 1);

    for value in x_api_key {
        assert_same_everywhere(value);
    }
}

fn carried<'r>(x_api_key: &[&'r [u8]], authorization: &[&'r [u8]], query: Option<&'r str>) -> Carried<'r> {
    find(x_api_key.iter().copied(), authorization.iter().copied(), query)
}

fn assert_bounds(found: &Carried<'_>) {
    let (text, bounds) = match found {
        Carried::Key(text) => (text, 1..=MAX_KEY_LENGTH),
        Carried::Token(text) => (text, MAX_KEY_LENGTH + 1..=MAX_TOKEN_LENGTH),
        _ => return,
    };
    assert!(bounds.contains(&text.len()));
    assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b','));
}

/// What a key or token is in one header, it is in every other way of sending it.
fn assert_same_everywhere(value: &[u8]) {
    let direct = carried(&[value], &[], None);
    if let Carried::Key(text) | Carried::Token(text) = &direct {
        let basic = data_encoding::BASE64.encode(format!(":{text}").as_bytes());
        for authorization in
            [text.to_string(), format!("Bearer {text}"), format!("bEARER  {text}"), format!("basic {basic}")]
        {
            assert_eq!(carried(&[], &[authorization.as_bytes()], None), direct, "{authorization}");
        }
    }
}
