//! Starts processes for scripts, without taking time from who is asked for something else meanwhile.

use std::io;
use std::process::Stdio;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::PoolSettings;
use crate::child::LAST;

/// A thread that starts one process after the other.
///
/// It has its own, because starting one takes until the program has been found and read, and because a process is as important as the
/// thread that starts it: so they give way from their first moment, and not only once they can say so.
pub(crate) struct Starter(mpsc::Sender<Wanted>);

struct Wanted {
    runtime: Handle,
    to: oneshot::Sender<io::Result<Child>>,
}

impl Starter {
    /// It ends when this is dropped.
    pub(crate) fn new(settings: PoolSettings) -> Self {
        let (wanted, wants) = mpsc::channel::<Wanted>();
        let work = move || {
            // Of this thread alone. Elsewhere it would be the whole process.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, LAST);
            while let Ok(Wanted { runtime, to }) = wants.recv() {
                let _runtime = runtime.enter();
                // Whoever does not want it any more drops it, and ends it with that.
                let _ = to.send(start(&settings));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("script-starter".to_owned()).spawn(work) {
            tracing::error!(%error, "no thread can be started for the processes of scripts");
        }
        Self(wanted)
    }

    /// Another process, which is killed when it is dropped.
    pub(crate) async fn start(&self) -> io::Result<Child> {
        let (to, started) = oneshot::channel();
        let is_gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Wanted { runtime: Handle::current(), to }).map_err(|_| is_gone())?;
        started.await.map_err(|_| is_gone())?
    }
}

fn start(settings: &PoolSettings) -> io::Result<Child> {
    let mut command = Command::new(&settings.program);
    command.args(&settings.arguments).env_clear().current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}
