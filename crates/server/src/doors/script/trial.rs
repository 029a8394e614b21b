//! A script run once for whoever writes it, without a door in front.

use std::time::{Duration, Instant};

use http::HeaderMap;
use keyrack_engine::{LiveRoute, Seeker};
use keyrack_script::wire::Call;

use super::{MEMORY, MILLISECONDS, ScriptHost, in_full, pairs};
use crate::app::App;
use crate::error::ApiError;
use crate::request_id::RequestId;

/// What such a caller is called.
const NAME: &str = "a test call";

/// What is to be run, and what it is told.
pub(crate) struct Trial {
    /// The module.
    pub(crate) source: String,
    /// The method of the request.
    pub(crate) method: String,
    /// Its path, and its query if it has one.
    pub(crate) target: String,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// The group whose key seems to call; nobody if missing.
    pub(crate) group: Option<String>,
}

/// An answer to be looked at: status, headers and body.
type Shown = (u16, Vec<(String, String)>, String);

/// What came of it.
pub(crate) struct Tried {
    /// The answer, or what went wrong.
    pub(crate) outcome: Result<Shown, String>,
    /// What the script wrote, each line with its level.
    pub(crate) lines: Vec<(u8, String)>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Runs a script as the one of this route.
pub(crate) async fn run(app: &App, route: &LiveRoute, trial: Trial, id: RequestId) -> Result<Tried, ApiError> {
    let (path, query) = trial.target.split_once('?').unwrap_or((&trial.target, ""));
    if !route.takes_path(path) {
        return Err(ApiError::field("target", format!("must be a path that the route takes: {}", route.route.path)));
    }
    let tenant = app.engine.directory().tenant(route.route.organization).ok_or_else(ApiError::not_found)?;
    let group =
        trial.group.as_deref().map(|name| tenant.group(name).ok_or_else(|| ApiError::field("group", "no such group")));
    let group = group.transpose()?;
    let seeker = Seeker {
        organization: route.route.organization,
        route: Some(route.route.id),
        group: group.map(|group| group.id),
        key: None,
    };
    let host = ScriptHost::seeking(app, route, seeker, group.map(|group| group.name.clone()));
    let call = Call {
        source: trial.source,
        milliseconds: MILLISECONDS,
        memory: MEMORY,
        method: trial.method,
        url: format!("http://localhost{}", trial.target),
        headers: pairs(&trial.headers),
        has_body: !trial.body.is_empty(),
        group: group.map(|group| group.name.clone()),
        key: group.map(|_| (uuid::Uuid::nil().to_string(), NAME.to_owned())),
        request_id: id.0.to_string(),
        params: route.params(path).into_iter().map(super::call::decoded).collect(),
        query: serde_urlencoded::from_str(query).unwrap_or_default(),
    };
    let begun = Instant::now();
    let outcome = app.scripts.run(route.route.id, call, trial.body, &host).await;
    let outcome = match outcome {
        Ok((answer, body)) => {
            Ok((answer.status, answer.headers, host.masked(String::from_utf8_lossy(&body).into_owned())))
        }
        Err(fault) => Err(host.masked(in_full(&fault))),
    };
    Ok(Tried { outcome, lines: host.take_lines(), took: begun.elapsed() })
}
