//! Opening a database, and the transactions on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use jiff::Timestamp;
use keyrack_core::OrganizationId;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _, SqlitePool};

use crate::driver::{Tx, args};
use crate::event::{self, NewEvent};
use crate::{Result, StoreError, dialect, migrate};

/// How long a call waits for a connection, or for another process's write lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a claim is tried: whoever asks whether a server is there holds the lock for an instant.
const CLAIM_TRIES: u32 = 20;
/// How long to wait before the next try.
const CLAIM_PAUSE: Duration = Duration::from_millis(5);
/// How long the database may be silent before the claim counts as lost.
const CLAIM_PATIENCE: Duration = Duration::from_secs(1);
/// Connections that read a SQLite file at the same time.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;

/// A database that holds everything Keyrack must not forget.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
}

#[derive(Clone)]
enum Pools {
    /// One connection writes, several read.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
        path: PathBuf,
    },
    Postgres(PgPool, Box<PgConnectOptions>),
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
        let writer = sqlite_pool(1).connect_with(options.clone()).await?;
        let readers = sqlite_pool(SQLITE_READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { pools: Pools::Sqlite { writer, readers, path } })
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let options =
            PgConnectOptions::from_str(url).map_err(|e| StoreError::Url(format!("not a PostgreSQL URL: {e}")))?;
        let options = options.application_name("keyrack").disable_statement_logging();
        let pool = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).acquire_timeout(PATIENCE);
        let pool = pool.connect_with(options.clone()).await?;
        Ok(Self { pools: Pools::Postgres(pool, Box::new(options)) })
    }

    /// The SQLite file, if it is one.
    pub fn sqlite_file(&self) -> Option<&Path> {
        match &self.pools {
            Pools::Sqlite { path, .. } => Some(path),
            Pools::Postgres(..) => None,
        }
    }

    async fn begin_write(&self) -> Result<Tx> {
        Ok(match &self.pools {
            Pools::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with(dialect::SQLITE_BEGIN_WRITE).await?),
            Pools::Postgres(pool, _) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// A consistent snapshot to read from.
    pub async fn read(&self) -> Result<Reader> {
        let tx = match &self.pools {
            Pools::Sqlite { readers, .. } => Tx::Sqlite(readers.begin().await?),
            Pools::Postgres(pool, _) => Tx::Postgres(pool.begin_with(dialect::POSTGRES_BEGIN_READ).await?),
        };
        Ok(Reader { tx })
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

    /// Claims the database for this process to serve from; refused while another process holds it.
    pub async fn claim(&self) -> Result<Claim> {
        match &self.pools {
            Pools::Sqlite { path, .. } => {
                let (file, name) = lock_file(path)?;
                let mut tries = 0;
                while !lock(&file, &name)? {
                    tries += 1;
                    if tries == CLAIM_TRIES {
                        return Err(StoreError::Claimed(format!(
                            "another keyrack serves {} (it holds {})",
                            path.display(),
                            name.display()
                        )));
                    }
                    tokio::time::sleep(CLAIM_PAUSE).await;
                }
                // What the last server published says nothing about this one.
                file.set_len(0).map_err(|e| StoreError::File(name.display().to_string(), e))?;
                Ok(Claim::Sqlite(file))
            }
            Pools::Postgres(_, options) => {
                let connecting = tokio::time::timeout(PATIENCE, options.connect()).await;
                let mut connection = connecting.map_err(|_| sqlx::Error::PoolTimedOut)??;
                if !sqlx::query(dialect::POSTGRES_CLAIM)
                    .bind(dialect::CLAIM_LOCK)
                    .fetch_one(&mut connection)
                    .await?
                    .try_get("value")?
                {
                    return Err(StoreError::Claimed("another keyrack serves this PostgreSQL database".to_owned()));
                }
                sqlx::query(dialect::POSTGRES_UNHURRIED).execute(&mut connection).await?;
                sqlx::query(dialect::POSTGRES_UNPUBLISH).execute(&mut connection).await?;
                Ok(Claim::Postgres(Box::new(connection)))
            }
        }
    }

    /// How far the process that serves this database says it has applied the log; `None` if none serves it.
    pub async fn served_up_to(&self) -> Result<Option<i64>> {
        match &self.pools {
            Pools::Sqlite { path, .. } => {
                let (file, name) = lock_file(path)?;
                if lock_shared(&file, &name)? {
                    return Ok(None);
                }
                let text =
                    std::fs::read_to_string(&name).map_err(|e| StoreError::File(name.display().to_string(), e))?;
                Ok(Some(text.trim().parse().unwrap_or(-1)))
            }
            Pools::Postgres(pool, _) => {
                let mut connection = pool.acquire().await?;
                let is_free = sqlx::query(dialect::POSTGRES_CLAIM_IS_FREE).bind(dialect::CLAIM_LOCK);
                if is_free.fetch_one(&mut *connection).await?.try_get("value")? {
                    return Ok(None);
                }
                let applied = sqlx::query(dialect::POSTGRES_APPLIED).fetch_optional(&mut *connection).await?;
                let applied: Option<String> = applied.map(|row| row.try_get("value")).transpose()?;
                Ok(Some(applied.and_then(|text| text.parse().ok()).unwrap_or(-1)))
            }
        }
    }

    /// Waits for running statements and closes every connection.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool, _) => pool.close().await,
        }
    }

    /// Has the database prepare every statement of this crate, which finds slips without running them.
    pub async fn prepare_all(&self) -> Result<()> {
        use sqlx::{Executor as _, SqlSafeStr as _};
        let Reader { mut tx } = self.read().await?;
        for sql in crate::all_statements() {
            match &mut tx {
                Tx::Sqlite(tx) => (&mut **tx).prepare(sql.into_sql_str()).await.map(|_| ())?,
                Tx::Postgres(tx) => (&mut **tx).prepare(sql.into_sql_str()).await.map(|_| ())?,
            }
        }
        Ok(())
    }
}

