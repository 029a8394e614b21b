//! `keyrack serve`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use keyrack_engine::{Engine, EngineRole, Post, Seat};
use keyrack_server::{App, Front, ServerSettings, Tls};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::watch;

use crate::config::Settings;
use crate::{connect, exit, logging, mail, scripts};

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    logging::start(settings)?;
    keep_out_of_core_dumps();
    let drain = settings.duration("drain")?;
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        server = Server::start(settings) => server?,
        _ = signals.next() => return Ok(ExitCode::from(exit::DONE)),
    };
    announce(&format!("keyrack listens on {}", server.url()));
    if !server.engine.is_initialized().await? {
        announce("there is no organization yet; make one with: keyrack init --organization SLUG --owner-email E");
        if settings.get("setup") != Some("nowhere") {
            let link = format!("{}{}", server.url(), server.app.open_set_up()?);
            announce(&format!("or in a browser, within 30 minutes, with this link, which works once:\n  {link}"));
        }
    }
    let app = server.app.clone();
    let stop = async {
        if signals.next().await == Signal::Terminate && !drain.is_zero() {
            tracing::info!(?drain, "about to stop: not ready any more, but still answering");
            app.leave();
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                _ = signals.next() => {}
            }
        }
    };
    server.run(stop).await?;
    Ok(ExitCode::from(exit::DONE))
}

/// A core dump would hold the pepper and whatever key has just passed.
fn keep_out_of_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
}

/// How many connections there may be, if we take as many files as the system gives us. Half of them are for services behind
/// doors, and some for the database.
fn connections_at_most(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const OWN: u64 = 128;
    const FEW: usize = 1000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let Some(files) = (if is_raised { maximum } else { current }) else { return wanted };
    let most = usize::try_from(files.saturating_sub(OWN) / 2).unwrap_or(usize::MAX).clamp(32, wanted);
    if most < FEW {
        tracing::warn!(most, "few files may be open, so there may be few connections (see ulimit -n)");
    }
    most
}

/// Tells something on stdout at once, also when that is no terminal.
pub(crate) fn announce(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    // Who closed stdout does not want to know.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A word to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C: somebody sits there and waits.
    Interrupt,
    /// SIGTERM: a service manager wants it gone, and others may still be sending requests.
    Terminate,
}

/// Hears Ctrl-C and SIGTERM. From now on neither of them ends the process by itself.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// What was measured one by one is added up now and then: else it would grow until somebody asks.
async fn keep_measures(handle: PrometheusHandle) {
    let mut upkeep = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        upkeep.tick().await;
        handle.run_upkeep();
    }
}

/// By which people know a node.
fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What the server presents, if it is to speak TLS.
pub(crate) fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let (certificate, key) = match (settings.get("tls.certificate"), settings.get("tls.key")) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => bail!("tls.certificate and tls.key are given together"),
    };
    Ok(Some(Tls::from_files(certificate.into(), key.into()).context("TLS cannot be spoken")?))
}

/// Keys that go over a network in the clear are everybody's who is on the way.
pub(crate) fn refuse_plain(settings: &Settings) -> anyhow::Result<()> {
    let listens = [settings.address("listen")?, settings.address("grpc.listen")?].into_iter().flatten();
    let open = listens.into_iter().find(|address| !address.ip().to_canonical().is_loopback());
    match (settings.get("plain_http"), open) {
        (Some("anywhere"), _) | (Some("loopback"), None) => Ok(()),
        (Some("loopback"), Some(address)) => bail!(
            "{address} can be reached from elsewhere, and keys would go there unencrypted: give tls.certificate and tls.key, or, where \
             something in front encrypts, --plain-http anywhere"
        ),
        _ => bail!("plain_http must be loopback or anywhere"),
    }
}

async fn bind(at: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(at) = at else { return Ok(None) };
    Ok(Some(TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}"))?))
}

fn url_of(is_tls: bool, address: SocketAddr) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// A server that is ready to run.
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) app: App,
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    tls: Option<Tls>,
    grpc: Option<TcpListener>,
    metrics: Option<(TcpListener, PrometheusHandle)>,
    seat: Seat,
    post: Post,
}

