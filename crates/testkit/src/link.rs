//! A line between a program and a server that a test can cut, slow down and mend.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A port of 127.0.0.1 whose connections lead to a server. They end when this is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open {
        delay: Duration,
    },
    /// Nothing arrives and nobody is told, as when a cable is pulled.
    Cut,
}

impl Link {
    /// Begins one to a server.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (state, watched) = watch::channel(State::Open { delay: Duration::ZERO });
        let accepting = tokio::spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                lines.spawn(carry(near, server, watched.clone()));
            }
        });
        Self { address, state, accepting }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes, and nobody learns of it.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// From now on everything takes this much longer, each way.
    pub fn slow_down(&self, delay: Duration) {
        self.state.send_replace(State::Open { delay });
    }

    /// Lets everything pass again, beginning with what has waited.
    pub fn mend(&self) {
        self.slow_down(Duration::ZERO);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(near: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(pass(near_in, far_out, state.clone()), pass(far_in, near_out, state));
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        let Ok(open) = state.wait_for(|state| *state != State::Cut).await.map(|state| *state) else { return };
        if let State::Open { delay } = open
            && !delay.is_zero()
        {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