/// The right to serve from a database, held until dropped.
pub enum Claim {
    /// A lock on a file beside the database; the kernel keeps it as long as we live.
    Sqlite(File),
    /// A lock of a connection of our own; gone with the connection.
    Postgres(Box<PgConnection>),
}

impl Claim {
    /// Fails when the claim may have been lost.
    pub async fn check(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => {
                let ping = tokio::time::timeout(CLAIM_PATIENCE, connection.ping()).await;
                Ok(ping.map_err(|_| sqlx::Error::PoolTimedOut)??)
            }
        }
    }

    /// Says how far the log is applied here, for [`Store::served_up_to`] of another process.
    pub async fn publish(&mut self, seq: i64) -> Result<()> {
        match self {
            Self::Sqlite(file) => {
                use std::os::unix::fs::FileExt as _;
                // Always as many bytes, so that a reader never sees half a number.
                let text = format!("{seq:020}");
                file.write_all_at(text.as_bytes(), 0).map_err(|e| StoreError::File("the lock file".to_owned(), e))
            }
            Self::Postgres(connection) => {
                let publish = sqlx::query(dialect::POSTGRES_PUBLISH).bind(seq.to_string());
                let publish = tokio::time::timeout(CLAIM_PATIENCE, publish.execute(&mut **connection)).await;
                publish.map_err(|_| sqlx::Error::PoolTimedOut)??;
                Ok(())
            }
        }
    }
}

fn lock_file(database: &Path) -> Result<(File, PathBuf)> {
    let mut name = database.to_path_buf().into_os_string();
    name.push(".lock");
    let name = PathBuf::from(name);
    make_private(&name)?;
    let file = File::options().read(true).write(true).open(&name);
    file.map(|file| (file, name.clone())).map_err(|e| StoreError::File(name.display().to_string(), e))
}

fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    let pool = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
    // SQLite itself ends a transaction that meets a full or failing disk. The driver then still counts one as open and
    // would begin no other on that connection, so it is given up.
    pool.before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

/// Whether the lock could be had.
fn lock(file: &File, name: &Path) -> Result<bool> {
    had(file.try_lock(), name)
}

/// Whether the lock could be had together with others who only ask.
fn lock_shared(file: &File, name: &Path) -> Result<bool> {
    had(file.try_lock_shared(), name)
}

fn had(lock: std::result::Result<(), std::fs::TryLockError>, name: &Path) -> Result<bool> {
    match lock {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(e)) => Err(StoreError::File(name.display().to_string(), e)),
    }
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
fn make_private(path: &Path) -> Result<()> {
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
        self.reader.tx.commit().await?;
        Ok(seq)
    }
}
