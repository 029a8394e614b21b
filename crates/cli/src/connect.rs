//! From settings to something that answers: an engine over the database, or a client of a server.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use keyrack_client::{Client, HttpTransport, Transport, TransportError};
use keyrack_core::{KeyId, OrganizationId, UserId};
use keyrack_engine::{Clock, Engine, EngineRole, Keyfile, OsRandom, Parts, Store};
use keyrack_server::{App, HostRequest, OwnPaths, ServerSettings};

use crate::config::Settings;
use crate::scripts;

/// The clock: the machine's, or in tests the one that a file sets.
pub(crate) fn clock() -> Arc<dyn Clock> {
    #[cfg(feature = "test-clock")]
    {
        #[expect(clippy::disallowed_methods, reason = "this variable exists in test builds only")]
        if let Ok(path) = std::env::var("KEYRACK_TEST_CLOCK") {
            return Arc::new(keyrack_engine::FileClock(path.into()));
        }
    }
    Arc::new(keyrack_engine::SystemClock)
}

/// Opens the database and starts an engine on it. The key file is made beside a new database, and asked for beside an old
/// one.
pub(crate) async fn engine(settings: &Settings, role: EngineRole) -> anyhow::Result<Arc<Engine>> {
    let url = settings.database();
    refuse_other_owner(url)?;
    let clock = clock();
    let random = Arc::new(OsRandom::default());
    let path = settings.keyfile();
    let known = Keyfile::load(&path)?;
    let store =
        Store::open(url, clock.now()).await.with_context(|| format!("cannot open the database {}", shown(url)))?;
    let is_new = store.read().await?.feed_head().await?.is_none();
    let keyfile = match known {
        Some(keyfile) => keyfile,
        None if is_new => Keyfile::create(&path, random.as_ref())?,
        None => bail!(
            "the key file {} is missing, and the database {} is not new: without its pepper no key can be recognised; \
             restore the file from its copy, or say where it is with --keyfile",
            path.display(),
            shown(url)
        ),
    };
    let (peppers, master_keys) = (keyfile.peppers(), keyfile.master_keys());
    let days = settings.count("master_key.days")?;
    let master_key_days = (days > 0).then_some(days.into());
    let parts = Parts { store, clock, random, peppers, master_keys, keyfile: Some(path), master_key_days };
    Ok(Engine::start(parts, role).await?)
}

/// A database's URL without its password.
pub(crate) fn shown(url: &str) -> String {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let address = match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let user = address[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}://{user}@{}", &address[..scheme], &address[at + 1..])
        }
        _ => address.to_owned(),
    };
    // A password may stand among the parameters too.
    let is_plain = |pair: &&str| !pair.is_empty() && !pair.starts_with("password=") && !pair.contains(['%', '@']);
    let plain: Vec<&str> = query.split('&').filter(is_plain).collect();
    if plain.is_empty() { address } else { format!("{address}?{}", plain.join("&")) }
}

/// Files that SQLite makes beside the database would belong to the wrong user.
fn refuse_other_owner(url: &str) -> anyhow::Result<()> {
    let Some(path) = url.strip_prefix("sqlite:").map(|p| p.strip_prefix("//").unwrap_or(p)) else { return Ok(()) };
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.uid() != rustix::process::geteuid().as_raw()
    {
        bail!("the database {path} belongs to another user; run keyrack as its owner");
    }
    Ok(())
}

/// A transport to a server at an address, or to what answers in this process.
pub(crate) enum Connection {
    Server(Box<HttpTransport>),
    Database(Box<InProcess>),
}

/// What answers over a database, called without a socket. Its requests are the host's own.
pub(crate) struct InProcess {
    own: OwnPaths,
    organization: OrganizationId,
    user: Option<UserId>,
}

impl Transport for Connection {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        match self {
            Self::Server(http) => http.send(request).await,
            Self::Database(in_process) => in_process.send(request).await,
        }
    }
}

impl Transport for InProcess {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let mut request = request.map(keyrack_server::Body::from);
        request.extensions_mut().insert(HostRequest { organization: self.organization, user: self.user });
        let (parts, body) = self.own.answer(request).await.into_parts();
        let failed = |error| TransportError::Unreachable("the database".to_owned(), Box::new(error));
        let body = body.collect().await.map_err(failed)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

/// What a management command needs beside its arguments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// The keys in memory, to verify one.
    pub(crate) keys: bool,
    /// The person in whose name something is made.
    pub(crate) user: Option<UserId>,
}

/// A client of the running server that `--url` names, or of the database.
pub(crate) async fn client(settings: &Settings, needs: Needs) -> anyhow::Result<Client<Connection>> {
    if let Some(url) = settings.get("url") {
        if settings.is_set("database") {
            bail!("give either --url or --database");
        }
        let key = settings.get("key").context("a management key is needed: set KEYRACK_KEY, or give --key")?;
        return Ok(Client::new(Connection::Server(Box::new(HttpTransport::new(url)?)), Some(key))?);
    }
    let engine = engine(settings, EngineRole::Guest { keys: needs.keys }).await?;
    let organization = organization(&engine, settings).await?;
    let settings = ServerSettings { scripts: Some(scripts::processes()), ..ServerSettings::default() };
    let app = App::new(engine, settings);
    let in_process = InProcess { own: OwnPaths::new(app), organization, user: needs.user };
    Ok(Client::new(Connection::Database(Box::new(in_process)), None)?)
}

/// The organization of a key, on the database.
pub(crate) async fn organization_of_key(settings: &Settings, key: KeyId) -> anyhow::Result<Option<OrganizationId>> {
    let engine = engine(settings, EngineRole::Guest { keys: false }).await?;
    Ok(engine.organization_of_key(key).await?)
}

/// The organization that is named, or the only one, or the first.
async fn organization(engine: &Engine, settings: &Settings) -> anyhow::Result<OrganizationId> {
    if let Some(name) = settings.get("organization") {
        let tenant = engine.directory().resolve(name).with_context(|| format!("there is no organization {name}"))?;
        return Ok(tenant.organization.id);
    }
    let first = engine.default_organization().await?;
    first.context("there is no organization yet; make one with: keyrack init --organization SLUG --owner-email E")
}
