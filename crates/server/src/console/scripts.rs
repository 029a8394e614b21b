//! `/organizations/{organization}/routes/{id}/script`: the script behind a route, a test call, and its log.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use keyrack_core::RouteId;
use keyrack_engine::{Route, RouteLog, RoutePatch, Script, ScriptVersion, Target};
use serde::Deserialize;
use uuid::Uuid;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::keys::create::offered;
use super::routes::target_of;
use super::show::Moment;
use crate::app::App;
use crate::doors::script::trial::{self, Trial, Tried};
use crate::error::ApiError;
use crate::json::{Path, Query};

const FIELDS: [&str; 4] = ["source", "target", "headers", "group"];
/// How many lines of the log are shown.
const LINES: i64 = 50;
/// How much of an answer is shown, in bytes.
const SHOWN: usize = 20_000;

/// A line of the log.
struct Line {
    at: Moment,
    kind: &'static str,
    level: &'static str,
    method: String,
    status: Option<i64>,
    milliseconds: Option<String>,
    key: Option<(String, String)>,
    message: String,
}

fn level(level: i64) -> &'static str {
    match level {
        0 => "debug",
        1 => "info",
        2 => "warn",
        _ => "error",
    }
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{}", micros / 1000, micros % 1000 / 100)
}

impl Line {
    fn new(line: RouteLog, now: Timestamp) -> Self {
        Self {
            at: Moment::new(line.at, now),
            kind: line.kind.as_str(),
            level: level(line.level),
            method: line.method,
            status: line.status,
            milliseconds: line.micros.map(|micros| milliseconds(micros.unsigned_abs())),
            key: line.key.map(|(id, name)| (id.to_string(), name)),
            message: line.message,
        }
    }
}

async fn lines(app: &App, visit: &Visit, id: RouteId) -> Result<Vec<Line>, ApiError> {
    let log = app.engine.route_log(&visit.context, id, None, LINES).await?;
    Ok(log.data.into_iter().map(|line| Line::new(line, visit.frame.now)).collect())
}

struct Version {
    number: i64,
    since: Moment,
    bytes: usize,
}

impl Version {
    fn new(version: &ScriptVersion, now: Timestamp) -> Self {
        let since = Moment::new(version.created_at, now);
        Self { number: version.version, since, bytes: version.source.len() }
    }
}

/// What was typed.
#[derive(Default)]
struct Typed {
    source: String,
    method: String,
    target: String,
    headers: String,
    body: String,
    group: String,
}

impl Typed {
    fn of_form(form: &Form) -> Self {
        let raw = |name: &str| form.raw(name).to_owned();
        Self {
            source: form.raw("source").replace("\r\n", "\n"),
            method: raw("method"),
            target: raw("target"),
            headers: raw("headers"),
            body: raw("body"),
            group: raw("group"),
        }
    }
}

/// What came of a test call.
struct Outcome {
    status: Option<u16>,
    headers: Vec<(String, String)>,
    /// What was answered, or what went wrong.
    text: String,
    lines: Vec<(&'static str, String)>,
    took: String,
}

impl Outcome {
    fn new(tried: Tried) -> Self {
        let (status, headers, mut text) = match tried.outcome {
            Ok((status, headers, body)) => (Some(status), headers, body),
            Err(message) => (None, Vec::new(), message),
        };
        if text.len() > SHOWN {
            text.truncate(text.floor_char_boundary(SHOWN));
            text.push_str("\n... and more, which is left out here");
        }
        let lines = tried.lines.into_iter().map(|(important, text)| (level(important.into()), text)).collect();
        let took = milliseconds(u64::try_from(tried.took.as_micros()).unwrap_or(u64::MAX));
        Self { status, headers, text, lines, took }
    }
}

#[derive(Template)]
#[template(path = "console/script.html")]
struct ScriptPage {
    frame: Frame,
    errors: Errors,
    typed: Typed,
    id: String,
    name: String,
    path: String,
    /// The version whose text is shown, if it is not the newest.
    earlier: Option<i64>,
    versions: Vec<Version>,
    groups: Vec<String>,
    tried: Option<Outcome>,
    lines: Vec<Line>,
}

struct Content {
    errors: Errors,
    typed: Typed,
    earlier: Option<i64>,
    tried: Option<Outcome>,
}

async fn page(app: &App, visit: Visit, route: Route, content: Content) -> Result<Response, ApiError> {
    let Content { errors, typed, earlier, tried } = content;
    let is_refused = errors.any();
    let versions = app.engine.list_script_versions(&visit.context, route.id).await?;
    let lines = lines(app, &visit, route.id).await?;
    let (groups, _) = offered(visit.tenant(app)?.as_ref());
    let response = shown(&ScriptPage {
        errors,
        typed,
        id: route.id.to_string(),
        name: route.name,
        path: route.path,
        earlier,
        versions: versions.iter().map(|version| Version::new(version, visit.frame.now)).collect(),
        groups,
        tried,
        lines,
        frame: visit.frame,
    });
    if is_refused { response.map(refused) } else { response }
}

/// Which version to show.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    version: Option<i64>,
}

