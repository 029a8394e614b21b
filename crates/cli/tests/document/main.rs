//! The committed `OpenAPI` document, held against what a real server answers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod demo;
mod recorder;
mod walk;

/// The program.
const KEYRACK: &str = env!("CARGO_BIN_EXE_keyrack");