impl Server {
    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        url_of(self.tls.is_some(), self.address)
    }

    /// Opens the database, loads the keys, takes a seat and binds the listeners.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        // What cannot be read is refused before anything is made.
        let wanted = settings.address("listen")?.context("listen must be an address and a port")?;
        let (trusted_proxies, egress_allow) =
            (settings.networks("trusted_proxies")?, settings.networks("egress.allow")?);
        let failure_limit = settings.count("failure_limit")?;
        let set_up_from_anywhere = match settings.get("setup") {
            Some("anywhere") => true,
            Some("loopback" | "nowhere") => false,
            _ => bail!("setup must be loopback, anywhere or nowhere"),
        };
        let console_host = settings.get("console_host").map(str::to_ascii_lowercase);
        let (mailer, public_url) = (mail::mailer(settings)?, mail::public_url(settings)?);
        let tls = tls(settings)?;
        if tls.is_none() {
            refuse_plain(settings)?;
        }
        let listener = TcpListener::bind(wanted).await.with_context(|| format!("cannot listen on {wanted}"))?;
        let address = listener.local_addr()?;
        let post = Post { mailer, console: public_url.unwrap_or_else(|| url_of(tls.is_some(), address)) };
        let metrics = bind(settings.address("metrics.listen")?).await?;
        let grpc = bind(settings.address("grpc.listen")?).await?;
        let grpc_address = grpc.as_ref().map(TcpListener::local_addr).transpose()?;
        // Before anything counts.
        let times = Matcher::Full(keyrack_server::metrics::REQUEST_SECONDS.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(times, &keyrack_server::metrics::REQUEST_BUCKETS)
            .context("metrics cannot be set up")?
            .build_recorder();
        let metrics = metrics.map(|listener| (listener, recorder.handle()));
        if metrics.is_some() {
            metrics::set_global_recorder(recorder).context("metrics are recorded already")?;
            keyrack_server::metrics::describe();
        }
        let metrics_address = metrics.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
        let engine = connect::engine(settings, EngineRole::Server).await?;
        let seat = engine.take_seat(&machine_name()).await?;
        let server_settings = ServerSettings {
            trusted_proxies,
            egress_allow,
            own_addresses: [Some(address), metrics_address, grpc_address].into_iter().flatten().collect(),
            max_connections: connections_at_most(ServerSettings::default().max_connections),
            failure_limit,
            is_tls: tls.is_some(),
            set_up_from_anywhere,
            console_host,
            scripts: Some(scripts::processes()),
        };
        let app = App::new(engine.clone(), server_settings);
        Ok(Self { engine, app, address, listener, tls, grpc, metrics, seat, post })
    }

    /// Serves until `stop`, finishes what is in flight and gives the seat up.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        // However many requests wait for their turn, the lease is renewed and what was counted is written down in time.
        let apart =
            runtime::Builder::new_multi_thread().worker_threads(1).thread_name("engine").enable_all().build()?;
        let (stopping, _) = watch::channel(false);
        let stopped = || {
            let mut stopping = stopping.subscribe();
            async move {
                let _ = stopping.wait_for(|stop| *stop).await;
            }
        };
        let grpc = self
            .grpc
            .map(|listener| (listener, self.tls.clone()))
            .map(|(listener, tls)| keyrack_server::serve_ext_authz(listener, self.app.clone(), tls, stopped()))
            .map(tokio::spawn);
        let front = Front::new(self.app);
        let letters = tokio::spawn(self.engine.clone().send_letters(self.post, stopped()));
        // The engine goes on until the last request is answered.
        let (drained, engine_stop) = tokio::sync::oneshot::channel::<()>();
        let engine = apart.spawn(self.engine.clone().run(self.seat, async {
            let _ = engine_stop.await;
        }));
        let metrics = self.metrics.map(|(listener, handle)| {
            let (engine, upkeep) = (Arc::clone(&self.engine), tokio::spawn(keep_measures(handle.clone())));
            let render = move || {
                keyrack_server::metrics::observe(&engine.vitals());
                handle.render()
            };
            let stop = stopped();
            tokio::spawn(async move {
                keyrack_server::serve_text(listener, "/metrics", render, stop).await;
                upkeep.abort();
            })
        });
        let serving = tokio::spawn(keyrack_server::serve(self.listener, front, self.tls, stopped()));
        stop.await;
        tracing::info!("stopping: requests in flight are finished");
        let _ = stopping.send(true);
        let _ = serving.await;
        if let Some(grpc) = grpc {
            let _ = grpc.await;
        }
        let _ = letters.await;
        if let Some(metrics) = metrics {
            let _ = metrics.await;
        }
        let _ = drained.send(());
        let _ = engine.await;
        self.engine.close().await;
        // Not before: connections of the database are read by the runtime that made them.
        apart.shutdown_background();
        Ok(())
    }
}
