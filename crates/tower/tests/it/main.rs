//! What `keyrack-tower` promises a service that decides in process. What it promises beside other doors stands with the tests
//! of the program.
#![cfg(test)]

mod bodies;
mod denials;
mod grants;
mod services;
mod setup;
mod support;
