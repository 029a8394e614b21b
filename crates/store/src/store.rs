//! Opening a database, and the transactions on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use jiff::Timestamp;
use keyrack_core::{NodeId, OrganizationId};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgPool, SqlitePool};

use crate::driver::{Tx, args, heard};
use crate::event::{self, NewEvent};
use crate::{Claim, Membership, Result, StoreError, claim, dialect, migrate};

/// How long a call waits for a connection, or for another process's write lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a file that another process is making is tried again.
const CONTENDED: Duration = Duration::from_millis(10);
/// Connections that read a SQLite file at the same time.
pub(crate) const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Connections to PostgreSQL that follow the log: one listens, and several may look at once.
const POSTGRES_APART: u32 = 4;
/// What we ask of a session: the server soon ends one whose process has stopped or been cut off, for it may hold locks that
/// every change waits for.
const SESSION: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "5s"),
    ("tcp_user_timeout", "5s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "5"),
];

/// A database that holds everything Keyrack must not forget.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
}

/// Connections that are kept for one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolUse {
    /// What for.
    pub name: &'static str,
    /// How many there are.
    pub open: usize,
    /// How many of them nobody uses.
    pub idle: usize,
}

#[derive(Clone)]
enum Pools {
    /// One connection writes, several read.
    Sqlite { writer: SqlitePool, readers: SqlitePool, path: PathBuf },
    /// What follows the log has connections apart: it must not wait behind those who change something.
    Postgres { pool: PgPool, apart: PgPool, options: Box<PgConnectOptions> },
}

impl Store {
    /// Opens the database of a URL, `sqlite:keyrack.db` or `postgres://...`, and brings its schema up to date. A SQLite
    /// file is made if it is not there, readable by its owner only.
    pub async fn open(url: &str, now: Timestamp) -> Result<Self> {
        let store = match url.split_once(':') {
            Some(("sqlite", _)) => Self::open_sqlite(url).await?,
            Some(("postgres" | "postgresql", _)) => Self::open_postgres(url).await?,
            _ => return Err(StoreError::Url("a database URL starts with sqlite: or postgres://".to_owned())),
        };
        migrate::migrate(store.begin_write().await?, now).await?;
        Ok(store)
    }

    async fn open_sqlite(url: &str) -> Result<Self> {
        let path = sqlite_path(url)?;
        make_private(&path)?;
        // By whatever way the file is reached, it has one lock file.
        let path = path.canonicalize().map_err(|e| StoreError::File(path.display().to_string(), e))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .row_buffer_size(1024)
            .disable_statement_logging();
        let writer = first_connection(&options).await?;
        let readers = sqlite_pool(SQLITE_READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { pools: Pools::Sqlite { writer, readers, path } })
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let options =
            PgConnectOptions::from_str(url).map_err(|e| StoreError::Url(format!("not a PostgreSQL URL: {e}")))?;
        let options = options.application_name("keyrack").options(SESSION).disable_statement_logging();
        let pool = postgres_pool(POSTGRES_CONNECTIONS).connect_with(options.clone()).await?;
        let apart = postgres_pool(POSTGRES_APART).connect_with(options.clone()).await?;
        Ok(Self { pools: Pools::Postgres { pool, apart, options: Box::new(options) } })
    }

    /// The SQLite file, if it is one.
    pub fn sqlite_file(&self) -> Option<&Path> {
        match &self.pools {
            Pools::Sqlite { path, .. } => Some(path),
            Pools::Postgres { .. } => None,
        }
    }

