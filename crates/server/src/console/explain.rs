//! `/organizations/{organization}/explain`: why a request would pass or not, step by step.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyrack_core::{KeyId, RouteId};
use keyrack_engine::{Explain, Explanation, Which};
use serde::Deserialize;
use uuid::Uuid;

use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use crate::app::App;
use crate::error::ApiError;
use crate::json::Query;

/// What the address of the page asks to be filled in.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    key: String,
    route: String,
    method: String,
    path: String,
}

struct Typed {
    /// A key's id or text, or a whole curl line.
    key: String,
    route: String,
    method: String,
    path: String,
    address: String,
}

struct Found {
    key: Option<(String, String)>,
    route: Option<(String, String)>,
    steps: Vec<Row>,
    cure: Option<String>,
}

struct Row {
    code: &'static str,
    passes: bool,
    /// Whether an earlier step has decided already.
    is_moot: bool,
    asked: String,
    found: String,
}

impl Found {
    fn new(explanation: Explanation) -> Self {
        let first = explanation.steps.iter().position(|step| !step.passes);
        let row = |(at, step): (usize, keyrack_engine::Step)| Row {
            code: step.reason.code(),
            passes: step.passes,
            is_moot: first.is_some_and(|first| at > first),
            asked: step.asked,
            found: step.found,
        };
        Self {
            key: explanation.key.map(|view| (view.key.id.to_string(), view.key.name)),
            route: explanation.route.map(|route| (route.id.to_string(), route.name)),
            steps: explanation.steps.into_iter().enumerate().map(row).collect(),
            cure: explanation.cure,
        }
    }
}

#[derive(Template)]
#[template(path = "console/explain.html")]
struct ExplainPage {
    frame: Frame,
    errors: Errors,
    typed: Typed,
    routes: Vec<(String, String)>,
    found: Option<Found>,
}

async fn page(
    app: &App,
    visit: Visit,
    errors: Errors,
    typed: Typed,
    found: Option<Found>,
) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let routes = app.engine.list_routes(&visit.context).await?.into_iter();
    let routes = routes.map(|route| (route.id.to_string(), format!("{} ({})", route.name, route.path))).collect();
    let response = shown(&ExplainPage { frame: visit.frame, errors, typed, routes, found });
    if is_refused { response.map(refused) } else { response }
}

/// `GET`
pub(super) async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let Asked { key, route, method, path } = asked;
    let method = if method.is_empty() { "GET".to_owned() } else { method };
    let typed = Typed { key, route, method, path, address: String::new() };
    page(&app, visit, Errors::default(), typed, None).await
}

/// `POST`
pub(super) async fn explain(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let raw = |name: &str| form.raw(name).trim().to_owned();
    let mut typed = Typed {
        key: raw("key"),
        route: raw("route"),
        method: raw("method"),
        path: raw("path"),
        address: raw("address"),
    };
    if let Some(line) = CurlLine::read(&typed.key) {
        typed.method = line.method;
        typed.path = line.path.unwrap_or(typed.path);
        // What was pasted goes no further than this request: neither the page nor a log has it.
        return answer(&app, visit, &line.key, Typed { key: String::new(), ..typed }).await;
    }
    let key = std::mem::take(&mut typed.key);
    let is_id = key.parse::<Uuid>().is_ok();
    let typed = if is_id { Typed { key: key.clone(), ..typed } } else { typed };
    answer(&app, visit, &key, typed).await
}

async fn answer(app: &App, visit: Visit, key: &str, typed: Typed) -> Result<Response, ApiError> {
    let explained = match (&typed, read(&typed)) {
        (_, Ok((route, address))) => {
            let which = key.parse().map_or(Which::Text(key), |id| Which::Id(KeyId(id)));
            let path = if typed.path.is_empty() { "/" } else { &typed.path };
            let asked = Explain { key: which, route, method: &typed.method, path, address };
            app.engine.explain(&visit.context, asked).await.map_err(ApiError::from)
        }
        (_, Err(error)) => Err(error),
    };
    match explained {
        Ok(explanation) => page(app, visit, Errors::default(), typed, Some(Found::new(explanation))).await,
        Err(error) if error.status == StatusCode::NOT_FOUND => {
            page(app, visit, Errors::on("key", "is none of this organization's"), typed, None).await
        }
        Err(error) => page(app, visit, Errors::of(error, &["path", "address", "route"])?, typed, None).await,
    }
}

