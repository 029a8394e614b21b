//! `/organizations/{organization}/audit`: what happened, in words.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use jiff::Timestamp;
use keyrack_engine::{ActorKind, AuditFilter, Context, Event};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::frame::{Frame, Visit, shown};
use super::keys::selected::harmless;
use super::show::Moment;
use crate::app::App;
use crate::error::ApiError;
use crate::json::Query;

/// How many events are on a page.
const LIMIT: i64 = 50;
/// How many are read at a time for a file, and what its columns are.
const EXPORTED_AT_ONCE: i64 = 1000;
const HEAD: [&str; 9] =
    ["at", "kind", "actor_kind", "actor_id", "actor_name", "subject_kind", "subject_id", "subject_name", "data"];

/// An event, as a line.
pub(super) struct Line {
    pub(super) at: Moment,
    pub(super) actor: String,
    /// `key`, or nothing for people.
    pub(super) actor_kind: &'static str,
    pub(super) verb: String,
    pub(super) subject: String,
    /// The address of the thing's page, behind that of the organization.
    pub(super) link: Option<String>,
    pub(super) kind: String,
    pub(super) details: Option<String>,
}

impl Line {
    pub(super) fn new(event: Event, now: Timestamp) -> Self {
        let details = event.data.as_object().filter(|data| !data.is_empty()).map(|_| format!("{:#}", event.data));
        let is_gone = event.kind.ends_with(".deleted");
        let place = match event.subject_kind.as_str() {
            "key" => Some("keys"),
            "group" => Some("groups"),
            "route" => Some("routes"),
            "secret" => Some("secrets"),
            _ => None,
        };
        let link = place.filter(|_| !is_gone).zip(event.subject_id).map(|(place, id)| format!("/{place}/{id}"));
        Self {
            at: Moment::new(event.at, now),
            actor_kind: if event.actor_kind == ActorKind::ApiKey { "key" } else { "" },
            actor: event.actor_name,
            verb: verb(&event.kind),
            subject: event.subject_name,
            link,
            kind: event.kind,
            details,
        }
    }
}

/// What somebody did to something, in words: those of the kinds that people meet; others are told by their name.
fn verb(kind: &str) -> String {
    let known = match kind {
        "key.created" => "created the key",
        "key.changed" => "changed the key",
        "key.rotated" => "rotated the key",
        "key.revoked" => "revoked the key",
        "key.deleted" => "deleted the key",
        "key.imported" => "imported the key",
        "key.revealed" => "looked at the text of the key",
        "key.overlap_ended" => "ended an old secret of the key",
        "group.created" => "created the group",
        "group.changed" => "changed the group",
        "group.deleted" => "deleted the group",
        "workspace.created" => "created the workspace",
        "workspace.changed" => "changed the workspace",
        "workspace.deleted" => "deleted the workspace",
        "member.added" => "added the member",
        "member.invited" => "invited",
        "member.invitation_withdrawn" => "withdrew the invitation of",
        "member.joined" => "took in the member",
        "member.removed" => "removed the member",
        "member.role_changed" => "changed the role of",
        "route.created" => "created the route",
        "route.changed" => "changed the route",
        "route.deleted" => "deleted the route",
        "secret.created" => "created the secret",
        "secret.changed" => "changed the secret",
        "secret.revealed" => "looked at the value of the secret",
        "secret.deleted" => "deleted the secret",
        "data_key.made" => "made a",
        "setting.changed" => "changed the setting",
        "organization.created" => "created the organization",
        "organization.changed" => "changed the organization",
        _ => return kind.replace(['.', '_'], " "),
    };
    known.to_owned()
}

/// Which events to show.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    until: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    format: String,
}

