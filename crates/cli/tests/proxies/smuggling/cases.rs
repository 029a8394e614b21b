//! What is sent: requests that two parsers could read differently, and some that all must read alike.

/// What becomes of a request that comes straight to Keyrack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is refused, the connection is closed, and nothing of it reaches the service.
    Refused,
    /// It reaches the service, and what comes behind it does too.
    Passed,
    /// Either, but nothing behind it becomes a request: somebody could take it for a part of this one.
    Alone,
    /// Either, as long as both sides see the same.
    Open,
}

/// What is sent, with `{n}` where the number of the case goes, `{key}` for a good key, `{length}` for how much stands behind the head,
/// and `{size}` for the size of [`SMUGGLED`] in hexadecimal.
pub(crate) struct Case {
    text: String,
    pub(crate) fate: Fate,
}

/// A request that would come out where two sides disagree about where another one ends.
const SMUGGLED: &str = "GET /v1/smuggled-{n} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n";

fn raw(text: String, fate: Fate) -> Case {
    Case { text, fate }
}

fn post(headers: &str, body: &str, fate: Fate) -> Case {
    raw(format!("POST /v1/case-{{n}} HTTP/1.1\r\nHost: x\r\nX-API-Key: {{key}}\r\n{headers}\r\n{body}"), fate)
}

fn get(line: &str, headers: &str, fate: Fate) -> Case {
    raw(format!("{line}\r\nHost: x\r\nX-API-Key: {{key}}\r\n{headers}\r\n"), fate)
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [encodings(), lengths(), chunks(), lines(), headers(), hosts(), ends(), right()].into_iter().flatten().collect()
}

/// A length and an encoding at once, of which somebody could see only one.
fn encodings() -> Vec<Case> {
    let written = [
        "Transfer-Encoding: chunked",
        "transfer-encoding: chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: CHUNKED",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked ",
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: x chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: x\r\n chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "Transfer-Encoding\r\n: chunked",
        "Content-Encoding: chunked",
        "TE: chunked",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    ];
    let mut cases = Vec::new();
    for encoding in written {
        let is_none = ["Transfer_Encoding", "Content-Encoding", "TE"].iter().any(|other| encoding.starts_with(other));
        let fate = if is_none { Fate::Open } else { Fate::Alone };
        let by_length = format!("0\r\n\r\n{SMUGGLED}");
        cases.push(post(&format!("Content-Length: {{length}}\r\n{encoding}\r\n"), &by_length, fate));
        let by_chunks = format!("{{size}}\r\n{SMUGGLED}\r\n0\r\n\r\n");
        cases.push(post(&format!("{encoding}\r\nContent-Length: 4\r\n"), &by_chunks, fate));
    }
    cases
}

/// Lengths that are none, or two.
fn lengths() -> Vec<Case> {
    let wrong = [
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 5.0",
        "Content-Length: 0x5",
        "Content-Length: 5,6",
        "Content-Length: 5 6",
        "Content-Length: five",
        "Content-Length: 5;",
        "Content-Length: \"5\"",
        "Content-Length: 5\0",
        "Content-Length: 99999999999999999999999999",
        "Content-Length: 18446744073709551616",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Content Length: 5",
        "Content-Length: 5\r\n 0",
        "Content-Length:\r\n 5",
        "Content-Length: 5\rX: y",
        "Content-Length: \u{660}",
    ];
    let odd = [
        "Content-Length:",
        "Content-Length: 5,5",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 05",
        "Content-Length: 5 ",
        "Content-Length:5",
        "Content-Length: \t5",
        "Content_Length: 5",
        "X: y\nContent-Length: 5",
        "Connection: Content-Length\r\nContent-Length: 5",
    ];
    let of = |fate| move |length: &str| post(&format!("{length}\r\n"), &format!("12345{SMUGGLED}"), fate);
    wrong.into_iter().map(of(Fate::Refused)).chain(odd.into_iter().map(of(Fate::Open))).collect()
}

