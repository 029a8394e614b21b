//! Keys in front of the routes of a Rust service.
//!
//! A [`Keyrack`] decides, in this process over a database or by asking a running keyrack. What a route asks of its callers is
//! a [`RequireKey`]; together they make a [`KeyLayer`]. Whoever is kept out is answered as at every other door of Keyrack, and
//! the service behind does not hear of it. Whoever is let in stands in the request's extensions as a [`Grant`], which is an
//! extractor too.
//!
//! ```no_run
//! # async fn f(engine: std::sync::Arc<keyrack_engine::Engine>, acme: keyrack_core::OrganizationId) {
//! use axum::{Router, routing::get};
//! use keyrack_tower::{Grant, Keyrack, RequireKey};
//!
//! let keyrack = Keyrack::in_process(engine, acme);
//! let readers = keyrack.require(RequireKey::scope("contacts:read").groups(["partners"])).unwrap();
//! let app: Router = Router::new()
//!     .route("/contacts", get(async |grant: Grant| format!("{} may read", grant.key.name)))
//!     .route_layer(readers);
//! # }
//! ```
//!
//! A decision counts for one request. Nothing is kept of it, so a key that is revoked is refused from the next request on.
//! Where it cannot be decided the answer is 503: nothing passes that was not let in.

#[cfg(not(any(feature = "engine", feature = "remote")))]
compile_error!("somebody has to decide: choose the feature engine or remote");

mod arrival;
pub mod body;
mod door;
mod grant;
#[cfg(feature = "engine")]
mod in_process;
mod keyrack;
mod layer;
mod refused;
#[cfg(feature = "remote")]
mod remote;
mod require;

pub use arrival::Peer;
#[cfg(feature = "axum")]
pub use grant::NoGrant;
pub use grant::{Billing, Grant, Granted, Group, Key, Organization, Workspace};
pub use keyrack::Keyrack;
pub use layer::{KeyLayer, KeyService};
pub use require::{RequireKey, SetupError};

pub use keyrack_core::{GroupId, KeyId, OrganizationId, Role, Tier, Timestamp, WorkspaceId};
