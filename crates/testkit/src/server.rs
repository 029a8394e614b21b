//! A running `keyrack serve`, set up as a user would set it up: by the program's own commands, in a directory of its own.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tempfile::TempDir;

use crate::database::Database;
use crate::http::Http;
use crate::process::{Program, Running};

/// What `keyrack serve` prints before its URL once it takes connections.
const LISTENS: &str = "keyrack listens on ";

/// Where one listens that is told no port: a free one, which the line above names.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How a `keyrack` is to be started.
#[derive(Debug)]
#[must_use]
pub struct Setup {
    binary: PathBuf,
    database: Result<String, Database>,
    listen: SocketAddr,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    tier: &'static str,
}

impl Setup {
    /// Uses the database of this URL instead of a new one of the kind given.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.database = Ok(url.into());
        self
    }

    /// Gives the first organization this tier. Without that it has no quota: most tests are not about it, and some ask for
    /// very much.
    pub fn tier(mut self, tier: &'static str) -> Self {
        self.tier = tier;
        self
    }

    /// Serves at one address, the same after each start, so that a test can call before anybody listens there.
    pub fn at_one_address(mut self) -> Self {
        self.listen = free_address();
        self
    }

    /// Adds an argument to every `keyrack serve`.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments to every `keyrack serve`.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable in the environment of every program started.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Prepares the database with its first organisation and owner, and starts to serve.
    #[track_caller]
    pub fn start(self) -> Keyrack {
        let directory = tempfile::Builder::new().prefix("keyrack-test-").tempdir().expect("a directory");
        let database_url = self.database.unwrap_or_else(|kind| {
            kind.fresh(directory.path()).expect("a test asks Database::is_available first, or uses both_databases")
        });
        let mut keyrack = Keyrack {
            binary: self.binary,
            listen: self.listen,
            arguments: self.arguments,
            environment: self.environment,
            tier: self.tier,
            database_url,
            keyfile: directory.path().join("keyrack.keyfile"),
            owner_email: "owner@acme.test".to_owned(),
            owner_password: format!("owner password {}", uuid::Uuid::new_v4().simple()),
            organization_id: String::new(),
            user_id: String::new(),
            management_key: String::new(),
            directory,
            past: String::new(),
            serving: None,
        };
        keyrack.initialise();
        keyrack.serve();
        keyrack
    }
}

/// A running `keyrack serve` with one organisation, `acme`, and its owner. Killed on drop, its files removed.
#[derive(Debug)]
pub struct Keyrack {
    /// The URL of its database.
    pub database_url: String,
    /// The file with its keys of its own.
    pub keyfile: PathBuf,
    /// The organisation's id.
    pub organization_id: String,
    /// The owner's id.
    pub user_id: String,
    /// The owner's address.
    pub owner_email: String,
    /// The owner's password, of this instance only.
    pub owner_password: String,
    /// The key that may do everything in the organisation and with the instance.
    pub management_key: String,
    binary: PathBuf,
    listen: SocketAddr,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    tier: &'static str,
    directory: TempDir,
    past: String,
    serving: Option<Serving>,
}

impl Keyrack {
    /// Starts one on a new database of this kind. The binary is `env!("CARGO_BIN_EXE_keyrack")` of the calling test.
    #[track_caller]
    pub fn start(binary: impl AsRef<Path>, database: Database) -> Self {
        Self::setup(binary, database).start()
    }

    /// The same, with more to say about how. It ends at once on SIGTERM, if nothing else is said.
    pub fn setup(binary: impl AsRef<Path>, database: Database) -> Setup {
        Setup {
            tier: "enterprise",
            binary: binary.as_ref().to_owned(),
            database: Err(database),
            listen: ANY_PORT,
            arguments: Vec::new(),
            // Some tests are refused very often.
            environment: vec![("KEYRACK_DRAIN".into(), "0s".into()), ("KEYRACK_FAILURE_LIMIT".into(), "0".into())],
        }
    }

    #[track_caller]
    fn initialise(&mut self) {
        let answer = self
            .command("init")
            .args(["--organization", "acme", "--owner-email", &self.owner_email])
            .args(["--owner-password-stdin", "--json", "--tier", self.tier])
            .stdin(format!("{}\n", self.owner_password))
            .run()
            .success()
            .json();
        let text = |name: &str| {
            let text = answer[name].as_str();
            text.unwrap_or_else(|| panic!("keyrack init gave no {name}: {answer}")).to_owned()
        };
        self.organization_id = text("organization_id");
        self.user_id = text("user_id");
        self.management_key = text("management_key");
    }