/// Chunks that are written otherwise than most write them.
fn chunks() -> Vec<Case> {
    let wrong = [
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5,\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
    ];
    let odd = [
        "05\r\nhello\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5;a=\"b\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n00\r\n\r\n",
        "5\r\nhello\r\n0;a\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Consumer-ID: forged\r\nHost: y\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    ];
    let of = |fate| move |chunks: &str| post("Transfer-Encoding: chunked\r\n", &format!("{chunks}{SMUGGLED}"), fate);
    // What follows the end of a body is a request of its own: here it is the next one, and no more than that.
    let behind = |chunks: &str| post("Transfer-Encoding: chunked\r\n", chunks, Fate::Open);
    wrong.into_iter().map(of(Fate::Alone)).chain(odd.into_iter().map(behind)).collect()
}

/// First lines.
fn lines() -> Vec<Case> {
    let wrong = [
        "GET /v1/case-{n}",
        "GET  /v1/case-{n} HTTP/1.1",
        "GET\t/v1/case-{n} HTTP/1.1",
        "GET /v1/case-{n}\tHTTP/1.1",
        "GET /v1/case-{n} x HTTP/1.1",
        "GET /v1/case-{n} HTTP/1.2",
        "GET /v1/case-{n} HTTP/2.0",
        "GET /v1/case-{n} HTTP/11",
        "GET /v1/case-{n} http/1.1",
        "GET /v1/case-{n} HTTP /1.1",
        "GET /v1/case-{n} HTTP/1.1 HTTP/1.1",
        "GET /v1/case-{n}\0 HTTP/1.1",
        "GET /v1/case-{n}\x7f HTTP/1.1",
        "GET /v1/case-{n}\r/admin HTTP/1.1",
        "GET v1/case-{n} HTTP/1.1",
        "GET ?v1/case-{n} HTTP/1.1",
        "GET HTTP/1.1",
        "GET * HTTP/1.1",
        " GET /v1/case-{n} HTTP/1.1",
        "\tGET /v1/case-{n} HTTP/1.1",
        "G(T /v1/case-{n} HTTP/1.1",
        "G\0T /v1/case-{n} HTTP/1.1",
        "/v1/case-{n} HTTP/1.1",
        "GET /v1/../v1/case-{n} HTTP/1.1",
        "GET //v1/case-{n} HTTP/1.1",
        "GET /v1/%2e%2e/v1/case-{n} HTTP/1.1",
        "GET /v1/case-{n}%00 HTTP/1.1",
        "GET /v1/case-{n}%0d%0a HTTP/1.1",
        "GET /v1\\case-{n} HTTP/1.1",
        "GET http://user@x/v1/case-{n} HTTP/1.1",
        "GET http://y/v1/case-{n} HTTP/1.1",
        "CONNECT x:80 HTTP/1.1",
        "PRI * HTTP/2.0",
    ];
    let odd = [
        "GET /v1/case-{n} HTTP/1.0",
        "get /v1/case-{n} HTTP/1.1",
        "GET http://x/v1/case-{n} HTTP/1.1",
        "GET /v1/case-{n}#/admin HTTP/1.1",
        "GET /v1/case-{n}?a=/../admin HTTP/1.1",
        "GET /v1/case-{n}?a=\u{e9} HTTP/1.1",
        "GET /v1/case-{n}?{\"} HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "\r\nGET /v1/case-{n} HTTP/1.1",
        "\nGET /v1/case-{n} HTTP/1.1",
        "\r\n\r\n\r\nGET /v1/case-{n} HTTP/1.1",
        "TRACE /v1/case-{n} HTTP/1.1",
        "HEAD /v1/case-{n} HTTP/1.1",
    ];
    let of = |fate| move |line: &str| get(line, "", fate);
    wrong.into_iter().map(of(Fate::Refused)).chain(odd.into_iter().map(of(Fate::Open))).collect()
}

/// Lines behind it.
fn headers() -> Vec<Case> {
    let wrong = [
        "no colon",
        ": no name",
        " X: folded",
        "X : y",
        "X\t: y",
        "X Y: z",
        "X(: y",
        "X\0: y",
        "X\x7f: y",
        "X\u{e9}: y",
        "X: y\0z",
        "X: y\rz",
        "X: y\r\r\nZ: y",
        "X: y\r\n folded",
        "X: y\r\n\tfolded",
    ];
    let odd = [
        "X:",
        "X: \t ",
        "X:y",
        "X: \u{e9}",
        "X: y\x0bz",
        "X_Consumer_ID: forged",
        "X-Consumer-ID: forged",
        "Connection: X-API-Key",
        "Connection: Host",
        "Connection: close, X-Consumer-ID",
        "Connection: \0",
        "Connection: keep-alive, keep-alive, Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Upgrade: TLS/1.3\r\nConnection: Upgrade",
        "Expect: 100-continue",
        "Expect: 200-ok",
        "Keep-Alive: timeout=1000000",
        "Proxy-Connection: keep-alive",
        "Trailer: X-Consumer-ID",
        "TE: trailers, chunked",
        "Content-Length: 0",
        "Transfer-Encoding: ",
        "Forwarded: for=1.2.3.4",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "Max-Forwards: 0",
        "Range: bytes=0-0,0-0",
        "X: y\nZ: y",
    ];
    let of = |fate| move |header: &str| get("GET /v1/case-{n} HTTP/1.1", &format!("{header}\r\n"), fate);
    let many = "X: y\r\n".repeat(150);
    let large = format!("X: {}\r\n", "y".repeat(64 * 1024));
    let too_much = [many, large].map(|headers| get("GET /v1/case-{n} HTTP/1.1", &headers, Fate::Refused));
    wrong.into_iter().map(of(Fate::Refused)).chain(odd.into_iter().map(of(Fate::Open))).chain(too_much).collect()
}

/// Hosts that are none, or two.
fn hosts() -> Vec<Case> {
    let wrong = [
        "",
        "Host:\r\n",
        "Host: x\r\nHost: y\r\n",
        "Host: x\r\nHost: x\r\n",
        "Host: x\r\nhost: y\r\n",
        "Host: x y\r\n",
        "Host: x/y\r\n",
        "Host: x@y\r\n",
        "Host: x,y\r\n",
        "Host: x:port\r\n",
        "Host: x:+80\r\n",
        "Host: x:80000\r\n",
        "Host: [::1]x:80\r\n",
        "Host: a:b[c]:80\r\n",
        "Host : x\r\n",
        "Host: x\r\n y\r\n",
    ];
    wrong
        .into_iter()
        .map(|host| raw(format!("GET /v1/case-{{n}} HTTP/1.1\r\nX-API-Key: {{key}}\r\n{host}\r\n"), Fate::Refused))
        .collect()
}

/// Ends of lines.
fn ends() -> Vec<Case> {
    let head = "GET /v1/case-{n} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n";
    [
        head.replace("\r\n", "\n"),
        head.replace("\r\n", "\r"),
        head.replace("\r\n", "\n\r"),
        head.replacen("\r\n", "\n", 1),
        head.replacen("\r\n", "\r", 1),
        head.replace("\r\n\r\n", "\n\r\n"),
        head.replace("\r\n\r\n", "\r\n\n"),
        head.replace("\r\n\r\n", "\r\r\n\r\n"),
    ]
    .into_iter()
    .map(|text| raw(text, Fate::Open))
    .collect()
}

/// What everybody reads alike.
fn right() -> Vec<Case> {
    let two = "GET /v1/case-{n} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n";
    vec![
        get("GET /v1/case-{n} HTTP/1.1", "", Fate::Passed),
        get("DELETE /v1/case-{n}?a=%26 HTTP/1.1", "X: y\r\n", Fate::Passed),
        post("Content-Length: {length}\r\n", SMUGGLED, Fate::Passed),
        post("Content-Length: 0\r\n", "", Fate::Passed),
        post("", "", Fate::Passed),
        post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", Fate::Passed),
        post("Transfer-Encoding: chunked\r\n", &format!("{{size}}\r\n{SMUGGLED}\r\n0\r\n\r\n"), Fate::Passed),
        post("Transfer-Encoding: chunked\r\n", "1\r\na\r\n1\r\nb\r\n0\r\n\r\n", Fate::Passed),
        raw(format!("{two}{two}{two}"), Fate::Passed),
        raw(two.replace("GET", "PUT").replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc"), Fate::Passed),
    ]
}

impl Case {
    /// The bytes to send.
    pub(crate) fn written(&self, number: usize, key: &str) -> String {
        let fill = |text: &str| text.replace("{n}", &number.to_string()).replace("{key}", key);
        let text = fill(&self.text);
        let body = text.find("\r\n\r\n").map_or("", |at| &text[at + 4..]);
        let (length, size) = (body.len().to_string(), format!("{:x}", fill(SMUGGLED).len()));
        text.replace("{length}", &length).replace("{size}", &size)
    }
}
