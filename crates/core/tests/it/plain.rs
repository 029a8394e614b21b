//! The text of a key in memory.

use keyrack_core::PlainKey;

#[test]
fn debug_prints_nothing_of_the_text() {
    let key = PlainKey::new("sk_live_secret".to_owned());
    assert_eq!(format!("{key:?} {key:#?} {:?}", Some(&key)), "PlainKey(..) PlainKey(..) Some(PlainKey(..))");
}

#[test]
fn last4_is_the_last_four_characters() {
    for (text, last4) in [("sk_live_abcdWXYZ", "WXYZ"), ("abcd", "abcd"), ("abc", "abc"), ("", ""), ("1äöü€", "äöü€")]
    {
        assert_eq!(PlainKey::new(text.to_owned()).last4(), last4);
    }
}