fn read(typed: &Typed) -> Result<(Option<RouteId>, Option<std::net::IpAddr>), ApiError> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let route = some(&typed.route).map(|id| id.parse()).transpose();
    let address = some(&typed.address).map(|address| address.parse()).transpose();
    Ok((
        route.map_err(|_| ApiError::field("route", "choose one"))?,
        address.map_err(|_| ApiError::field("address", "must be an IP address, such as 192.0.2.7"))?,
    ))
}

/// What a line says that calls `curl`, as far as doors look at it.
#[derive(PartialEq, Eq, Debug)]
struct CurlLine {
    key: String,
    method: String,
    path: Option<String>,
}

impl CurlLine {
    fn read(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("curl")?;
        let mut words = words(rest).into_iter();
        let (mut key, mut method, mut has_body, mut path) = (String::new(), None, false, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "-X" | "--request" => method = words.next(),
                "-H" | "--header" => {
                    let header = words.next().unwrap_or_default();
                    let (name, value) = header.split_once(':').unwrap_or_default();
                    match name.trim().to_ascii_lowercase().as_str() {
                        "x-api-key" => value.trim().clone_into(&mut key),
                        // The first carrier wins.
                        "authorization" if key.is_empty() => {
                            let value = value.trim();
                            let bearer =
                                value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                            bearer.map_or(value, |(_, text)| text.trim()).clone_into(&mut key);
                        }
                        _ => {}
                    }
                }
                "-u" | "--user" => {
                    let user = words.next().unwrap_or_default();
                    if let (Some(text), true) = (user.strip_prefix(':'), key.is_empty()) {
                        text.clone_into(&mut key);
                    }
                }
                "-d" | "--data" | "--data-raw" | "--json" | "--data-binary" => {
                    has_body = true;
                    words.next();
                }
                "-I" | "--head" => method = Some("HEAD".to_owned()),
                "-o" | "--output" | "-A" | "--user-agent" | "-m" | "--max-time" => drop(words.next()),
                option if option.starts_with('-') => {}
                address => {
                    let behind = address.split_once("://").map_or(address, |(_, rest)| rest);
                    let at = behind.find('/');
                    let found = at.map_or("/", |at| &behind[at..]).split(['?', '#']).next().unwrap_or("/");
                    path = Some(found.to_owned());
                }
            }
        }
        let method = method.unwrap_or_else(|| if has_body { "POST" } else { "GET" }.to_owned());
        Some(Self { key, method, path })
    }
}

/// The words of a line as a shell has them, with quotes and backslashes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_word) = (Vec::new(), String::new(), None, false);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => (quote, is_word) = (Some(c), true),
            (None | Some('"'), '\\') => match characters.next() {
                // A backslash at its end continues a line.
                Some('\n') | None => {}
                Some(c) => {
                    word.push(c);
                    is_word = true;
                }
            },
            (None, c) if c.is_whitespace() => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            (_, c) => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, method: &str, path: &str) -> CurlLine {
        CurlLine { key: key.to_owned(), method: method.to_owned(), path: Some(path.to_owned()) }
    }

    #[test]
    fn a_curl_line_says_who_asks_for_what() {
        for (text, expected) in [
            (
                r#"curl -i http://localhost:8000/contacts -H "Authorization: Bearer sk_1""#,
                line("sk_1", "GET", "/contacts"),
            ),
            (r"curl https://a.test/x?y=1 -H 'X-API-Key: k' -d '{}'", line("k", "POST", "/x")),
            ("curl -u :k -X DELETE a.test/x/y#z", line("k", "DELETE", "/x/y")),
            ("curl -H 'authorization: bearer a' -H 'x-api-key: b' http://a.test", line("b", "GET", "/")),
            ("curl \\\n  -I \\\n http://a.test/a", line("", "HEAD", "/a")),
        ] {
            assert_eq!(CurlLine::read(text), Some(expected), "{text}");
        }
        assert_eq!(CurlLine::read("sk_live_something"), None);
    }
}
