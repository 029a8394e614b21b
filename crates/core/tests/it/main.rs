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
mod name;
mod no_escalation;
mod path;
mod pattern;
mod plain;
mod role;
mod scope;
mod slow;
mod status;
mod time;