    #[track_caller]
    fn serve(&mut self) {
        self.serving = Some(self.serve_at(&self.database_url, self.listen));
    }

    /// A command of the same binary, on the same database and key file.
    pub fn command(&self, subcommand: &str) -> Program {
        self.command_on(&self.database_url, subcommand)
    }

    fn command_on(&self, database_url: &str, subcommand: &str) -> Program {
        self.program().arg(subcommand).args(["--database", database_url]).arg("--keyfile").arg(&self.keyfile)
    }

    /// The same binary, told nothing but the environment.
    pub fn program(&self) -> Program {
        Program::new(&self.binary).envs(self.environment.iter().cloned()).directory(self.directory.path())
    }

    /// A second process that serves the same database, ended by whoever asked for it.
    #[track_caller]
    pub fn another(&self) -> Serving {
        self.another_over(&self.database_url)
    }

    /// The same, reaching the database by another way.
    #[track_caller]
    pub fn another_over(&self, database_url: &str) -> Serving {
        self.serve_at(database_url, ANY_PORT)
    }

    #[track_caller]
    fn serve_at(&self, database_url: &str, listen: SocketAddr) -> Serving {
        let serve = self.command_on(database_url, "serve").args(["--listen", &listen.to_string()]);
        let program = serve.args(&self.arguments).start();
        let line = program.wait_line(|line| line.starts_with(LISTENS));
        Serving { url: line[LISTENS.len()..].trim().to_owned(), program }
    }

    /// The process that serves.
    #[track_caller]
    pub fn serving(&self) -> &Serving {
        self.serving.as_ref().expect("keyrack was stopped")
    }

    /// The URL it serves at now; another one after each start, but for [`Setup::at_one_address`].
    #[track_caller]
    pub fn url(&self) -> String {
        self.serving().url.clone()
    }

    /// A client that presents nothing.
    #[track_caller]
    pub fn http(&self) -> Http {
        Http::new(self.url())
    }

    /// A client that presents the management key.
    #[track_caller]
    pub fn owner(&self) -> Http {
        self.http().with_bearer(&self.management_key)
    }

    /// Ends it by SIGINT and waits.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.end(Running::interrupt)
    }

    /// Ends it by SIGTERM and waits.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.end(Running::terminate)
    }

    /// Ends it by SIGKILL: what it had not written is lost, as in a crash.
    #[track_caller]
    pub fn crash(&mut self) -> ExitStatus {
        self.end(Running::kill)
    }

    #[track_caller]
    fn end(&mut self, signal: fn(&Running)) -> ExitStatus {
        let mut serving = self.serving.take().expect("keyrack was stopped before");
        signal(&serving.program);
        let status = serving.program.wait();
        self.past.push_str(&serving.output());
        status
    }

    /// Starts it again after [`Keyrack::stop`] or [`Keyrack::crash`], at a new URL but for [`Setup::at_one_address`].
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.serving.is_none(), "keyrack serves already");
        self.serve();
    }

    /// Stops it in good order and starts it again, at a new URL.
    #[track_caller]
    pub fn restart(&mut self) {
        let status = self.stop();
        assert!(status.success(), "keyrack serve ended with {status}\n{}", self.past);
        self.start_again();
    }

    /// All that its serving process printed, and those before it: what a test searches for secrets.
    pub fn output(&self) -> String {
        format!("{}{}", self.past, self.serving.as_ref().map(Serving::output).unwrap_or_default())
    }

    /// The directory with its files, gone on drop.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// An address that nobody listens at. Its port is below those that systems give to outgoing connections, which could take it
/// while the server is away.
fn free_address() -> SocketAddr {
    let port = || 10_000 + u16::try_from(uuid::Uuid::new_v4().as_u128() % 20_000).expect("a port");
    let addresses = std::iter::repeat_with(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port())));
    let mut free = addresses.take(100).filter(|address| TcpListener::bind(address).is_ok());
    free.next().expect("a free port")
}

/// One process that serves. Killed on drop.
#[derive(Debug)]
pub struct Serving {
    /// Its URL.
    pub url: String,
    /// The process.
    pub program: Running,
}

impl Serving {
    /// A client that presents nothing.
    pub fn http(&self) -> Http {
        Http::new(&self.url)
    }

    /// Where it listens, for [`crate::http::raw`].
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let address = self.url.strip_prefix("http://").and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address and port: {}", self.url))
    }

    /// All it printed so far.
    pub fn output(&self) -> String {
        format!("{}{}", self.program.stdout(), self.program.stderr())
    }
}
