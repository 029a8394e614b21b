//! PostgreSQL servers for tests: one that all tests of a process share, and private ones that a test may stop and start.
//!
//! A server started here ends with the test process, however that ends: a shell keeps it, and the shell's standard input
//! is a pipe that only the test process holds. When the pipe closes, the shell stops the server and removes its files.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, Once, OnceLock};
use std::thread;
use std::time::Duration;

/// How long a server may take to start or stop before the test fails. Generous: a loaded machine is no failure.
const PATIENCE: Duration = Duration::from_mins(2);

/// Takes orders, `start PORT`, `stop` and `crash`, answers each with `done` or `failed`, and cleans up when there are no more.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
programs=$1 directory=$2
while read -r order port; do
  case $order in
    start) "$programs/pg_ctl" start -w -t 100 -D "$directory/data" -l "$directory/log" -o "-p $port" ;;
    stop) "$programs/pg_ctl" stop -w -t 100 -m fast -D "$directory/data" ;;
    crash) "$programs/pg_ctl" stop -w -t 100 -m immediate -D "$directory/data" ;;
    *) false ;;
  esac </dev/null >>"$directory/orders" 2>&1 && echo done || echo failed
done
"$programs/pg_ctl" stop -w -m immediate -D "$directory/data" >/dev/null 2>&1
rm -rf "$directory"
"#;

/// Durability is switched off, for nothing here outlives the test.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 32MB
fsync = off
full_page_writes = off
synchronous_commit = off
";

/// The URL of a new, empty database, another one at each call; `None` when PostgreSQL is not to be had.
///
/// It is made on the server named by `KEYRACK_TEST_POSTGRES` (a URL whose user may create databases; they are left to the
/// owner of that server), else on one that is started once per test process from the programs installed here. `None` is
/// said once on stderr, and is a panic where `KEYRACK_TEST_REQUIRE_ALL` is set, so that no run can pass by leaving out.
pub fn fresh_database() -> Option<String> {
    shared().map(Server::fresh_database)
}

/// Whether [`fresh_database`] will give one.
pub fn is_available() -> bool {
    shared().is_some()
}

fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Result<Server, Lack>> = OnceLock::new();
    let outcome = SHARED.get_or_init(|| match setting("KEYRACK_TEST_POSTGRES") {
        Some(url) => Server::given(url),
        None => PrivateCluster::begin().map(Server::Own),
    });
    outcome.as_ref().inspect_err(|lack| lack.bear()).ok()
}

/// Why there is no server.
#[derive(Debug)]
enum Lack {
    NotInstalled,
    Broken(String),
}

impl Lack {
    /// Not installed is said once and borne, unless everything is required; broken is a failure of the test.
    fn bear(&self) {
        static SAID: Once = Once::new();
        if let Some(failure) = self.failure(setting("KEYRACK_TEST_REQUIRE_ALL").is_some()) {
            panic!("{failure}");
        }
        // Not by eprintln, which the test harness would swallow.
        SAID.call_once(|| {
            let _ = writeln!(std::io::stderr(), "left out: PostgreSQL is not installed; ./test installs it");
        });
    }

    fn failure(&self, all_is_required: bool) -> Option<&str> {
        match self {
            Self::Broken(reason) => Some(reason),
            Self::NotInstalled => all_is_required
                .then_some("PostgreSQL is not installed, and KEYRACK_TEST_REQUIRE_ALL asks for it; ./test installs it"),
        }
    }
}

