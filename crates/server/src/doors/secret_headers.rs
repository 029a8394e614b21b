//! Headers by which a service is told secrets: its caller's own.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use keyrack_engine::{LiveRoute, Seeker, Upstream, Verdict};

use super::headers::remove_alike;
use crate::app::App;
use crate::error::ApiError;
use crate::request_id::RequestId;

/// Headers that no log shows.
#[derive(Default)]
pub(super) struct SecretHeaders(Vec<(HeaderName, HeaderValue)>);

impl SecretHeaders {
    /// Those of a route, for whoever was let in. If one is missing nobody is let through: the service might take something else in its
    /// place that lets the caller do more.
    pub(super) fn of(
        app: &App,
        route: &LiveRoute,
        upstream: &Upstream,
        verdict: &Verdict,
        id: RequestId,
    ) -> Result<Self, ApiError> {
        let mapped = &upstream.secret_headers;
        if mapped.is_empty() {
            return Ok(Self::default());
        }
        let facts = verdict.admitted().map(keyrack_engine::KnownKey::facts);
        let seeker = Seeker {
            organization: route.route.organization,
            route: Some(route.route.id),
            group: facts.as_ref().map(|facts| facts.group),
            key: facts.as_ref().map(|facts| facts.key),
        };
        let header = |(name, secret): (&String, &String)| {
            let unfit = |what: &str| {
                tracing::error!(request = %id.0, route = %route.route.id, secret, "{what}");
                let message = "the service behind this door needs a secret that is not there for this caller";
                ApiError::new(StatusCode::BAD_GATEWAY, "secret_missing", message)
            };
            let value = app.engine.secret_for(&seeker, secret)?;
            let value = value.ok_or_else(|| unfit("a caller has no secret that the route tells its service"))?;
            let mut written = HeaderValue::from_str(value.expose())
                .map_err(|_| unfit("a secret that the route tells its service cannot stand in a header"))?;
            written.set_sensitive(true);
            Ok((name.parse().map_err(|_| ApiError::internal())?, written))
        };
        mapped.iter().map(header).collect::<Result<_, ApiError>>().map(Self)
    }

    /// Writes them; what the caller sent under their names is gone.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        remove_alike(headers, |name| self.0.iter().any(|(ours, _)| ours == name));
        headers.extend(self.0);
    }
}