impl Wanted {
    fn filter(&self) -> Result<AuditFilter, ApiError> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let id = |name, text: &str| {
            let read = given(text).map(|text| text.parse::<Uuid>()).transpose();
            read.map_err(|_| ApiError::field(name, "must be an id"))
        };
        // A whole day, as people choose it.
        let day = |name, text: &str, time: &str| {
            let read = given(text).map(|text| format!("{text}T{time}Z").parse::<Timestamp>()).transpose();
            read.map_err(|_| ApiError::field(name, "must be a day, such as 2026-12-31"))
        };
        let before = given(&self.cursor).map(|cursor| cursor.parse()).transpose();
        Ok(AuditFilter {
            kind: given(&self.kind),
            actor: id("actor", &self.actor)?,
            subject: id("subject", &self.subject)?,
            before: before.map_err(|_| ApiError::field("cursor", "is not one that a list gave out"))?,
            from: day("from", &self.from, "00:00:00")?,
            until: day("until", &self.until, "23:59:59.999999")?,
        })
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut changed = Self { cursor: String::new(), format: String::new(), ..self.clone() };
        change(&mut changed);
        format!("?{}", serde_urlencoded::to_string(&changed).unwrap_or_default())
    }
}

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    frame: Frame,
    wanted: Wanted,
    lines: Vec<Line>,
    filters: Vec<(String, String)>,
    next: Option<String>,
    first: Option<String>,
    export: String,
    kinds: &'static [(&'static str, &'static str)],
}

/// What can be chosen in the filter.
const KINDS: [(&str, &str); 18] = [
    ("key.created", "Key created"),
    ("key.changed", "Key changed"),
    ("key.rotated", "Key rotated"),
    ("key.revoked", "Key revoked"),
    ("key.deleted", "Key deleted"),
    ("group.created", "Group created"),
    ("group.changed", "Group changed"),
    ("route.created", "Route created"),
    ("route.changed", "Route changed"),
    ("route.deleted", "Route deleted"),
    ("secret.created", "Secret created"),
    ("secret.changed", "Secret changed"),
    ("secret.revealed", "Secret looked at"),
    ("secret.deleted", "Secret deleted"),
    ("member.invited", "Member invited"),
    ("member.joined", "Member joined"),
    ("member.removed", "Member removed"),
    ("setting.changed", "Setting changed"),
];

/// The page, or a file with `format=csv`.
pub(super) async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let filter = wanted.filter()?;
    if wanted.format == "csv" {
        return Ok(export(app, visit.context, filter));
    }
    let page = app.engine.list_audit(&visit.context, &filter, LIMIT).await?;
    let now = visit.frame.now;
    let mut filters = Vec::new();
    for (text, words, without) in [
        (&wanted.kind, "Event", wanted.with(|w| w.kind.clear())),
        (&wanted.actor, "By", wanted.with(|w| w.actor.clear())),
        (&wanted.subject, "About", wanted.with(|w| w.subject.clear())),
        (&wanted.from, "From", wanted.with(|w| w.from.clear())),
        (&wanted.until, "Until", wanted.with(|w| w.until.clear())),
    ] {
        if !text.is_empty() {
            filters.push((format!("{words} {text}"), without));
        }
    }
    shown(&AuditPage {
        lines: page.data.into_iter().map(|event| Line::new(event, now)).collect(),
        filters,
        next: page.next_cursor.map(|cursor| wanted.with(|w| w.cursor = cursor)),
        first: (!wanted.cursor.is_empty()).then(|| wanted.with(|_| {})),
        export: wanted.with(|w| "csv".clone_into(&mut w.format)),
        kinds: &KINDS,
        frame: visit.frame,
        wanted,
    })
}

/// All events that the filter lets through, some at a time. Where they cannot be read on the answer breaks off, so that nobody takes a part
/// of them for the whole.
fn export(app: App, context: Context, filter: AuditFilter) -> Response {
    let parts = stream::try_unfold(Some((filter, true)), move |place| {
        let (app, context) = (app.clone(), context.clone());
        async move {
            let Some((filter, is_first)) = place else { return Ok(None) };
            let page = app.engine.list_audit(&context, &filter, EXPORTED_AT_ONCE).await?;
            let before = page.next_cursor.and_then(|cursor| cursor.parse().ok());
            let next = before.map(|before| (AuditFilter { before: Some(before), ..filter }, false));
            Ok::<_, axum::BoxError>(Some((Bytes::from(rows(&page.data, is_first)?), next)))
        }
    });
    let mut response = Body::from_stream(parts).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=audit.csv"));
    response
}

fn rows(events: &[Event], with_head: bool) -> csv::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if with_head {
        writer.write_record(HEAD)?;
    }
    for event in events {
        let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        writer.write_record([
            &event.at.to_string(),
            &event.kind,
            event.actor_kind.as_str(),
            &id(event.actor_id),
            &harmless(&event.actor_name),
            event.subject_kind.as_str(),
            &id(event.subject_id),
            &harmless(&event.subject_name),
            &event.data.to_string(),
        ])?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}