fn setting(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

enum Server {
    Own(PrivateCluster),
    Given { psql: PathBuf, url: String },
}

impl Server {
    fn given(url: OsString) -> Result<Self, Lack> {
        let url = url.into_string().map_err(|_| Lack::Broken("KEYRACK_TEST_POSTGRES is not a URL".into()))?;
        let psql = directory_with("psql").ok_or(Lack::NotInstalled)?.join("psql");
        Ok(Self::Given { psql, url })
    }

    fn fresh_database(&self) -> String {
        match self {
            Self::Own(cluster) => cluster.fresh_database(),
            Self::Given { psql, url } => {
                let name = fresh_name();
                let create = format!("create database {name}");
                succeed(command(psql).args(["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-c", &create, "-d"]).arg(url))
                    .unwrap_or_else(|reason| panic!("the server of KEYRACK_TEST_POSTGRES made no database: {reason}"));
                with_database(url, &name)
            }
        }
    }
}

/// The same server's URL for another database; what follows `?` stays.
fn with_database(url: &str, database: &str) -> String {
    let (before, parameters) = url.split_once('?').map_or((url, String::new()), |(b, p)| (b, format!("?{p}")));
    let authority = before.find("://").map_or(0, |at| at + 3);
    let end = before[authority..].find('/').map_or(before.len(), |at| authority + at);
    format!("{}/{database}{parameters}", &before[..end])
}

fn fresh_name() -> String {
    format!("keyrack_{}", uuid::Uuid::new_v4().simple())
}

/// A PostgreSQL server of one test's own, which it may stop and start again. Ends on drop, and with the process.
#[derive(Debug)]
pub struct PrivateCluster {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    orders: Option<ChildStdin>,
    replies: Mutex<Receiver<String>>,
    supervisor: Child,
}

impl PrivateCluster {
    /// Starts a new server; `None` when PostgreSQL is not installed, as [`fresh_database`] has it.
    pub fn start() -> Option<Self> {
        Self::begin().inspect_err(Lack::bear).ok()
    }

    /// The URL of a database of this server, over TCP on the loopback address. The user may do everything.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of the same database over the server's unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost:{}/{database}?host={}", self.port, self.directory.display())
    }

    /// The URL of a new, empty database of this server.
    pub fn fresh_database(&self) -> String {
        let name = fresh_name();
        let port = self.port.to_string();
        let mut create = command(&self.programs.join("createdb"));
        create.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-w", &name]);
        succeed(&mut create).unwrap_or_else(|reason| panic!("no database: {reason}\n{}", self.log()));
        self.url(&name)
    }

    /// Runs SQL in a database of this server and gives what it prints: rows on lines, columns parted by `|`.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let port = self.port.to_string();
        let mut psql = command(&self.programs.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database, "-c", text]);
        succeed(&mut psql).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    /// Stops the server as an operator would: it breaks all connections, then refuses new ones. The data stay.
    pub fn stop(&mut self) {
        self.order("stop").unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Ends the server without letting it put anything in order. What it has acknowledged stays where `synchronous_commit` is
    /// on, which it is not unless a test sees to it.
    pub fn crash(&mut self) {
        self.order("crash").unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Starts the server again after [`PrivateCluster::stop`] or [`PrivateCluster::crash`], with the same data at the same URL.
    pub fn start_again(&mut self) {
        self.order(&format!("start {}", self.port)).unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// What the server wrote to its log so far.
    pub fn log(&self) -> String {
        ["orders", "log"]
            .map(|name| String::from_utf8_lossy(&fs::read(self.directory.join(name)).unwrap_or_default()).into_owned())
            .concat()
    }

    /// The directory that holds everything of this server, until it ends.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn begin() -> Result<Self, Lack> {
        let programs = directory_with("initdb").ok_or(Lack::NotInstalled)?;
        let directory = tempfile::Builder::new().prefix("keyrack-pg-").tempdir().map_err(broken)?;
        let user = owner(directory.path())?;
        initialise(&programs, directory.path(), user)?;

        let mut shell = command(Path::new("sh"));
        user.apply(&mut shell);
        let mut supervisor = shell
            .args(["-c", SUPERVISOR, "sh"])
            .args([&programs, directory.path()])
            .current_dir(directory.path())
            // A signal for the group of the test process must not end it: it has to clean up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(broken)?;
        let orders = supervisor.stdin.take();
        let replies = Mutex::new(lines(supervisor.stdout.take().expect("stdout is piped")));
        // From here on the supervisor removes the directory.
        let mut cluster = Self { programs, directory: directory.keep(), port: 0, orders, replies, supervisor };
        cluster.start_on_a_free_port().map_err(Lack::Broken)?;
        Ok(cluster)
    }

    /// Another program may take the port between our look and the server's start, so it is tried again with another.
    fn start_on_a_free_port(&mut self) -> Result<(), String> {
        let mut outcome = Ok(());
        for _ in 0..5 {
            self.port =
                TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
            outcome = self.order(&format!("start {}", self.port));
            if outcome.is_ok() || !self.log().contains("could not bind") {
                break;
            }
        }
        outcome
    }

    fn order(&mut self, order: &str) -> Result<(), String> {
        let written = self.orders.as_mut().is_some_and(|orders| writeln!(orders, "{order}").is_ok());
        let reply = if written { self.replies.get_mut().unwrap().recv_timeout(PATIENCE).ok() } else { None };
        match reply.as_deref() {
            Some("done") => Ok(()),
            reply => Err(format!("PostgreSQL did not {order}: {}\n{}", reply.unwrap_or("no reply"), self.log())),
        }
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.supervisor.wait();
    }
}

/// As whom the server's programs run: they refuse to run as root.
#[derive(Clone, Copy, Debug)]
struct User(Option<(u32, u32)>);

impl User {
    fn apply(self, command: &mut Command) {
        if let Self(Some((user, group))) = self {
            command.uid(user).gid(group);
        }
    }
}

/// Gives the directory to a user who may run PostgreSQL in it: ourselves, or for root the one its package made.
fn owner(directory: &Path) -> Result<User, Lack> {
    if fs::metadata(directory).map_err(broken)?.uid() != 0 {
        return Ok(User(None));
    }
    let id = |which: &str| {
        let known = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| succeed(command(Path::new("id")).args([which, name])).ok());
        known.and_then(|text| text.trim().parse().ok())
    };
    let (Some(user), Some(group)) = (id("-u"), id("-g")) else {
        return Err(Lack::Broken(
            "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`".into(),
        ));
    };
    chown(directory, Some(user), Some(group)).map_err(broken)?;
    Ok(User(Some((user, group))))
}

