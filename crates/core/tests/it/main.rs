//! What `keyrack-core` promises, tested through its public API alone. One module for each subject.
//!
//! Known answers were computed with other programs (Python's hashlib, hmac, zlib, uuid and bcrypt), never with the code
//! that they check.
#![cfg(test)]

mod address;
mod authority;
mod carrier;
mod decide;
mod digest;
mod format;
mod guard;
mod id;
mod leaf;
mod month;
mod name;
mod no_escalation;
mod path;
mod pattern;
mod plain;
mod quota;
mod rate;
mod role;
mod scope;
mod slow;
mod status;
mod time;
mod token;
mod upstream;
mod usage;

/// So many cases of a property, or as many as `PROPTEST_CASES` asks for.
fn cases(usual: u32) -> proptest::test_runner::Config {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests, as proptest has it itself")]
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|number| number.parse().ok());
    proptest::test_runner::Config::with_cases(asked.unwrap_or(usual))
}
