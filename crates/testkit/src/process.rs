//! Real programs under test: what they are given, what they print, how they end.
//!
//! Everything a program prints is kept whole, so that a test can search it for what must not be there. All waiting is for
//! events, with a deadline; a program that misses it fails the test with all it printed. Programs are killed on drop.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

/// How long a program may take for what is awaited, unless [`Program::deadline`] says otherwise.
const DEADLINE: Duration = Duration::from_mins(1);

/// How long output may stay open after the program ended: a child of its own may hold it.
const AFTERMATH: Duration = Duration::from_secs(5);

/// A program that is about to be started.
#[derive(Debug)]
#[must_use]
pub struct Program {
    command: Command,
    input: Option<Vec<u8>>,
    deadline: Duration,
}

impl Program {
    /// The program at this path, without the settings of whoever runs the tests (`KEYRACK_*`, `RUST_LOG`).
    pub fn new(path: impl AsRef<Path>) -> Self {
        let mut command = Command::new(path.as_ref());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"KEYRACK_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        Self { command, input: None, deadline: DEADLINE }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub fn envs(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Sets the directory it runs in.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What it reads from its standard input, which is empty otherwise.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// How long to wait for it, each time.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let called = format!("{:?}", self.command);
        let input = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let spawned = self.command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{called}: {error}"));
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), self.input) {
            // A program that ends without reading all of it is free to do so.
            thread::spawn(move || pipe.write_all(&input));
        }
        let stdout = Stream::reading(child.stdout.take().expect("stdout is piped"));
        let stderr = Stream::reading(child.stderr.take().expect("stderr is piped"));
        let end = Arc::new(Shared::new(false));
        let (pid, told) = (Pid::from_child(&child), Arc::clone(&end));
        thread::spawn(move || {
            // Leaves the body for `Child::wait`, so that until then the number belongs to no other process.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            told.change(|ended| *ended = true);
        });
        Running { called, child, stdout, stderr, end, deadline: self.deadline }
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub fn run(self) -> Finished {
        let mut running = self.start();
        let status = running.wait();
        Finished { status, stdout: running.stdout(), stderr: running.stderr(), called: running.called.clone() }
    }
}

/// A program that was started; killed on drop.
#[derive(Debug)]
pub struct Running {
    called: String,
    child: Child,
    stdout: Arc<Shared<Stream>>,
    stderr: Arc<Shared<Stream>>,
    end: Arc<Shared<bool>>,
    deadline: Duration,
}

impl Running {
    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first whole line on its standard output, of those printed already and those to come, that is as wanted.
    #[track_caller]
    pub fn wait_line(&self, wanted: impl FnMut(&str) -> bool) -> String {
        self.line_of(&self.stdout, wanted)
    }

    /// The same for its standard error.
    #[track_caller]
    pub fn wait_error_line(&self, wanted: impl FnMut(&str) -> bool) -> String {
        self.line_of(&self.stderr, wanted)
    }

    #[track_caller]
    fn line_of(&self, stream: &Shared<Stream>, mut wanted: impl FnMut(&str) -> bool) -> String {
        let mut seen = 0;
        let outcome = stream.wait(self.deadline, |stream| {
            while let Some(length) = stream.bytes[seen..].iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&stream.bytes[seen..seen + length]).into_owned();
                seen += length + 1;
                if wanted(&line) {
                    return Some(Some(line));
                }
            }
            stream.ended.then_some(None)
        });
        match outcome {
            Some(Some(line)) => line,
            Some(None) => self.fail("ended its output without the awaited line"),
            None => self.fail("did not print the awaited line in time"),
        }
    }

    /// All it printed on its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// All it printed on its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends it SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends it SIGTERM, as a service manager does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it SIGKILL: it gets no chance to put anything in order.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends it SIGSTOP, and returns once it stands still, wherever it is, until [`Running::resume`]: on a busy machine some
    /// of its threads go on for a while after the signal.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
        let child = WaitId::Pid(Pid::from_child(&self.child));
        // Looked at only: its end is waited for elsewhere.
        let stands_still = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        // It fails for one that has ended and was waited for.
        let _ = waitid(child, stands_still);
    }

    /// Sends it SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // One that has ended has nothing to be told.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.end.state.lock().unwrap()
    }

    /// Waits for its end, and for the end of its output.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        if self.end.wait(self.deadline, |ended| ended.then_some(())).is_none() {
            self.fail("did not end in time");
        }
        for stream in [&self.stdout, &self.stderr] {
            let _ = stream.wait(AFTERMATH, |stream| stream.ended.then_some(()));
        }
        self.child.wait().expect("the status of a child that ended")
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let mut text = format!("{} {what}", self.called);
        for (name, stream) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let _ = write!(text, "\n--- its {name}:\n{stream}");
        }
        panic!("{text}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All it printed on its standard output.
    pub stdout: String,
    /// All it printed on its standard error.
    pub stderr: String,
    called: String,
}

impl Finished {
    /// Fails the test unless it ended with this exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        let Self { status, stdout, stderr, called } = &self;
        assert!(status.code() == Some(code), "{called} ended with {status}, not {code}\n{stdout}\n{stderr}");
        self
    }

    /// Fails the test unless it ended well.
    #[track_caller]
    pub fn success(self) -> Self {
        self.expect_code(0)
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{} printed no JSON: {error}\n{}\n{}", self.called, self.stdout, self.stderr)
        })
    }
}

/// What one of the two outputs gave so far.
#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    fn reading(mut source: impl Read + Send + 'static) -> Arc<Shared<Self>> {
        let stream = Arc::new(Shared::new(Self::default()));
        let shared = Arc::clone(&stream);
        thread::spawn(move || {
            let mut part = [0; 8192];
            while let Ok(length @ 1..) = source.read(&mut part) {
                shared.change(|stream| stream.bytes.extend_from_slice(&part[..length]));
            }
            shared.change(|stream| stream.ended = true);
        });
        stream
    }
}

/// Something that threads change and tests wait for.
#[derive(Debug)]
struct Shared<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn new(state: T) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait<R>(&self, patience: Duration, mut look: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let until = Instant::now() + patience;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Shared<Stream> {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().unwrap().bytes).into_owned()
    }
}
