//! A service that reads requests to the letter: what is not framed in the one way that nobody can misread is a fault.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The service. It is there as long as the test runs.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    read: Arc<Mutex<Read>>,
}

#[derive(Default)]
struct Read {
    targets: Vec<String>,
    faults: Vec<String>,
}

/// A request as it came, or why it is none.
type Understood = Result<String, String>;

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let service = Self { address: listener.local_addr().unwrap(), read: Arc::default() };
        let clone = service.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(clone.clone().serve(stream));
            }
        });
        service
    }

    /// The targets of all whole requests, in the order in which they came.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.read.lock().unwrap().targets.clone()
    }

    /// What could be read in more than one way.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.read.lock().unwrap().faults.clone()
    }

    /// Answers what comes, and says in the answer what it was.
    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            match self.one(&mut stream, &mut bytes).await {
                None => return,
                Some(Err(fault)) => return self.read.lock().unwrap().faults.push(fault),
                Some(Ok(target)) => {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-saw: {target}\r\n\r\n");
                    self.read.lock().unwrap().targets.push(target);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The next request; `None` if the connection ends before it is whole.
    async fn one(&self, stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Understood> {
        let end = until(stream, bytes, 0, b"\r\n\r\n").await?;
        let head: Vec<u8> = bytes.drain(..end).collect();
        let (target, framing) = match understood(&head) {
            Ok(understood) => understood,
            Err(fault) => return Some(Err(format!("{fault}: {:?}", String::from_utf8_lossy(&head)))),
        };
        match framing {
            Framing::Length(length) => {
                while bytes.len() < length {
                    more(stream, bytes).await?;
                }
                bytes.drain(..length);
            }
            Framing::Chunked => loop {
                let end = until(stream, bytes, 0, b"\r\n").await?;
                let size: Vec<u8> = bytes.drain(..end).collect();
                let Some(size) = chunk_size(&size[..size.len() - 2]) else {
                    return Some(Err(format!("a chunk of {:?}", String::from_utf8_lossy(&size))));
                };
                while bytes.len() < size + 2 {
                    more(stream, bytes).await?;
                }
                if &bytes[size..size + 2] != b"\r\n" {
                    return Some(Err(format!("a chunk of {size} that is longer")));
                }
                bytes.drain(..size + 2);
                if size == 0 {
                    break;
                }
            },
        }
        Some(Ok(target))
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(bytes).await.ok()?;
    (read > 0).then_some(())
}

/// Reads until these bytes are there; the position behind them.
async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, from: usize, end: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = bytes[from..].windows(end.len()).position(|window| window == end) {
            return Some(from + at + end.len());
        }
        more(stream, bytes).await?;
    }
}

/// Hexadecimal digits and nothing else: neither extensions nor trailers are sent by whoever sends on what it understood.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?;
    let is_plain = !text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| usize::from_str_radix(text, 16).ok())?
}

/// The target of a request with this head, and how its body is framed.
fn understood(head: &[u8]) -> Result<(String, Framing), &'static str> {
    let text = std::str::from_utf8(head).map_err(|_| "bytes beyond ASCII")?;
    let text = text.strip_suffix("\r\n\r\n").ok_or("no end")?;
    if text.replace("\r\n", "").contains(|char: char| char.is_control() && char != '\t') {
        return Err("a control character");
    }
    let mut lines = text.split("\r\n");
    let [method, target, "HTTP/1.1"] = lines.next().unwrap_or_default().split(' ').collect::<Vec<_>>()[..] else {
        return Err("no request line");
    };
    if !is_token(method) || !target.starts_with('/') {
        return Err("no method or no path");
    }
    let (mut hosts, mut lengths, mut encodings) = (0, Vec::new(), Vec::new());
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a line without a colon")?;
        if !is_token(name) {
            return Err("no name of a header");
        }
        match &*name.to_ascii_lowercase().replace('_', "-") {
            "host" => hosts += 1,
            "content-length" => lengths.push(value.trim()),
            "transfer-encoding" => encodings.push(value.trim()),
            _ => {}
        }
    }
    let framing = match (&lengths[..], &encodings[..]) {
        ([], []) => Framing::Length(0),
        ([], ["chunked"]) => Framing::Chunked,
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Framing::Length(length.parse().map_err(|_| "too long a body")?)
        }
        _ => return Err("a body framed in more than one way"),
    };
    if hosts == 1 { Ok((target.to_owned(), framing)) } else { Err("more or less than one host") }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
