//! Doors: what guards something that is not Keyrack's.

mod carried;
pub mod egress;
pub mod gateway;
pub mod headers;
pub(crate) mod limits;
pub mod upstream;