/// The route, if a script is behind it.
async fn find(app: &App, visit: &Visit, id: Uuid) -> Result<(Route, Script), ApiError> {
    let route = app.engine.get_route(&visit.context, RouteId(id)).await?;
    match target_of(&route) {
        Target::Script(script) => Ok((route, script)),
        Target::Upstream(_) => Err(ApiError::not_found()),
    }
}

/// `GET`
pub(super) async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let (route, script) = find(&app, &visit, id).await?;
    let source = match wanted.version {
        Some(version) => app.engine.get_script_version(&visit.context, route.id, version).await?.source,
        None => script.source.clone(),
    };
    let earlier = wanted.version.filter(|_| source != script.source);
    // A path that the route takes, if that is easily said.
    let target = route.path.split('/').map(|part| if part.starts_with([':', '*']) { "x" } else { part });
    let target = target.collect::<Vec<_>>().join("/");
    let typed = Typed { source, method: "GET".to_owned(), target, ..Typed::default() };
    page(&app, visit, route, Content { errors: Errors::default(), typed, earlier, tried: None }).await
}

/// `POST`: saves it.
pub(super) async fn save(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let (route, _) = find(&app, &visit, id).await?;
    let typed = Typed::of_form(&form);
    let target = Target::Script(Script { source: typed.source.clone() });
    let saved = match app.scripts.check(&target).await {
        Ok(()) => {
            let patch = RoutePatch { target: Some(target), ..RoutePatch::default() };
            app.engine.update_route(&visit.context, route.id, patch).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    match saved {
        Ok(_) => Ok(redirect(&format!("{}/routes/{id}/script?done=script-saved", visit.frame.base()))),
        Err(error) => {
            let content = Content { errors: errors(error)?, typed, earlier: None, tried: None };
            page(&app, visit, route, content).await
        }
    }
}

/// What is wrong with the form, whose field is the whole target.
fn errors(mut error: ApiError) -> Result<Errors, ApiError> {
    for field in error.details.iter_mut().filter_map(|detail| detail.field.as_mut()) {
        if field == "target.source" {
            "source".clone_into(field);
        }
    }
    Errors::of(error, &FIELDS)
}

/// `POST .../try`: runs what was typed once, and saves nothing.
pub(super) async fn try_it(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let (route, _) = find(&app, &visit, id).await?;
    let typed = Typed::of_form(&form);
    let (errors, tried) = match tried(&app, &route, &typed).await {
        Ok(tried) => (Errors::default(), Some(Outcome::new(tried))),
        Err(error) => (errors(error)?, None),
    };
    page(&app, visit, route, Content { errors, typed, earlier: None, tried }).await
}

async fn tried(app: &App, route: &Route, typed: &Typed) -> Result<Tried, ApiError> {
    app.scripts.check(&Target::Script(Script { source: typed.source.clone() })).await?;
    let live = app.engine.live_route(route.organization, route.id).ok_or_else(ApiError::not_found)?;
    let trial = Trial {
        source: typed.source.clone(),
        method: typed.method.clone(),
        target: typed.target.trim().to_owned(),
        headers: headers(&typed.headers)?,
        body: typed.body.replace("\r\n", "\n").into_bytes(),
        group: Some(typed.group.clone()).filter(|group| !group.is_empty()),
    };
    trial::run(app, &live, trial, app.request_id()).await
}

/// Headers that were typed, one a line.
fn headers(text: &str) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
        });
        let (name, value) =
            header.ok_or_else(|| ApiError::field("headers", "each line must be a header: name: value"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[derive(Template)]
#[template(path = "console/parts/route_log.html")]
struct LogFragment {
    frame: Frame,
    lines: Vec<Line>,
}

/// `GET .../log`: the log alone, for the page that shows it as it comes.
pub(super) async fn log(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Response, ApiError> {
    let lines = lines(&app, &visit, RouteId(id)).await?;
    shown(&LogFragment { lines, frame: visit.frame })
}
