//! Wire types of Keyrack's HTTP API and a typed client for it.
//!
//! The server answers with these types and the client reads them, so the two cannot drift apart. The client's transport is
//! HTTP, or anything else that turns a request into a response (see [`Transport`]).

mod client;
mod transport;
pub mod wire;

pub use client::{Answer, Client, ClientError, ListKeys, ListSecrets, UsageOf};
pub use transport::{HttpTransport, Transport, TransportError};
