//! Doors: what guards something that is not Keyrack's.

mod carried;
mod cors;
mod decide;
pub mod egress;
pub(crate) mod ext_authz;
pub(crate) mod forward_auth;
pub mod gateway;
pub mod headers;
pub(crate) mod host;
pub(crate) mod limits;
pub(crate) mod script;
mod secret_headers;
mod sending;
pub(crate) mod tunnel;
pub mod upstream;
