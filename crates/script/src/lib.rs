//! Small JavaScript functions, run in processes of their own.
//!
//! A script is an ES module whose default export gets a `Request` and answers with a `Response`, as the Fetch standard has them. It runs in
//! a child process of the same program that can do nothing but compute: it has no files, no network and no environment, a small memory, and
//! it is killed when its time is over. What it wants of the world it asks its parent for, over a pipe ([`wire`]).
//!
//! [`child`] is what runs in such a process; [`Pool`] keeps some of them ready.

pub mod child;
mod pool;
mod starter;
pub mod wire;

pub use pool::{Host, PATIENCE, Pool, PoolSettings, Replying};
