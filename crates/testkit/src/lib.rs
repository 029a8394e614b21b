//! What the tests share: private databases, real programs, a running keyrack, plain HTTP, an upstream and a line that can be cut.
//!
//! A dev-dependency, and of the bench. A helper that cannot do its work panics, with all a reader needs to see why: in a test
//! that is the right ending. Nothing in here knows the insides of the product; it sees what a user sees.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::return_self_not_must_use,
    clippy::disallowed_methods,
    reason = "test code: a panic is its way to fail, and its random names need no injected randomness"
)]

pub mod browser;
mod contract;
pub mod database;
pub mod http;
pub mod link;
pub mod postgres;
pub mod process;
pub mod server;
pub mod upstream;

pub use browser::Browser;
pub use database::Database;
pub use http::{Answer, Http};
pub use link::Link;
pub use process::Program;
pub use server::Keyrack;
pub use upstream::Upstream;
