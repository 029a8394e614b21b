//! Wire types of the HTTP API and a typed client for it.
