//! The program on the command line: what it takes, what it prints, how it ends, and what the running server makes of it.

mod both_ways;
mod help;
mod imports;
mod keyfile;
mod seen;
mod settings;
mod signals;

use std::path::Path;

use keyrack_testkit::{Keyrack, Program};

use crate::support::KEYRACK;

/// The program in a directory, told nothing but what follows.
fn alone(directory: &Path) -> Program {
    Program::new(KEYRACK).directory(directory)
}

/// The program, managing a running server instead of its database.
fn remote(keyrack: &Keyrack) -> Program {
    keyrack.program().env("KEYRACK_URL", keyrack.url()).env("KEYRACK_KEY", &keyrack.management_key)
}
