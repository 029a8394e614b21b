//! Lengths of time as people write them: `30d`, `12h`.

const UNITS: [(&str, i64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];

/// The seconds of a whole number with one of these units behind it, nothing else around and no sign.
pub fn seconds(text: &str, units: &[&str]) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (_, each) = UNITS.iter().find(|(name, _)| *name == unit && units.contains(name))?;
    let number: u32 = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())??;
    Some(i64::from(number) * each)
}