/// Makes the data directory. Text sorts as most installations sort it (`a B c`, not `B a c`) where the programs can, so
/// that a query which silently relies on the order of bytes is found out.
fn initialise(programs: &Path, directory: &Path, user: User) -> Result<(), Lack> {
    let data = directory.join("data");
    let attempt = |locale: &[&str]| {
        let mut initdb = command(&programs.join("initdb"));
        user.apply(&mut initdb);
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]).args(locale);
        succeed(initdb.arg("-D").arg(&data).current_dir(directory))
    };
    attempt(&["--locale=C", "--locale-provider=icu", "--icu-locale=en-US"])
        .or_else(|_| attempt(&["--locale=C"]))
        .map_err(|reason| Lack::Broken(format!("PostgreSQL made no data directory: {reason}")))?;
    let socket = directory.display().to_string().replace('\'', "''");
    let mut file = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).map_err(broken)?;
    writeln!(file, "{SETTINGS}unix_socket_directories = '{socket}'").map_err(broken)
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn broken(error: std::io::Error) -> Lack {
    Lack::Broken(format!("PostgreSQL could not be started: {error}"))
}

/// Where a program of PostgreSQL is: the newest installation in Debian's place, else the search path.
fn directory_with(program: &str) -> Option<PathBuf> {
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    installed.sort_unstable_by(|a, b| b.cmp(a));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = installed
        .into_iter()
        .map(|(_, directory)| directory)
        .chain(std::env::split_paths(&path))
        .find(|directory| directory.join(program).is_file())?;
    // A link stands for the place where all the programs are, unless it is a wrapper of another name.
    let real = fs::canonicalize(found.join(program)).ok()?;
    if real.ends_with(program) { real.parent().map(Path::to_owned) } else { Some(found) }
}

/// A program with an environment that says nothing about PostgreSQL, and that speaks plain English.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// What a program printed, or what it complained of.
fn succeed(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()))
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_url_changes_its_database_and_nothing_else() {
        let cases = [
            ("postgres://u:p@h:1/old?sslmode=require", "postgres://u:p@h:1/new?sslmode=require"),
            ("postgres://h", "postgres://h/new"),
            ("postgres://h/", "postgres://h/new"),
            ("postgresql://h?a=/b", "postgresql://h/new?a=/b"),
        ];
        for (given, wanted) in cases {
            assert_eq!(with_database(given, "new"), wanted);
        }
    }

    #[test]
    fn what_is_broken_is_never_left_out_and_what_is_not_installed_only_where_it_may() {
        for required in [false, true] {
            assert_eq!(Lack::Broken("no disk".into()).failure(required), Some("no disk"));
        }
        assert_eq!(Lack::NotInstalled.failure(false), None);
        assert!(Lack::NotInstalled.failure(true).unwrap().contains("PostgreSQL is not installed"));
    }

    #[test]
    fn a_program_that_is_nowhere_is_not_found() {
        assert_eq!(directory_with("keyrack-no-such-program"), None);
        let failure = succeed(command(Path::new("sh")).args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(failure.contains("why") && failure.contains('3'), "{failure}");
    }
}