    async fn begin_write(&self) -> Result<Tx> {
        Ok(match &self.pools {
            Pools::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with(dialect::SQLITE_BEGIN_WRITE).await?),
            Pools::Postgres { pool, .. } => Tx::Postgres(heard(pool.begin()).await?),
        })
    }

    /// A consistent snapshot to read from.
    pub async fn read(&self) -> Result<Reader> {
        let tx = match &self.pools {
            Pools::Sqlite { readers, .. } => Tx::Sqlite(readers.begin().await?),
            Pools::Postgres { pool, .. } => Tx::Postgres(heard(pool.begin_with(dialect::POSTGRES_BEGIN_READ)).await?),
        };
        Ok(Reader { tx })
    }

    /// The same, to follow the log by: it does not wait for those who change something.
    pub async fn read_apart(&self) -> Result<Reader> {
        match &self.pools {
            Pools::Sqlite { .. } => self.read().await,
            Pools::Postgres { apart, .. } => {
                let tx = heard(apart.begin_with(dialect::POSTGRES_BEGIN_READ)).await?;
                Ok(Reader { tx: Tx::Postgres(tx) })
            }
        }
    }

    /// A transaction that changes things of these organizations. Writers of the same organization wait for each other, so
    /// what one has read still holds when it commits.
    pub async fn write(&self, organizations: &[OrganizationId]) -> Result<Writer> {
        let mut tx = self.begin_write().await?;
        if matches!(tx, Tx::Postgres(_)) {
            let mut locks: Vec<i64> = organizations.iter().map(|o| dialect::tenant_lock(o.0)).collect();
            // In one order everywhere, or two writers could wait for each other.
            locks.sort_unstable();
            locks.dedup();
            for lock in locks {
                tx.execute(dialect::POSTGRES_LOCK_TENANT, args![lock]).await?;
            }
        }
        Ok(Writer { reader: Reader { tx } })
    }

    /// How far the processes that serve this database say they have applied the log, the slowest of them; `None` if none
    /// serves it.
    pub async fn served_up_to(&self) -> Result<Option<i64>> {
        match &self.pools {
            Pools::Sqlite { path, .. } => claim::published(path),
            Pools::Postgres { .. } => self.read().await?.slowest_node().await,
        }
    }

    /// Claims the SQLite file for this process to serve from; refused while another process holds it.
    pub async fn claim(&self) -> Result<Claim> {
        match &self.pools {
            Pools::Sqlite { path, .. } => Claim::take(path).await,
            Pools::Postgres { .. } => Err(StoreError::Claimed("PostgreSQL is not claimed by one process".to_owned())),
        }
    }

    /// Whether several processes may serve this database.
    pub fn is_shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres { .. })
    }

    /// What makes this process one of those that serve a PostgreSQL database, once it joins; `None` on SQLite.
    pub fn membership(&self, id: NodeId, name: String, version: String) -> Option<Membership> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { options, .. } => Some(Membership::new((**options).clone(), id, name, version)),
        }
    }

    pub(crate) fn apart(&self) -> Option<&PgPool> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres { apart, .. } => Some(apart),
        }
    }

    /// How many connections there are, and how many of them nobody uses just now.
    pub fn pools(&self) -> Vec<PoolUse> {
        let sqlite = |name, pool: &SqlitePool| PoolUse { name, open: pool.size() as usize, idle: pool.num_idle() };
        let postgres = |name, pool: &PgPool| PoolUse { name, open: pool.size() as usize, idle: pool.num_idle() };
        match &self.pools {
            Pools::Sqlite { writer, readers, .. } => vec![sqlite("writer", writer), sqlite("readers", readers)],
            Pools::Postgres { pool, apart, .. } => vec![postgres("all", pool), postgres("apart", apart)],
        }
    }

    /// Waits for running statements and closes every connection.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres { pool, apart, .. } => {
                // Who is cut off from the server need not wait for its farewell.
                let _ = tokio::time::timeout(PATIENCE, async { tokio::join!(pool.close(), apart.close()) }).await;
            }
        }
    }

    /// Has the database prepare every statement of this crate, which finds slips without running them.
    pub async fn prepare_all(&self) -> Result<()> {
        use sqlx::{Executor as _, SqlSafeStr as _};
        let Reader { mut tx } = self.read().await?;
        let both = crate::batches::STATEMENTS
            .iter()
            .chain(crate::verification::BOTH)
            .chain(crate::usage::both())
            .map(|both| both.of(&tx));
        let all: Vec<&str> = crate::all_statements().chain(both).collect();
        for sql in all {
            match &mut tx {
                Tx::Sqlite(tx) => (&mut **tx).prepare(sql.into_sql_str()).await.map(|_| ())?,
                Tx::Postgres(tx) => (&mut **tx).prepare(sql.into_sql_str()).await.map(|_| ())?,
            }
        }
        Ok(())
    }
}

/// Making a new file a WAL file fails at once, however patient we are, while another process does the same.
async fn first_connection(options: &SqliteConnectOptions) -> Result<SqlitePool> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match sqlite_pool(1).connect_with(options.clone()).await.map_err(StoreError::from) {
            Err(StoreError::Unavailable(error)) if is_busy(&error) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(CONTENDED).await;
            }
            connected => return connected,
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY is 5 in the low byte.
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    let pool = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
    // SQLite itself ends a transaction that meets a full or failing disk. The driver then still counts one as open and
    // would begin no other on that connection, so it is given up.
    pool.before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

fn postgres_pool(connections: u32) -> PgPoolOptions {
    let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
    let pool = pool.after_connect(|connection, _| {
        Box::pin(async move { sqlx::query(dialect::POSTGRES_DURABLE).execute(connection).await.map(drop) })
    });
    // A connection that was cut must not keep its place in the pool until the kernel gives it up.
    pool.after_release(|connection, _| {
        Box::pin(async move {
            let settled = tokio::time::timeout(PATIENCE, connection.execute(dialect::POSTGRES_SETTLE)).await;
            settled.map_err(|_| sqlx::Error::PoolTimedOut)?.map(|_| true)
        })
    })
}

fn sqlite_path(url: &str) -> Result<PathBuf> {
    let path = url.trim_start_matches("sqlite:");
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") {
        return Err(StoreError::Url(
            "a database in memory would be forgotten; name a file, such as sqlite:keyrack.db".to_owned(),
        ));
    }
    if path.contains('?') || path.starts_with("file:") {
        return Err(StoreError::Url("a SQLite URL is sqlite: and a path, without parameters".to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// Creates the file for its owner only, if it is not there; SQLite gives its side files the same rights.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(StoreError::File(path.display().to_string(), e)),
    }
}

/// A snapshot to read from. Its queries stand with the tables they are about.
pub struct Reader {
    pub(crate) tx: Tx,
}

/// A transaction that may change things. It reads too.
pub struct Writer {
    pub(crate) reader: Reader,
}

impl std::ops::Deref for Writer {
    type Target = Reader;
    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl std::ops::DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl Writer {
    /// Makes the changes permanent together with the events that tell of them; the number of the last one. There is no
    /// other way to commit.
    ///
    /// The number comes from a row that stays locked to the commit, so the order of numbers is the order of commits.
    pub async fn commit(mut self, first: NewEvent, more: Vec<NewEvent>) -> Result<i64> {
        let mut seq = 0;
        for event in std::iter::once(first).chain(more) {
            seq = event::append(&mut self.reader.tx, &event).await?;
        }
        if matches!(self.reader.tx, Tx::Postgres(_)) {
            self.reader.tx.execute(dialect::POSTGRES_CALL, args![dialect::POSTGRES_CHANNEL]).await?;
        }
        self.reader.tx.commit().await?;
        Ok(seq)
    }
}
