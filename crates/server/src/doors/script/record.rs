//! What the log of a route is told of a call.

use std::time::Instant;

use http::Method;
use jiff::Timestamp;
use keyrack_core::KeyId;
use keyrack_engine::{LiveRoute, LogKind, LogLine, Verdict};
use keyrack_script::wire::Fault;

use super::{ScriptHost, in_full, refusal};
use crate::app::App;
use crate::error::ApiError;
use crate::request_id::RequestId;

const INFO: u8 = 1;
const WARN: u8 = 2;
const ERROR: u8 = 3;

/// A call, from when it was let in.
pub(in crate::doors) struct Record {
    at: Timestamp,
    begun: Instant,
    method: Method,
    key: Option<(KeyId, String)>,
    id: RequestId,
}

impl Record {
    /// Of whom a decision let in.
    pub(in crate::doors) fn begin(app: &App, verdict: &Verdict, method: Method, id: RequestId) -> Self {
        let key = verdict.admitted().map(|key| (key.facts().key, key.record.name.to_string()));
        Self { at: app.engine.now(), begun: Instant::now(), method, key, id }
    }

    fn line(&self, route: &LiveRoute, kind: LogKind, level: u8, message: String) -> LogLine {
        LogLine {
            organization: route.route.organization,
            route: route.route.id,
            at: self.at,
            request: self.id.0.to_string(),
            kind,
            level,
            message,
            method: self.method.to_string(),
            status: None,
            took: None,
            key: self.key.clone(),
        }
    }

    fn end(&self, route: &LiveRoute, kind: LogKind, level: u8, message: String, status: u16) -> LogLine {
        let took = Some(self.begun.elapsed());
        LogLine { status: Some(status), took, ..self.line(route, kind, level, message) }
    }

    fn lines(&self, app: &App, route: &LiveRoute, host: &ScriptHost<'_>) -> Vec<LogLine> {
        let at = app.engine.now();
        let written = host.take_lines().into_iter();
        written.map(|(level, text)| LogLine { at, ..self.line(route, LogKind::Line, level, text) }).collect()
    }

    /// The script answered with this status.
    pub(in crate::doors) fn answered(&self, app: &App, route: &LiveRoute, host: &ScriptHost<'_>, status: u16) {
        let mut lines = self.lines(app, route, host);
        lines.push(self.end(route, LogKind::Answered, INFO, String::new(), status));
        app.engine.note_route_lines(lines);
    }

    /// The script failed; what its caller is told.
    pub(in crate::doors) fn failed(
        &self,
        app: &App,
        route: &LiveRoute,
        host: &ScriptHost<'_>,
        fault: &Fault,
    ) -> ApiError {
        let refusal = refusal(fault);
        let mut lines = self.lines(app, route, host);
        let message = host.masked(in_full(fault));
        lines.push(self.end(route, LogKind::Failed, ERROR, message, refusal.status.as_u16()));
        app.engine.note_route_lines(lines);
        refusal
    }

    /// The request did not get as far as the script.
    pub(in crate::doors) fn refused(&self, app: &App, route: &LiveRoute, refusal: &ApiError) {
        let line = self.end(route, LogKind::Rejected, WARN, refusal.code.to_owned(), refusal.status.as_u16());
        app.engine.note_route_lines(vec![line]);
    }
}

/// Somebody was not let in.
pub(in crate::doors) fn rejected(app: &App, route: &LiveRoute, method: Method, id: RequestId, refusal: &ApiError) {
    let record = Record { at: app.engine.now(), begun: Instant::now(), method, key: None, id };
    record.refused(app, route, refusal);
}
