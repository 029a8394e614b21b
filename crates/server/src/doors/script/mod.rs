//! Scripts behind routes: a request that was let in becomes what the Fetch standard calls a `Request`, and what the script answers with
//! becomes the answer.

mod call;
mod fetch;
mod host;
mod record;
pub(crate) mod trial;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use keyrack_core::RouteId;
use keyrack_engine::Target;
use keyrack_script::wire::{Answer, Call, Fault, FaultKind};
use keyrack_script::{Pool, PoolSettings};
use tokio::sync::Semaphore;

pub(super) use self::call::{Calling, read_body};
pub(crate) use self::host::ScriptHost;
pub(super) use self::record::{Record, rejected};
use super::headers;
use crate::error::ApiError;
use crate::load::overloaded;

/// How long a script may take.
pub(crate) const MILLISECONDS: u64 = 5000;
/// How much memory it may use.
pub(crate) const MEMORY: u64 = 32 << 20;

/// What runs scripts.
pub(crate) struct Scripts {
    pool: Option<Pool>,
    /// How many scripts of one route run at once: one that never ends leaves room for others.
    of_one_route: usize,
    rooms: Mutex<HashMap<RouteId, Arc<Semaphore>>>,
}

impl Scripts {
    /// Over processes of this kind; without them none is run.
    pub(crate) fn new(settings: Option<PoolSettings>) -> Self {
        let of_one_route = settings.as_ref().map_or(1, |settings| settings.most.div_ceil(2));
        Self { pool: settings.map(Pool::new), of_one_route, rooms: Mutex::default() }
    }

    fn pool(&self) -> Result<&Pool, ApiError> {
        let message = "this process runs no scripts";
        self.pool.as_ref().ok_or_else(|| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "scripts_unavailable", message))
    }

    /// Refuses a target that is a script which cannot be read, and says where it cannot.
    pub(crate) async fn check(&self, target: &Target) -> Result<(), ApiError> {
        let Target::Script(script) = target else { return Ok(()) };
        // That it can be no text of a script the use case says.
        if script.source.is_empty() || script.source.len() > keyrack_engine::MAX_SCRIPT || script.source.contains('\0')
        {
            return Ok(());
        }
        match self.pool()?.check(&script.source).await {
            Ok(()) => Ok(()),
            Err(fault) if matches!(fault.kind, FaultKind::Busy | FaultKind::Died) => Err(overloaded()),
            Err(fault) => Err(ApiError::field("target.source", in_words(&fault))),
        }
    }

    /// Runs the script of a route: what it answers, with its body.
    pub(crate) async fn run(
        &self,
        route: RouteId,
        call: Call,
        body: Vec<u8>,
        host: &ScriptHost<'_>,
    ) -> Result<(Answer, Vec<u8>), Fault> {
        let Ok(pool) = self.pool() else { return Err(Fault::new(FaultKind::Busy, "this process runs no scripts")) };
        let room = self.room(route);
        let waiting = tokio::time::timeout(keyrack_script::PATIENCE, Arc::clone(&room).acquire_owned());
        let Ok(Ok(place)) = waiting.await else {
            return Err(Fault::new(FaultKind::Busy, "as many calls of this script as may be are running already"));
        };
        let outcome = pool.run(call, body, host).await;
        drop(place);
        drop(room);
        self.tidy(route);
        outcome
    }

    fn room(&self, route: RouteId) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rooms.entry(route).or_insert_with(|| Arc::new(Semaphore::new(self.of_one_route))))
    }

    /// Forgets a route of which no script runs.
    fn tidy(&self, route: RouteId) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.get(&route).is_some_and(|room| Arc::strong_count(room) == 1) {
            rooms.remove(&route);
        }
    }
}

/// What is wrong, and where.
pub(crate) fn in_words(fault: &Fault) -> String {
    match (fault.line, fault.column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {}", fault.message),
        (Some(line), None) => format!("line {line}: {}", fault.message),
        _ => fault.message.clone(),
    }
}

/// The same with the stack, for whoever wrote the script.
fn in_full(fault: &Fault) -> String {
    let stack = fault.stack.as_deref().map(|stack| format!("\n{}", stack.trim_end())).unwrap_or_default();
    format!("{}{stack}", in_words(fault))
}

/// What a caller is told of a script that did not answer: nothing of what is in it.
fn refusal(fault: &Fault) -> ApiError {
    match fault.kind {
        FaultKind::Time => {
            let message = "the script behind this door took too long";
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "script_timeout", message)
        }
        FaultKind::Busy => overloaded(),
        _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "script_failed", "the script behind this door failed"),
    }
}

/// A script's answer as one of HTTP.
pub(super) fn response(answer: &Answer, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let written = response.headers_mut();
    extend(written, &answer.headers);
    headers::remove_hop_by_hop(written);
    // Its length is what it is.
    written.remove(CONTENT_LENGTH);
    response
}

/// Adds headers whose characters are bytes. What cannot stand in one is left out.
fn extend(headers: &mut HeaderMap, pairs: &[(String, String)]) {
    for (name, value) in pairs {
        let bytes: Option<Vec<u8>> = value.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
        let value = bytes.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
        if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), value) {
            headers.append(name, value);
        }
    }
}

/// Headers as pairs whose characters are bytes.
fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_out_as_they_went_in() {
        let mut headers = HeaderMap::new();
        let pairs_in = vec![("x-a".to_owned(), "\u{e4}".to_owned()), ("x-b".to_owned(), "1".to_owned())];
        extend(&mut headers, &pairs_in);
        assert_eq!(headers["x-a"].as_bytes(), b"\xe4");
        assert_eq!(pairs(&headers), pairs_in);
        extend(&mut headers, &[("x c".to_owned(), "1".to_owned()), ("x-d".to_owned(), "\u{20ac}".to_owned())]);
        assert_eq!(headers.len(), 2, "what cannot stand in a header does not");
    }

    #[test]
    fn a_script_says_nothing_about_the_connection_or_the_length() {
        let said =
            [("content-length", "1000"), ("connection", "x-gone"), ("x-gone", "1"), ("content-type", "text/plain")];
        let headers = said.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let response = response(&Answer { status: 201, headers, has_body: true }, b"abc".to_vec());
        let names: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!((response.status().as_u16(), names), (201, vec!["content-type"]));
    }
}
