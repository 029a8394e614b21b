//! The gateway: what stands between a caller and a service, and nothing that lets one past the other.

mod egress;
mod forwarding;
mod paths;
mod revocation;
mod routing;
