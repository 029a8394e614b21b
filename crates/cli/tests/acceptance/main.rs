//! What users come for, walked through as they would: over HTTP, against the real binary, on SQLite and on PostgreSQL.
//!
//! One module for each walk; a step is what somebody does next, and the steps of a walk build on each other.
#![cfg(test)]

mod crude_functions;
mod forward_auth;
mod gateway;
mod lasting;
mod rate_limits;
mod saas_boilerplate;
mod schemastack;
mod scripts;
mod secrets;
mod smallstack;
mod smally;
mod smally_quota;
mod smally_tokens;
mod support;
mod usage;
