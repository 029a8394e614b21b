//! What the web platform's part in JavaScript asks of us: texts, addresses, time, chance, and to pass on what is asked of the parent.
#![expect(clippy::needless_pass_by_value, reason = "what JavaScript passes to a function arrives as values of its own")]

use std::cell::RefCell;
use std::fs::File;
use std::rc::Rc;
use std::time::Instant;

use rquickjs::{ArrayBuffer, Ctx, Exception, Function, IntoJs as _, Object, Result, Value};
use url::{Url, quirks};

use crate::wire::{self, Ask, FromChild, Headers};

/// How many lines a call may write, and how long one may be.
const MAX_LINES: usize = 200;
const MAX_LINE: usize = 8 * 1024;
/// How many bytes of chance at once.
const MAX_RANDOM: usize = 65_536;

/// The way to the parent.
pub(super) struct Out {
    pub(super) pipe: File,
    /// How many lines the call has written.
    pub(super) lines: usize,
}

impl Out {
    pub(super) fn send(&mut self, message: &FromChild, body: &[u8]) -> std::io::Result<()> {
        wire::write(&mut self.pipe, message, body)
    }
}

/// The object by which the platform's part in JavaScript reaches us. Scripts do not see it.
pub(super) fn object<'js>(ctx: &Ctx<'js>, out: &Rc<RefCell<Out>>, begun: Instant) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    host.set("encode", Function::new(ctx.clone(), encode)?)?;
    host.set("decode", Function::new(ctx.clone(), decode)?)?;
    host.set("url", Function::new(ctx.clone(), parse_url)?)?;
    host.set("set_url", Function::new(ctx.clone(), set_url)?)?;
    host.set("random", Function::new(ctx.clone(), random)?)?;
    host.set("random_uuid", Function::new(ctx.clone(), random_uuid)?)?;
    host.set("elapsed", Function::new(ctx.clone(), move || begun.elapsed().as_secs_f64() * 1000.0)?)?;
    let to_log = Rc::clone(out);
    host.set("log", Function::new(ctx.clone(), move |level: u8, text: String| log(&to_log, level, text))?)?;
    let to_ask = Rc::clone(out);
    let ask = move |ctx: Ctx<'js>, id: u32, what: String, details: Object<'js>| ask(&ctx, &to_ask, id, &what, &details);
    host.set("ask", Function::new(ctx.clone(), ask)?)?;
    Ok(host)
}

