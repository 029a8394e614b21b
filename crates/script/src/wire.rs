//! What goes over the pipe between a process that runs scripts and its parent: frames of a head (postcard) and a body (bytes as they are).

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest head, and the largest body, of a frame. Larger ones are a fault of whoever wrote them.
pub const MAX_HEAD: usize = 4 << 20;
/// See [`MAX_HEAD`].
pub const MAX_BODY: usize = 16 << 20;
/// The largest body that a script answers with.
pub const MAX_ANSWER: usize = 8 << 20;

/// Headers as pairs; each character is a byte (a `ByteString` of the Web IDL standard).
pub type Headers = Vec<(String, String)>;

/// To the process that runs scripts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToChild {
    /// Can this be a script?
    Check {
        /// The module.
        source: String,
    },
    /// Run this. The body of the frame is that of the request, if it has one.
    Run(Box<Call>),
    /// The answer to something that was asked. The body of the frame is that of what was fetched, if it has one.
    Answer {
        /// What was asked.
        ask: u32,
        /// What came of it; or why nothing did.
        outcome: Result<Reply, String>,
    },
}

/// A script to run, and what it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The module.
    pub source: String,
    /// How many milliseconds it may take.
    pub milliseconds: u64,
    /// How many bytes of memory it may use.
    pub memory: u64,
    /// The method of the request.
    pub method: String,
    /// Its whole address.
    pub url: String,
    /// Its headers.
    pub headers: Headers,
    /// Whether it has a body.
    pub has_body: bool,
    /// The name of the group of the key that was let in.
    pub group: Option<String>,
    /// Id and name of the key that was let in.
    pub key: Option<(String, String)>,
    /// By which the request is known in logs.
    pub request_id: String,
    /// What the path's parameters stand for.
    pub params: Vec<(String, String)>,
    /// The query.
    pub query: Vec<(String, String)>,
}

/// From the process that runs scripts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromChild {
    /// It waits for something to do.
    Ready,
    /// Whether something can be a script.
    Checked(Result<(), Fault>),
    /// The script asks for something. The body of the frame is that of a request to fetch, if it has one.
    Ask {
        /// By what the answer is known.
        ask: u32,
        /// For what.
        what: Ask,
    },
    /// The script wrote a line.
    Log {
        /// How important: 0 debug, 1 info, 2 warning, 3 error.
        level: u8,
        /// What.
        text: String,
    },
    /// The script has answered, or failed. The body of the frame is that of the answer, if it has one.
    Done(Result<Answer, Fault>),
}

/// What a script asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Another HTTP service's answer.
    Fetch {
        /// The method.
        method: String,
        /// The address.
        url: String,
        /// The headers.
        headers: Headers,
        /// `follow`, `error` or `manual`.
        redirect: String,
        /// Whether there is a body.
        has_body: bool,
    },
    /// The secret of a name, of this scope or of the one that counts for the caller.
    Secret {
        /// The name.
        name: String,
        /// `global`, `route`, `group` or `key`.
        scope: Option<String>,
    },
    /// All secrets of a name that the caller could be given.
    CompleteSecret {
        /// The name.
        name: String,
    },
}

/// What a script is answered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// What a service answered.
    Fetched {
        /// Its status.
        status: u16,
        /// What it calls that.
        status_text: String,
        /// Where it was found in the end.
        url: String,
        /// Whether that was another place.
        redirected: bool,
        /// Its headers.
        headers: Headers,
        /// Whether it has a body.
        has_body: bool,
    },
    /// A secret, if there is one.
    Secret(Option<String>),
    /// Scope, name of the owner, and value, the one that counts first.
    CompleteSecret(Vec<(String, String, String)>),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fetched { .. } => "Fetched",
            Self::Secret(_) => "Secret",
            Self::CompleteSecret(_) => "CompleteSecret",
        })
    }
}

/// What a script answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// Whether there is a body.
    pub has_body: bool,
}

/// Why a script did not answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of failure it was.
    pub kind: FaultKind,
    /// What is wrong.
    pub message: String,
    /// In which line, from 1, if that is known.
    pub line: Option<u32>,
    /// In which column, from 1.
    pub column: Option<u32>,
    /// How it got there.
    pub stack: Option<String>,
}

/// How a script failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FaultKind {
    /// It cannot be read.
    Syntax,
    /// It threw something, or did not answer with a `Response`.
    Thrown,
    /// It took too long.
    Time,
    /// It needed too much memory.
    Memory,
    /// Its answer is too large.
    Size,
    /// Its process ended.
    Died,
    /// There was no process for it.
    Busy,
}

impl Fault {
    /// One without a place.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), line: None, column: None, stack: None }
    }
}

/// A frame that is none.
#[derive(Debug, thiserror::Error)]
#[error("a frame that cannot be read")]
struct Malformed;

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed)
}

/// The bytes of a frame before its body.
pub fn head(message: &impl Serialize, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let (Ok(head_length), Ok(body_length)) = (u32::try_from(head.len()), u32::try_from(body.len())) else {
        return Err(malformed());
    };
    if head.len() > MAX_HEAD || body.len() > MAX_BODY {
        return Err(malformed());
    }
    Ok([&head_length.to_le_bytes()[..], &body_length.to_le_bytes(), &head].concat())
}

/// The lengths of head and body that a frame begins with.
pub fn lengths(beginning: [u8; 8]) -> io::Result<(usize, usize)> {
    let both = u64::from_le_bytes(beginning);
    let length = |bits: u64| usize::try_from(bits & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let (head, body) = (length(both), length(both >> 32));
    if head > MAX_HEAD || body > MAX_BODY { Err(malformed()) } else { Ok((head, body)) }
}

/// Reads a head.
pub fn read_head<T: DeserializeOwned>(head: &[u8]) -> io::Result<T> {
    postcard::from_bytes(head).map_err(|_| malformed())
}

/// Writes a frame.
pub fn write(to: &mut impl Write, message: &impl Serialize, body: &[u8]) -> io::Result<()> {
    to.write_all(&head(message, body)?)?;
    to.write_all(body)?;
    to.flush()
}

/// Reads a frame; `None` at the end.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut beginning = [0; 8];
    match from.read_exact(&mut beginning) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (head_length, body_length) = lengths(beginning)?;
    let mut bytes = vec![0; head_length + body_length];
    from.read_exact(&mut bytes)?;
    let body = bytes.split_off(head_length);
    Ok(Some((read_head(&bytes)?, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut pipe = Vec::new();
        let messages = [
            (FromChild::Ready, Vec::new()),
            (FromChild::Log { level: 2, text: "ä\0".to_owned() }, vec![1, 2, 3]),
            (FromChild::Done(Err(Fault::new(FaultKind::Time, "slow"))), vec![0; 100_000]),
        ];
        for (message, body) in &messages {
            write(&mut pipe, message, body).unwrap();
        }
        let mut from = pipe.as_slice();
        for message in messages {
            assert_eq!(read::<FromChild>(&mut from).unwrap(), Some(message));
        }
        assert_eq!(read::<FromChild>(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&[0xff; 8][..], &[1, 0, 0, 0, 0, 0, 0, 0, 0xff], &[5, 0, 0, 0, 0, 0, 0, 0, 1]] {
            assert!(read::<FromChild>(&mut &*bytes).is_err(), "{bytes:?}");
        }
        assert!(write(&mut Vec::new(), &FromChild::Ready, &vec![0; MAX_BODY + 1]).is_err());
    }
}
