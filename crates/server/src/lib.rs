//! HTTP: the management API, the gateway and the listener.

mod api;
mod app;
mod arriving;
mod caller;
mod convert;
pub mod doors;
mod endpoint;
mod error;
mod json;
mod links;
mod listen;
mod load;
mod metrics;
mod needs;
mod openapi;
mod request_id;
mod settings;

pub use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::header::{CONTENT_TYPE, HeaderValue};

pub use app::App;
pub use caller::{HostRequest, Peer};
pub use listen::{Body, Front, serve, serve_text};
pub use needs::Needs;
pub use settings::ServerSettings;

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
    let router = {
        let needs = Needs::Scope("verification", keyrack_core::Action::Read);
        let entry = from_fn_with_state(caller::Entry::new(app.clone(), needs, load::Lane::Memory), caller::enter);
        router.route("/-/constant", axum::routing::post(constant).layer(entry))
    };
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

/// Lets in the same callers as `/api/verify`, reads the same body and answers as many bytes, but decides nothing.
#[cfg(feature = "bench")]
async fn constant(
    caller: caller::Caller,
    json::Json(_): json::Json<keyrack_client::wire::VerifyKey>,
) -> ([(http::HeaderName, HeaderValue); 1], &'static str) {
    const ANSWER: &str = concat!(
        r#"{"valid":true,"code":"VALID","message":"The key may do this","key":{"id":"01a2007d-0424-7400-b0c1-ad7ce5882388","#,
        r#""name":"key 12345","environment":"live","role":"member","expires_at":null,"secret_version":1},"organization":{"#,
        r#""id":"01a2007d-041b-7ef1-8853-2a032722bfa5","name":"bench"},"group":{"id":"01a2007d-041b-783f-9f01-0b4af8f19d6e","#,
        r#""name":"default"},"scopes":["contacts:read","contacts:write"]}"#,
    );
    drop(caller);
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], ANSWER)
}
