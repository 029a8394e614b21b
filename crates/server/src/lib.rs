//! HTTP: the management API, the gateway and the listener.

mod access;
mod api;
mod app;
mod arriving;
mod caller;
mod console;
mod convert;
mod cookie;
pub mod doors;
mod endpoint;
mod error;
mod failures;
mod json;
mod links;
mod listen;
mod load;
pub mod metrics;
mod needs;
mod openapi;
mod own;
mod request_id;
mod set_up;
mod settings;
mod sign_ins;
mod tls;
mod unheard;

pub use app::App;
pub use caller::{HostRequest, Peer};
pub use doors::ext_authz::serve as serve_ext_authz;
pub use listen::{Body, Front, serve, serve_text};
pub use needs::Needs;
pub use own::OwnPaths;
pub use settings::ServerSettings;
pub use tls::{Tls, TlsError};

/// The `OpenAPI` document as it is committed.
pub fn openapi_document(app: App) -> Result<String, serde_json::Error> {
    let (_, document) = api::endpoints(app).finish();
    openapi::text(&document)
}
