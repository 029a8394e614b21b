//! Doors: what guards something that is not Keyrack's.

mod carried;
mod decide;
pub mod egress;
pub(crate) mod forward_auth;
pub mod gateway;
pub mod headers;
pub(crate) mod limits;
pub mod upstream;
