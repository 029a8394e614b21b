//! What the fuzzers call: functions that take any bytes and panic where a promise is broken.
//!
//! `cargo test` feeds them the kept corpora and what is one step away from those; cargo-fuzz feeds them for as long as it
//! is let. To add a target: a function here and its line in [`ALL`], a folder of seeds in `fuzz/corpus`, a front end in
//! `fuzz/fuzz_targets` and its `[[bin]]` in `fuzz/Cargo.toml`. A test names what is missing of these.
#![expect(clippy::missing_panics_doc, reason = "to panic where a promise is broken is what a target is for")]

mod authorization;
mod body;
mod decision;
mod key_format;
mod key_text;
mod name;
mod network;
mod path;
mod pattern;
mod query;
mod scope;

pub use authorization::authorization;
pub use body::body;
pub use decision::decision;
pub use key_format::key_format;
pub use key_text::key_text;
pub use name::name;
pub use network::network;
pub use path::path;
pub use pattern::pattern;
pub use query::query;
pub use scope::scope;

/// A target: any bytes will do.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus and of its front end.
pub const ALL: [(&str, Target); 11] = [
    ("authorization", authorization),
    ("body", body),
    ("decision", decision),
    ("key_format", key_format),
    ("key_text", key_text),
    ("name", name),
    ("network", network),
    ("path", path),
    ("pattern", pattern),
    ("query", query),
    ("scope", scope),
];
