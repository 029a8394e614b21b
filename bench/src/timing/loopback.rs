//! Requests to a server, one after the other on one connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::classes::{Class, Drawn, Order};
use crate::welch::Classes;

/// Requests that set the thresholds, and are not counted.
const TRIAL: usize = 20_000;

/// Measures so many requests of each class.
pub(crate) fn measure(url: &str, path: &str, order: &mut Order, samples: u32) -> anyhow::Result<Classes> {
    let address = url.strip_prefix("http://").context("no http:// URL")?;
    let mut connection = Connection::open(address, path)?;
    let mut trial = Vec::with_capacity(TRIAL);
    while trial.len() < TRIAL {
        trial.push(connection.ask(order)?.2);
    }
    let mut measured = Classes::new(Class::ALL.len(), trial);
    while measured.fewest() < f64::from(samples) {
        let (class, text, nanoseconds) = connection.ask(order)?;
        measured.take(class as usize, text, nanoseconds);
    }
    measured.end_round();
    Ok(measured)
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// What the first answer was, but for what differs each time.
    length: usize,
}

impl Connection {
    fn open(address: &str, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {}\r\n\r\n", "-".repeat(57));
        Ok(Self { stream, request: request.into_bytes(), answer: vec![0; 4096], length: 0 })
    }

    /// Sends one key; its class and place, and how long the 401 took.
    fn ask(&mut self, order: &mut Order) -> anyhow::Result<(Class, usize, f64)> {
        let (at, Drawn { class, text, .. }) = order.draw();
        let end = self.request.len() - 4;
        self.request[end - text.len()..end].copy_from_slice(&text);
        let start = Instant::now();
        self.stream.write_all(&self.request)?;
        let mut read = self.stream.read(&mut self.answer)?;
        let nanoseconds = start.elapsed().as_secs_f64() * 1e9;
        // The answer comes in one piece; if not, the rest is not waited for by the clock.
        while !self.answer[..read].ends_with(b"}") && read > 0 {
            read += self.stream.read(&mut self.answer[read..])?;
        }
        if !self.answer.starts_with(b"HTTP/1.1 401 ") || (self.length != 0 && self.length != read) {
            bail!("not the one 401: {}", String::from_utf8_lossy(&self.answer[..read]));
        }
        self.length = read;
        Ok((class, at, nanoseconds))
    }
}