fn encode(ctx: Ctx<'_>, text: String) -> Result<ArrayBuffer<'_>> {
    ArrayBuffer::new(ctx, text.into_bytes())
}

/// The text of bytes that come as characters; nothing if it must be UTF-8 and is not.
fn decode(latin1: String, is_fatal: bool) -> Option<String> {
    let bytes = bytes_of(&latin1);
    if is_fatal { String::from_utf8(bytes).ok() } else { Some(String::from_utf8_lossy(&bytes).into_owned()) }
}

/// Bytes that come as characters.
fn bytes_of(latin1: &str) -> Vec<u8> {
    latin1.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
}

fn parse_url(ctx: Ctx<'_>, text: String, base: Option<String>) -> Result<Option<Object<'_>>> {
    let url = match base {
        None => Url::parse(&text).ok(),
        Some(base) => Url::parse(&base).ok().and_then(|base| base.join(&text).ok()),
    };
    url.map(|url| parts_of(&ctx, &url)).transpose()
}

fn set_url(ctx: Ctx<'_>, href: String, part: String, value: String) -> Result<Option<Object<'_>>> {
    let Ok(mut url) = Url::parse(&href) else { return Ok(None) };
    // What cannot be set stays as it is, without a word: so the standard wants it.
    match &*part {
        "protocol" => drop(quirks::set_protocol(&mut url, &value)),
        "username" => drop(quirks::set_username(&mut url, &value)),
        "password" => drop(quirks::set_password(&mut url, &value)),
        "host" => drop(quirks::set_host(&mut url, &value)),
        "hostname" => drop(quirks::set_hostname(&mut url, &value)),
        "port" => drop(quirks::set_port(&mut url, &value)),
        "pathname" => quirks::set_pathname(&mut url, &value),
        "search" => quirks::set_search(&mut url, &value),
        "hash" => quirks::set_hash(&mut url, &value),
        _ => {}
    }
    parts_of(&ctx, &url).map(Some)
}

fn parts_of<'js>(ctx: &Ctx<'js>, url: &Url) -> Result<Object<'js>> {
    let parts = Object::new(ctx.clone())?;
    parts.set("href", quirks::href(url))?;
    parts.set("origin", quirks::origin(url))?;
    parts.set("protocol", quirks::protocol(url))?;
    parts.set("username", quirks::username(url))?;
    parts.set("password", quirks::password(url))?;
    parts.set("host", quirks::host(url))?;
    parts.set("hostname", quirks::hostname(url))?;
    parts.set("port", quirks::port(url))?;
    parts.set("pathname", quirks::pathname(url))?;
    parts.set("search", quirks::search(url))?;
    parts.set("hash", quirks::hash(url))?;
    Ok(parts)
}

/// The system's own: another generator would first have to gather what it begins with, for longer than all else takes that a process begins
/// with.
fn random(ctx: Ctx<'_>, count: usize) -> Result<ArrayBuffer<'_>> {
    let mut bytes = vec![0; count.min(MAX_RANDOM)];
    getrandom::fill(&mut bytes).map_err(|_| Exception::throw_message(&ctx, "there is no randomness"))?;
    ArrayBuffer::new(ctx, bytes)
}

fn random_uuid(ctx: Ctx<'_>) -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Exception::throw_message(&ctx, "there is no randomness"))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

fn log(out: &RefCell<Out>, level: u8, mut text: String) {
    let mut out = out.borrow_mut();
    out.lines += 1;
    if out.lines > MAX_LINES {
        return;
    }
    if out.lines == MAX_LINES {
        "... and more, which is left out".clone_into(&mut text);
    }
    if text.len() > MAX_LINE {
        text.truncate(text.floor_char_boundary(MAX_LINE));
        text.push_str("...");
    }
    // A parent that is gone ends us soon enough.
    let _ = out.send(&FromChild::Log { level, text }, &[]);
}

fn ask<'js>(ctx: &Ctx<'js>, out: &RefCell<Out>, id: u32, what: &str, details: &Object<'js>) -> Result<()> {
    let mut body = Vec::new();
    let what = match what {
        "fetch" => {
            let sent = self::body(details)?;
            let has_body = sent.is_some();
            body = sent.unwrap_or_default();
            let (method, url, redirect) = (details.get("method")?, details.get("url")?, details.get("redirect")?);
            Ask::Fetch { method, url, headers: headers(details)?, redirect, has_body }
        }
        "secret" => Ask::Secret { name: details.get("name")?, scope: details.get("scope")? },
        _ => Ask::CompleteSecret { name: details.get("name")? },
    };
    let sent = out.borrow_mut().send(&FromChild::Ask { ask: id, what }, &body);
    sent.map_err(|_| Exception::throw_type(ctx, "this is too large to be sent"))
}

/// The headers of an object that has some.
pub(super) fn headers(of: &Object<'_>) -> Result<Headers> {
    let pairs: Vec<Vec<String>> = of.get("headers")?;
    Ok(pairs
        .into_iter()
        .filter_map(|pair| <[String; 2]>::try_from(pair).ok())
        .map(|[name, value]| (name, value))
        .collect())
}

/// The body of an object that may have one.
pub(super) fn body(of: &Object<'_>) -> Result<Option<Vec<u8>>> {
    let Some(body) = of.get::<_, Option<Object<'_>>>("body")? else { return Ok(None) };
    if let Some(text) = body.get::<_, Option<String>>("text")? {
        return Ok(Some(text.into_bytes()));
    }
    Ok(body.get::<_, Option<String>>("latin1")?.map(|latin1| bytes_of(&latin1)))
}

/// A body for a script: text where it is text, else its bytes.
pub(super) fn given<'js>(ctx: &Ctx<'js>, body: Vec<u8>) -> Result<Value<'js>> {
    match String::from_utf8(body) {
        Ok(text) => text.into_js(ctx),
        Err(other) => Ok(ArrayBuffer::new(ctx.clone(), other.into_bytes())?.into_value()),
    }
}
