//! The console in a real browser, against the real binary.
//!
//! Without Chromium on the machine these tests are left out, and say so; `./test` installs it.
#![cfg(test)]

mod access;
mod keys;
mod organization;
mod people;
mod safety;
mod screens;
mod scripts;
mod support;
mod walks;
