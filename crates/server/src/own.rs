//! Keyrack's own paths: the management API and its documentation.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use http::header::{CONTENT_TYPE, HeaderValue};
use tower::ServiceExt as _;

use crate::app::App;
use crate::{api, console, error, openapi};

/// What answers on Keyrack's own paths.
#[derive(Clone)]
pub struct OwnPaths {
    app: App,
    router: Router,
}

impl OwnPaths {
    /// All of them.
    pub fn new(app: App) -> Self {
        Self { router: router(app.clone()), app }
    }

    /// Answers a request to one of them; 404 if it is to none.
    pub async fn answer(&self, request: Request) -> Response {
        let routed = async |request| {
            let answered: Result<_, Infallible> = self.router.clone().oneshot(request).await;
            answered.unwrap_or_else(|never| match never {})
        };
        error::render(&self.app, request, routed).await
    }
}

fn router(app: App) -> Router {
    let (router, document) = api::endpoints(app.clone()).finish();
    let text = openapi::text(&document).unwrap_or_default();
    let document = Arc::new(serde_json::json!(document));
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
        let needs = crate::Needs::Scope("verification", keyrack_core::Action::Read);
        let entry = crate::caller::Entry::new(app.clone(), "/-/constant", needs, crate::load::Lane::Memory);
        let entry = axum::middleware::from_fn_with_state(entry, crate::caller::enter);
        router.route("/-/constant", axum::routing::post(constant).layer(entry))
    };
    let router = router
        .merge(console::router(app.clone()))
        .route("/docs", get(docs))
        .route("/docs/openapi.json", get(file))
        .fallback(async || error::ApiError::not_found());
    console::around(app.clone(), router).with_state(app)
}

/// Lets in the same callers as `/api/verify`, reads the same body and answers as many bytes, but decides nothing.
#[cfg(feature = "bench")]
async fn constant(
    caller: crate::caller::Caller,
    crate::json::Json(_): crate::json::Json<keyrack_client::wire::VerifyKey>,
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
