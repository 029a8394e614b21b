//! Credentials in the query.

use std::fmt::Write as _;

use keyrack_core::carrier::{Carried, find, without_query_carriers};

/// Text as a raw query: once the carriers are cut out it carries nothing, what is left stood there before in this order,
/// and a credential that is found is the same when each of its bytes is escaped.
pub fn query(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let found = carried(query);
    let cut = without_query_carriers(query);
    assert_eq!(carried(&cut), Carried::Nothing);
    assert_eq!(without_query_carriers(&cut), cut);
    let mut pairs = query.split('&');
    assert!(cut.is_empty() || cut.split('&').all(|kept| pairs.any(|pair| pair == kept)));
    assert!(found == Carried::Nothing || cut.len() < query.len());
    for name in ["api_key=", "apiKey="] {
        let plain = query.split('&').any(|pair| pair.len() > name.len() && pair.starts_with(name));
        assert!(!plain || found != Carried::Nothing);
        assert!(!cut.split('&').any(|pair| pair.starts_with(name)));
    }
    match &found {
        Carried::Key(text) | Carried::Token(text) => {
            let escaped = text.bytes().fold("a=b&api%5fkey=".to_owned(), |mut escaped, byte| {
                let _ = write!(escaped, "%{byte:02X}");
                escaped
            });
            assert_eq!(carried(&escaped), found);
        }
        Carried::Foreign => panic!("a query has no schemes"),
        Carried::Nothing | Carried::Malformed => {}
    }
}

fn carried(query: &str) -> Carried<'_> {
    find([].into_iter(), [].into_iter(), Some(query))
}
