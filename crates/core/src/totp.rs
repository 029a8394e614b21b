//! Codes that a person's device makes from a shared secret and the time: TOTP (RFC 6238) with SHA-1, 30 seconds and six digits, which
//! is what every such app knows.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

/// How long a code is good, in seconds.
pub const PERIOD: i64 = 30;
/// By how many steps a device's clock may be wrong.
const SKEW: i64 = 1;
/// Bytes of a secret: as many as SHA-1 has (RFC 4226, section 4).
pub const SECRET: usize = 20;

/// The time step whose code this is, if it is that of now or of the step before or after, and of none up to `last_step`, whose code
/// was taken already.
pub fn step_of(secret: &[u8], code: &str, seconds: i64, last_step: i64) -> Option<i64> {
    let now = seconds.div_euclid(PERIOD);
    let mut found = None;
    // All of them are looked at, whichever it is.
    for step in now - SKEW..=now + SKEW {
        let is_it = bool::from(self::code(secret, step).as_bytes().ct_eq(code.as_bytes()));
        if is_it && step > last_step {
            found = Some(step);
        }
    }
    found
}

/// The code of a time step: what a device shows then.
pub fn code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    // Which four bytes are taken the last one says (RFC 4226, section 5.3).
    let at = usize::from(tag.last().copied().unwrap_or(0) & 0xf);
    let mut four = [0; 4];
    four.copy_from_slice(&tag[at..at + 4]);
    format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
}

/// What a device reads from a QR code: the secret, and for whom and where it is.
pub fn uri(secret: &[u8], issuer: &str, account: &str) -> String {
    let encode = |text: &str| -> String {
        text.bytes().fold(String::new(), |all, byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                all + &char::from(byte).to_string()
            }
            _ => all + &format!("%{byte:02X}"),
        })
    };
    let (issuer, account) = (encode(issuer), encode(account));
    let secret = data_encoding::BASE32_NOPAD.encode(secret);
    format!("otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the rows of SHA-1, of whose eight digits ours are the last six.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = b"12345678901234567890";
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(secret, seconds / PERIOD), expected);
            assert_eq!(step_of(secret, expected, seconds, 0), Some(seconds / PERIOD));
        }
    }

    #[test]
    fn a_code_is_good_a_step_before_and_after_and_once() {
        let secret = [5; SECRET];
        let (step, now) = (1000, 1000 * PERIOD + 7);
        let code = code(&secret, step);
        for (at, is_good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            assert_eq!(step_of(&secret, &code, now + at * PERIOD, 0).is_some(), is_good, "{at}");
        }
        assert_eq!(step_of(&secret, &code, now, step - 1), Some(step));
        assert_eq!(step_of(&secret, &code, now, step), None);
        for junk in ["", "000000000", "12345", "abcdef", &code[1..]] {
            assert_eq!(step_of(&secret, junk, now, 0), None);
        }
    }

    #[test]
    fn a_device_is_told_all_it_needs() {
        assert_eq!(
            uri(b"12345678901234567890", "Keyrack (a:b)", "ada@example.com"),
            "otpauth://totp/Keyrack%20%28a%3Ab%29:ada@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Keyrack%20%28a%3Ab%29"
        );
    }
}
