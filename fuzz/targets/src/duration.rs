//! Lengths of time.

use keyrack_core::duration::seconds;

/// Text as a length of time: what is taken is digits and one unit that was allowed, comes to as much as a second reader makes of
/// it, and is the same when it is written without the zeros in front.
pub fn duration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let all = ["s", "m", "h", "d"];
    let Some(read) = seconds(text, &all) else {
        assert!(seconds(text, &["d", "h"]).is_none());
        return;
    };
    let (number, unit) = text.split_at(text.len() - 1);
    let number: i64 = number.bytes().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        other => panic!("{other} is no unit"),
    };
    assert!(number <= i64::from(u32::MAX));
    assert_eq!(read, number * each);
    assert_eq!(seconds(&format!("{number}{unit}"), &all), Some(read));
    for allowed in all {
        assert_eq!(seconds(text, &[allowed]).is_some(), allowed == unit);
    }
}
