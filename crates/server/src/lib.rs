//! HTTP: the management API, the gateway and the listener.

mod api;
mod app;
mod caller;
mod convert;
pub mod doors;
mod endpoint;
mod error;
mod json;
mod listen;
mod metrics;
mod openapi;

pub use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::header::{CONTENT_TYPE, HeaderValue};

pub use app::{App, ServerSettings};
pub use caller::{HostRequest, Peer};
pub use endpoint::Needs;
pub use listen::{Body, Front, serve, serve_text};

/// The router of Keyrack's own paths.
pub fn router(app: App) -> Router {
    let (router, document) = api::endpoints(app.clone()).finish();
    let text = openapi::text(&document).unwrap_or_default();
    let document = std::sync::Arc::new(serde_json::json!(document));
    let docs = move || {
        let document = document.clone();
        async move { openapi::page(&document) }
    };
    let file = move || {
        let text = text.clone();
        async move { ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text) }
    };
    #[cfg(feature = "bench")]
    let router = router.route("/-/constant", axum::routing::post(constant));
    router
        .route("/docs", get(docs))
        .route("/docs/openapi.json", get(file))
        .fallback(async || error::ApiError::not_found())
        .layer(from_fn_with_state(app.clone(), error::render))
        .with_state(app)
}

/// The `OpenAPI` document as it is committed.
pub fn openapi_document(app: App) -> Result<String, serde_json::Error> {
    let (_, document) = api::endpoints(app).finish();
    openapi::text(&document)
}

/// Reads the same body as `/api/verify` and answers as much, but decides nothing.
#[cfg(feature = "bench")]
async fn constant(
    json::Json(_): json::Json<keyrack_client::wire::VerifyKey>,
) -> json::Json<keyrack_client::wire::Verified> {
    json::Json(keyrack_client::wire::Verified {
        valid: true,
        code: "VALID".to_owned(),
        message: "The key may do this".to_owned(),
        key: None,
        organization: None,
        workspace: None,
        group: None,
        scopes: None,
    })
}
