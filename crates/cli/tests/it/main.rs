//! What the program promises whoever sends it something: over HTTP, on a bare socket and on the command line.
//!
//! One module for each subject; the binary under test is the real one, and what it is asked comes from outside.
#![cfg(test)]

mod accounts;
mod asker;
mod bad_input;
mod clock;
mod command_line;
mod errors;
mod failures;
mod leaks;
mod letters;
mod limits;
mod matrix;
mod nodes;
mod openapi;
mod outages;
mod overload;
mod quotas;
mod rolling;
mod support;
mod tls;
mod tower;
mod usage;
mod watching;
