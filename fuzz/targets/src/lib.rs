//! What the fuzzers call: functions that take any bytes and panic where a promise is broken.
//!
//! `cargo test` feeds them the kept corpora and what is one step away from those; cargo-fuzz feeds them for as long as it
//! is let. To add a target: a function here and its line in [`ALL`], a folder of seeds in `fuzz/corpus`, a front end in
//! `fuzz/fuzz_targets` and its `[[bin]]` in `fuzz/Cargo.toml`. A test names what is missing of these.
#![expect(clippy::missing_panics_doc, reason = "to panic where a promise is broken is what a target is for")]

mod authorization;
mod body;
mod cookie;
mod decision;
mod duration;
mod form;
mod forwarded;
mod id;
mod key_format;
mod key_text;
mod leaf;
mod name;
mod network;
mod path;
mod pattern;
mod query;
mod rate_limits;
mod scope;
mod slow_hash;
mod token;
mod upstream;

pub use authorization::authorization;
pub use body::body;
pub use cookie::cookie;
pub use decision::decision;
pub use duration::duration;
pub use form::form;
pub use forwarded::forwarded;
pub use id::id;
pub use key_format::key_format;
pub use key_text::key_text;
pub use leaf::leaf;
pub use name::name;
pub use network::network;
pub use path::path;
pub use pattern::pattern;
pub use query::query;
pub use rate_limits::rate_limits;
pub use scope::scope;
pub use slow_hash::slow_hash;
pub use token::token;
pub use upstream::upstream;

/// A target: any bytes will do.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus and of its front end.
pub const ALL: [(&str, Target); 21] = [
    ("authorization", authorization),
    ("body", body),
    ("cookie", cookie),
    ("decision", decision),
    ("duration", duration),
    ("form", form),
    ("forwarded", forwarded),
    ("id", id),
    ("key_format", key_format),
    ("key_text", key_text),
    ("leaf", leaf),
    ("name", name),
    ("network", network),
    ("path", path),
    ("pattern", pattern),
    ("query", query),
    ("rate_limits", rate_limits),
    ("scope", scope),
    ("slow_hash", slow_hash),
    ("token", token),
    ("upstream", upstream),
];
