//! `fetch` of scripts: over the same guarded connections as what is sent to upstreams, redirects included.

use axum::body::{Body, Bytes};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, LOCATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use keyrack_script::wire::{Headers, MAX_ANSWER, Reply};
use url::Url;

use super::super::upstream::{Speaking, Upstreams, causes};
use super::{extend, pairs};
use crate::doors::{egress, headers};

/// How many redirects are followed (Fetch standard, section 4.4).
const MAX_REDIRECTS: usize = 20;

/// What a script wants to fetch.
pub(super) struct Wanted {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Headers,
    /// `follow`, `error` or `manual`.
    pub(super) redirect: String,
    pub(super) body: Option<Vec<u8>>,
}

/// A request as it stands after some redirects.
struct Going {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
}

/// Fetches it. What fails is told in words that say nothing of our network.
pub(super) async fn fetch(upstreams: &Upstreams, wanted: Wanted) -> Result<(Reply, Vec<u8>), String> {
    let mut going = Going::of(&wanted)?;
    let mut redirected = false;
    for _ in 0..=MAX_REDIRECTS {
        let response = upstreams.send(Speaking::Agreed, going.request()?).await.map_err(|error| failure(&error))?;
        let location = response.headers().get(LOCATION).filter(|_| is_redirect(response.status()));
        match (location, &*wanted.redirect) {
            (None, _) | (Some(_), "manual") => return answered(response, &going.url, redirected).await,
            (Some(_), "error") => return Err("the answer is a redirect".to_owned()),
            (Some(location), _) => {
                let to = location.to_str().ok().and_then(|to| going.url.join(to).ok());
                going.redirect(response.status(), to.ok_or("the answer redirects to what is no address")?);
                redirected = true;
            }
        }
    }
    Err("there are too many redirects".to_owned())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Going {
    fn of(wanted: &Wanted) -> Result<Self, String> {
        let url = Url::parse(&wanted.url).map_err(|_| "this is no address".to_owned())?;
        let method = Method::from_bytes(wanted.method.as_bytes()).map_err(|_| "this is no method".to_owned())?;
        let mut headers = HeaderMap::new();
        extend(&mut headers, &wanted.headers);
        headers::remove_hop_by_hop(&mut headers);
        // About the connection and the length of the body nobody decides but who sends it; bodies are shown as they come.
        for name in [HOST, CONTENT_LENGTH, EXPECT, ACCEPT_ENCODING] {
            headers.remove(name);
        }
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("keyrack"));
        Ok(Self { method, url, headers, body: wanted.body.clone().map(Bytes::from) })
    }

    fn request(&self) -> Result<Request<Body>, String> {
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err("only http and https can be fetched".to_owned());
        }
        let body = self.body.clone().map_or_else(Body::empty, Body::from);
        let mut address = self.url.clone();
        address.set_fragment(None);
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.method);
        *request.uri_mut() = address.as_str().parse().map_err(|_| "this address cannot be asked".to_owned())?;
        request.headers_mut().clone_from(&self.headers);
        let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        request.headers_mut().insert(HOST, host.ok_or("this address names no host")?);
        if let Some(body) = self.body.as_ref().filter(|body| !body.is_empty() || self.method == Method::POST) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(request)
    }

    /// Goes on to another place (Fetch standard, section 4.4, "HTTP-redirect fetch").
    fn redirect(&mut self, status: StatusCode, to: Url) {
        let becomes_get = match status.as_u16() {
            301 | 302 => self.method == Method::POST,
            303 => !matches!(self.method, Method::GET | Method::HEAD),
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.remove(CONTENT_TYPE);
        }
        if to.origin() != self.url.origin() {
            self.headers.remove(AUTHORIZATION);
            self.headers.remove(COOKIE);
        }
        self.url = to;
    }
}

async fn answered(response: Response<Incoming>, url: &Url, redirected: bool) -> Result<(Reply, Vec<u8>), String> {
    let (mut parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|_| format!("the answer broke off, or has more than {MAX_ANSWER} bytes"))?;
    headers::remove_hop_by_hop(&mut parts.headers);
    let mut url = url.clone();
    url.set_fragment(None);
    let reply = Reply::Fetched {
        status: parts.status.as_u16(),
        status_text: parts.status.canonical_reason().unwrap_or_default().to_owned(),
        url: url.into(),
        redirected,
        headers: pairs(&parts.headers),
        has_body: true,
    };
    Ok((reply, body.to_bytes().into()))
}

fn failure(error: &legacy::Error) -> String {
    let is_refused = causes(error).any(|cause| {
        let of_io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause.is::<egress::Refused>() || of_io.and_then(|inner| inner.downcast_ref::<egress::Refused>()).is_some()
    });
    if is_refused {
        return "connections to this address are not allowed".to_owned();
    }
    let what = if error.is_connect() { "no connection could be made" } else { "the connection broke" };
    format!("fetch failed: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn going(method: &str, headers: &[(&str, &str)]) -> Going {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (url, redirect) = ("https://a.example/x#part".to_owned(), "follow".to_owned());
        Going::of(&Wanted { method: method.to_owned(), url, headers, redirect, body: Some(b"{}".to_vec()) }).unwrap()
    }

    #[test]
    fn credentials_do_not_follow_to_another_origin() {
        let mut going = going("POST", &[("authorization", "Bearer x"), ("cookie", "a=b"), ("x-own", "1")]);
        going.redirect(StatusCode::TEMPORARY_REDIRECT, "https://a.example/y".parse().unwrap());
        assert!(going.headers.contains_key(AUTHORIZATION) && going.body.is_some() && going.method == Method::POST);
        going.redirect(StatusCode::SEE_OTHER, "https://b.example/".parse().unwrap());
        assert!(!going.headers.contains_key(AUTHORIZATION) && !going.headers.contains_key(COOKIE));
        assert!(going.headers.contains_key("x-own") && going.body.is_none() && going.method == Method::GET);
    }

    #[test]
    fn a_script_does_not_say_whom_it_speaks_to_or_how() {
        let request =
            going("PUT", &[("host", "other.example"), ("content-length", "9"), ("connection", "close")]).request();
        let request = request.unwrap();
        assert_eq!(request.headers()[HOST], "a.example");
        assert_eq!(request.headers()[CONTENT_LENGTH], "2");
        assert!(!request.headers().contains_key("connection"));
        assert_eq!(request.uri(), "https://a.example/x");
        let mut elsewhere = going("GET", &[]);
        elsewhere.url = "file:///etc/passwd".parse().unwrap();
        assert!(elsewhere.request().is_err());
    }
}
