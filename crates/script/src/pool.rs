//! Processes that run scripts, some of them ready, and what passes between each of them and whoever it works for.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use crate::starter::Starter;
use crate::wire::{self, Answer, Ask, Call, Fault, FaultKind, FromChild, Reply, ToChild};

/// How much longer than a script may take its process is given to say so, before it is killed.
const GRACE: Duration = Duration::from_millis(100);
/// How long a script waits for a process, and how long a process may take to begin and to look at a script.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that gets ready is waited for before another one is started.
const PREPARED_WITHIN: Duration = Duration::from_millis(5);
/// After how many calls a process is replaced.
const CALLS: u32 = 10_000;
/// How long a process is kept that nobody needs, unless it is the last.
const IDLE: Duration = Duration::from_mins(1);

/// How processes are started, and how many.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The program that runs [`crate::child::run`]...
    pub program: PathBuf,
    /// ...when it is given these arguments.
    pub arguments: Vec<OsString>,
    /// How many scripts run at once. Others wait.
    pub most: usize,
}

/// What comes of an [`Ask`], in time: a reply, with a body if it has one; or why there is none.
pub type Replying<'a> = Pin<Box<dyn Future<Output = Result<(Reply, Vec<u8>), String>> + Send + 'a>>;

/// Whom a script asks, once it runs.
pub trait Host: Send + Sync {
    /// Gives it what it asks for.
    fn ask(&self, what: Ask, body: Vec<u8>) -> Replying<'_>;

    /// Takes a line that it wrote.
    fn log(&self, level: u8, text: String);
}

/// Processes that run scripts.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    starter: Starter,
    /// Held for each process that runs a script or gets ready for the next.
    room: Arc<Semaphore>,
    /// Those that are ready.
    idle: Mutex<Vec<Worker>>,
    /// How many get ready now, and that one is.
    preparing: AtomicUsize,
    is_ready: Notify,
}

impl Pool {
    /// None is started before the first script.
    pub fn new(settings: PoolSettings) -> Self {
        let room = Arc::new(Semaphore::new(settings.most.max(1)));
        let (preparing, is_ready) = (AtomicUsize::new(0), Notify::new());
        Self(Arc::new(Inner { starter: Starter::new(settings), room, idle: Mutex::default(), preparing, is_ready }))
    }

    /// Whether something can be a script.
    pub async fn check(&self, source: &str) -> Result<(), Fault> {
        let (mut worker, room) = self.worker().await?;
        let check = async {
            worker.send(&ToChild::Check { source: source.to_owned() }, &[]).await?;
            worker.is_ready = false;
            match worker.receive().await? {
                (FromChild::Checked(checked), _) => Ok(checked),
                _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
            }
        };
        match timeout(PATIENCE, check).await {
            Ok(Ok(checked)) => {
                self.keep(worker, room);
                checked
            }
            Ok(Err(_)) => Err(died()),
            Err(_) => Err(Fault::new(FaultKind::Time, "it takes too long to read the script")),
        }
    }

    /// Runs a script: what it answers, with its body.
    pub async fn run(&self, call: Call, body: Vec<u8>, host: &dyn Host) -> Result<(Answer, Vec<u8>), Fault> {
        let (mut worker, room) = self.worker().await?;
        let until = Instant::now() + Duration::from_millis(call.milliseconds) + GRACE;
        match timeout_at(until, worker.run(call, body, host)).await {
            Ok(Ok(outcome)) => {
                // Of an engine that had to be broken off nobody knows how it is.
                if !matches!(&outcome, Err(fault) if matches!(fault.kind, FaultKind::Memory | FaultKind::Time)) {
                    self.keep(worker, room);
                }
                outcome
            }
            // Dropped, it is killed.
            Ok(Err(_)) => Err(died()),
            Err(_) => Err(Fault::new(FaultKind::Time, "the script took too long")),
        }
    }

    /// A process that waits for something to do, and room for it.
    async fn worker(&self) -> Result<(Worker, OwnedSemaphorePermit), Fault> {
        let busy = || Fault::new(FaultKind::Busy, "as many scripts as may be are running already");
        let until = Instant::now() + PATIENCE;
        let room = timeout_at(until, Arc::clone(&self.0.room).acquire_owned()).await;
        let room = room.ok().and_then(Result::ok).ok_or_else(busy)?;
        loop {
            let is_ready = self.0.is_ready.notified();
            let idle = self.idle().pop();
            if let Some(mut worker) = idle {
                if worker.is_alive() {
                    return Ok((worker, room));
                }
                // Somebody else has ended it: then another will do.
                continue;
            }
            // One that is about to be ready is so before another one has begun.
            if self.0.preparing.load(Ordering::Relaxed) > 0 && timeout(PREPARED_WITHIN, is_ready).await.is_ok() {
                continue;
            }
            let start = async {
                let mut worker = Worker::of(self.0.starter.start().await?)?;
                worker.ready().await.map(|()| worker)
            };
            return match timeout_at(until, start).await {
                Ok(Ok(worker)) => Ok((worker, room)),
                Ok(Err(error)) => {
                    tracing::error!(%error, "a process for scripts cannot be started, or ended before it began");
                    Err(died())
                }
                Err(_) => Err(busy()),
            };
        }
    }

