//! Cookies.

use keyrack_core::carrier;

const NAME: &str = "__Host-keyrack_session";

/// Lines as values of `Cookie`: what is found stood there under the whole of the name, in one piece, and is the first of it;
/// cookies of other names change nothing, wherever they stand.
pub fn cookie(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let find = |lines: &[&str]| carrier::cookie(lines.iter().copied(), NAME).map(str::to_owned);
    let found = find(&lines);
    let pairs: Vec<&str> = lines.iter().flat_map(|line| line.split(';')).map(str::trim).collect();
    let first = pairs.iter().find(|pair| pair.split_once('=').is_some_and(|(name, _)| name == NAME));
    assert_eq!(found, first.map(|pair| pair[NAME.len() + 1..].to_owned()));
    let others = format!("a=b; x{NAME}=1; {NAME}x=2; {NAME}");
    assert_eq!(find(&[&[others.as_str()], lines.as_slice()].concat()), found);
    assert_eq!(find(&[lines.as_slice(), &[others.as_str()]].concat()), found);
    if let Some(value) = found {
        assert!(!value.contains([';', '\n']));
        assert_eq!(find(&[format!("{NAME}={value}").as_str()]), Some(value));
    }
}
