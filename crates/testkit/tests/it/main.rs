//! What the test helpers promise, shown on small real things; and the rules about which crate may use which.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod arrows;
mod database;
mod http;
mod link;
mod postgres;
mod process;
mod server;