    /// Keeps a process for the next script. Its room is free once it is ready.
    fn keep(&self, mut worker: Worker, room: OwnedSemaphorePermit) {
        if worker.calls >= CALLS {
            return;
        }
        let pool = self.clone();
        pool.0.preparing.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let prepared = timeout(PATIENCE, worker.ready()).await;
            if matches!(prepared, Ok(Ok(()))) {
                worker.idle_since = Instant::now();
                let mut idle = pool.idle();
                // The one that is needed least stands first: the last that was put back is taken first.
                if idle.first().is_some_and(|first| first.idle_since.elapsed() > IDLE) {
                    idle.remove(0);
                }
                idle.push(worker);
            }
            drop(room);
            pool.0.preparing.fetch_sub(1, Ordering::Relaxed);
            pool.0.is_ready.notify_one();
        });
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn died() -> Fault {
    Fault::new(FaultKind::Died, "the process of the script has ended")
}

/// A process that runs scripts. Killed on drop.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Whether it has said that it waits for something to do.
    is_ready: bool,
    calls: u32,
    idle_since: Instant,
}

impl Worker {
    fn of(mut child: Child) -> io::Result<Self> {
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self { child, input, output: BufReader::new(output), is_ready: false, calls: 0, idle_since: Instant::now() })
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it waits for something to do.
    async fn ready(&mut self) -> io::Result<()> {
        while !self.is_ready {
            self.is_ready = self.receive().await?.0 == FromChild::Ready;
        }
        Ok(())
    }

    async fn send(&mut self, message: &impl Serialize, body: &[u8]) -> io::Result<()> {
        send(&mut self.input, message, body).await
    }

    async fn receive(&mut self) -> io::Result<(FromChild, Vec<u8>)> {
        receive(&mut self.output).await
    }

    /// Runs a script. Fails if the process ends, or says what it cannot mean.
    async fn run(
        &mut self,
        call: Call,
        body: Vec<u8>,
        host: &dyn Host,
    ) -> io::Result<Result<(Answer, Vec<u8>), Fault>> {
        self.is_ready = false;
        self.calls += 1;
        let Self { input, output, .. } = self;
        // What is to be written waits here: while one side writes the other must be able to read, or both wait for ever.
        let (frames, mut to_write) = mpsc::unbounded_channel::<(Vec<u8>, Vec<u8>)>();
        let mut writing = pin!(async move {
            while let Some((head, body)) = to_write.recv().await {
                input.write_all(&head).await?;
                input.write_all(&body).await?;
                input.flush().await?;
            }
            Ok::<(), io::Error>(())
        });
        let put = |message: &ToChild, body: Vec<u8>| {
            let _ = frames.send((wire::head(message, &body)?, body));
            Ok::<(), io::Error>(())
        };
        put(&ToChild::Run(Box::new(call)), body)?;
        let mut asked = FuturesUnordered::new();
        loop {
            // A frame that has been read in part must be read to its end.
            let mut receiving = Box::pin(receive(output));
            let (message, body) = loop {
                tokio::select! {
                    received = &mut receiving => break received?,
                    written = &mut writing => {
                        written?;
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                    Some((ask, outcome)) = asked.next() => {
                        let (outcome, body): (Result<Reply, String>, Vec<u8>) = match outcome {
                            Ok((reply, body)) => (Ok(reply), body),
                            Err(failure) => (Err(failure), Vec::new()),
                        };
                        put(&ToChild::Answer { ask, outcome }, body)?;
                    }
                }
            };
            match message {
                FromChild::Log { level, text } => host.log(level, text),
                FromChild::Ask { ask, what } => {
                    let answering = host.ask(what, body);
                    asked.push(async move { (ask, answering.await) });
                }
                FromChild::Done(Ok(answer)) => return Ok(Ok((answer, body))),
                FromChild::Done(Err(fault)) => return Ok(Err(fault)),
                FromChild::Ready | FromChild::Checked(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

async fn send(to: &mut ChildStdin, message: &impl Serialize, body: &[u8]) -> io::Result<()> {
    to.write_all(&wire::head(message, body)?).await?;
    to.write_all(body).await?;
    to.flush().await
}

async fn receive(from: &mut BufReader<ChildStdout>) -> io::Result<(FromChild, Vec<u8>)> {
    let mut beginning = [0; 8];
    from.read_exact(&mut beginning).await?;
    let (head_length, body_length) = wire::lengths(beginning)?;
    let mut bytes = vec![0; head_length + body_length];
    from.read_exact(&mut bytes).await?;
    let body = bytes.split_off(head_length);
    Ok((wire::read_head(&bytes)?, body))
}
