//! `/api/usage`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use jiff::Timestamp;
use keyrack_client::wire::{Usage, UsageBy, text};
use keyrack_core::KeyId;
use keyrack_core::usage::Span;
use keyrack_engine::{EndpointUse, UsageAbout, UsageQuery};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::{Json, Path, Query};

/// As what to answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// JSON.
    #[default]
    Json,
    /// A table (RFC 4180) with a row for each time, endpoint, method, status and reason.
    Csv,
}

/// Which times are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfKey {
    /// From the beginning of the minute, hour or day that this moment is in. If missing: 60 minutes, 24 hours or 30 days back.
    from: Option<Timestamp>,
    /// To the end of the one that this moment is in; now if missing.
    until: Option<Timestamp>,
    /// What times to tell apart; `hour` if missing. At most 3,000 of them.
    by: Option<UsageBy>,
    /// As what to answer; `json` if missing.
    #[param(inline)]
    format: Option<Format>,
}

/// Of what, and which times.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfAny {
    /// Only keys of this group: its name or id.
    #[param(value_type = Option<text::GroupReference>)]
    group: Option<String>,
    /// Only keys of this workspace: its slug or id.
    #[param(value_type = Option<text::WorkspaceReference>)]
    workspace: Option<String>,
    /// What belongs to no organization: callers of Keyrack's own API whom nobody knows. For instance admins.
    instance: Option<bool>,
    /// From the beginning of the minute, hour or day that this moment is in. If missing: 60 minutes, 24 hours or 30 days back.
    from: Option<Timestamp>,
    /// To the end of the one that this moment is in; now if missing.
    until: Option<Timestamp>,
    /// What times to tell apart; `hour` if missing. At most 3,000 of them.
    by: Option<UsageBy>,
    /// As what to answer; `json` if missing.
    #[param(inline)]
    format: Option<Format>,
}

/// Show what was counted of a key
///
/// Requests by time, endpoint and secret, as they stand in the database: within a second, or about a minute where more than some
/// eight thousand keys are in use each second.
#[utoipa::path(get, path = "/api/keys/{id}/usage", tag = "usage", operation_id = "getKeyUsage",
    params(("id" = text::KeyId, Path), OfKey),
    responses((status = 200, content((Usage = "application/json"), (String = "text/csv"))),
        (status = 404, description = "No such key")))]
pub(super) async fn of_key(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(q): Query<OfKey>,
) -> Result<Response, ApiError> {
    let about = UsageAbout::Key(KeyId(id));
    answer(&app, &caller, query(about, (q.from, q.until), q.by), q.format).await
}

/// Show what was counted
///
/// Of the organization, or of a group or workspace in it; a key bound to a workspace is shown that one. Beside requests by time
/// and endpoint: which keys had the most, where texts came from that are no key, and how many keys nobody uses.
#[utoipa::path(get, path = "/api/usage", tag = "usage", operation_id = "getUsage", params(OfAny),
    responses((status = 200, content((Usage = "application/json"), (String = "text/csv"))),
        (status = 404, description = "No such group or workspace")))]
pub(super) async fn of_any(
    State(app): State<App>,
    caller: Caller,
    Query(q): Query<OfAny>,
) -> Result<Response, ApiError> {
    let about = match (q.group, q.workspace, q.instance == Some(true)) {
        (None, None, false) => UsageAbout::Everything,
        (Some(group), None, false) => UsageAbout::Group(group),
        (None, Some(workspace), false) => UsageAbout::Workspace(workspace),
        (None, None, true) => UsageAbout::Instance,
        _ => return Err(ApiError::bad_request("give one of group, workspace and instance")),
    };
    answer(&app, &caller, query(about, (q.from, q.until), q.by), q.format).await
}

fn query(about: UsageAbout, (from, to): (Option<Timestamp>, Option<Timestamp>), by: Option<UsageBy>) -> UsageQuery {
    UsageQuery { about, from, to, by: by.map_or(Span::Hour, Span::from_wire) }
}

async fn answer(app: &App, caller: &Caller, query: UsageQuery, format: Option<Format>) -> Result<Response, ApiError> {
    if format.unwrap_or_default() == Format::Json {
        let is_key = matches!(query.about, UsageAbout::Key(_));
        let report = app.engine.usage(&caller.context, &query).await?;
        return Ok(Json(convert::usage(report, is_key)).into_response());
    }
    let rows = app.engine.usage_rows(&caller.context, &query).await?;
    let table = table(&rows).map_err(|_| ApiError::internal())?;
    let headers = [(CONTENT_TYPE, "text/csv"), (CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\"")];
    Ok((headers, table).into_response())
}

/// A row of the table.
#[derive(Serialize)]
struct Row<'r> {
    start: Timestamp,
    endpoint: &'r str,
    method: &'r str,
    status: &'r str,
    denial: &'r str,
    requests: u64,
    units: u64,
    bytes_in: u64,
    bytes_out: u64,
    mean_ms: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

fn table(rows: &[(Timestamp, EndpointUse)]) -> Result<Vec<u8>, csv::Error> {
    let mut writer =
        csv::WriterBuilder::new().has_headers(false).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record([
        "start",
        "endpoint",
        "method",
        "status",
        "denial",
        "requests",
        "units",
        "bytes_in",
        "bytes_out",
        "mean_ms",
        "p50_ms",
        "p99_ms",
    ])?;
    for (start, of) in rows {
        let latency = of.latency.map(convert::usage_latency);
        writer.serialize(Row {
            start: *start,
            endpoint: &of.endpoint,
            method: of.method.as_str(),
            status: of.status.name().unwrap_or_default(),
            denial: of.denial.map_or("", keyrack_core::Reason::code),
            requests: of.counts.requests,
            units: of.counts.units,
            bytes_in: of.counts.bytes_in,
            bytes_out: of.counts.bytes_out,
            mean_ms: latency.map(|latency| latency.mean_ms),
            p50_ms: latency.map(|latency| latency.p50_ms),
            p99_ms: latency.map(|latency| latency.p99_ms),
        })?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use keyrack_core::Reason;
    use keyrack_core::usage::{Latency, Method, StatusClass};
    use keyrack_engine::UsageCounts;

    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_and_quotes_what_needs_it() {
        let start = "2026-11-22T20:00:00Z".parse().unwrap();
        let good = EndpointUse {
            endpoint: "/a,b/\"c\"".into(),
            method: Method::Get,
            status: StatusClass::of(204),
            denial: None,
            counts: UsageCounts { requests: 3, units: 7, bytes_in: 1, bytes_out: 2, micros: 4500 },
            latency: Some(Latency { mean: 1500, p50: 1000, p99: 2500 }),
        };
        let refused = EndpointUse {
            endpoint: "".into(),
            method: Method::Unknown,
            status: StatusClass::default(),
            denial: Some(Reason::Expired),
            counts: UsageCounts { requests: 1, ..UsageCounts::default() },
            latency: None,
        };
        let table = String::from_utf8(table(&[(start, good), (start, refused)]).unwrap()).unwrap();
        let lines: Vec<&str> = table.split("\r\n").collect();
        assert_eq!(lines[1], "2026-11-22T20:00:00Z,\"/a,b/\"\"c\"\"\",GET,2xx,,3,7,1,2,1.5,1.0,2.5");
        assert_eq!(lines[2], "2026-11-22T20:00:00Z,,,,EXPIRED,1,0,0,0,,,");
        assert_eq!(lines[0].split(',').count(), 12);
        assert_eq!(lines.len(), 4, "and ends with an end of line");
    }
}
