//! A database of a test's own, and a second look at it that does not go through the store.

use keyrack_core::{Timestamp, from_micros};
use keyrack_store::{FeedHead, Reader, Store, StoreError, Writer};
use keyrack_testkit::Database;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;

use crate::samples;

/// A moment of the tests, to the microsecond.
pub(crate) fn at(seconds: i64) -> Timestamp {
    from_micros(1_800_000_000_000_000 + seconds * 1_000_000 + 123_457)
}

/// A database with a store on it.
pub(crate) struct World {
    pub url: String,
    pub store: Store,
    /// Of the SQLite file; gone with it.
    _directory: TempDir,
}

impl World {
    /// A new database whose log has begun.
    pub(crate) async fn new(database: Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        let store = Store::open(&url, at(0)).await.unwrap();
        let world = Self { url, store, _directory: directory };
        let mut writer = world.write().await;
        writer.begin_epoch(samples::id()).await.unwrap();
        writer.commit(samples::event("instance.created"), vec![]).await.unwrap();
        world
    }

    /// Another store on the same database, as another process has one.
    pub(crate) async fn another_store(&self) -> Store {
        Store::open(&self.url, at(1)).await.unwrap()
    }

    pub(crate) async fn read(&self) -> Reader {
        self.store.read().await.unwrap()
    }

    pub(crate) async fn write(&self) -> Writer {
        self.store.write(&[]).await.unwrap()
    }

    pub(crate) async fn head(&self) -> FeedHead {
        self.read().await.feed_head().await.unwrap().unwrap()
    }

    /// A connection that the store knows nothing of.
    pub(crate) async fn look(&self) -> Look {
        Look::at(&self.url).await
    }
}

/// Commits with an event that says nothing in particular.
pub(crate) async fn commit(writer: Writer) -> i64 {
    writer.commit(samples::event("test.changed"), vec![]).await.unwrap()
}

/// A connection that the store knows nothing of.
pub(crate) enum Look {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

macro_rules! texts {
    ($connection:expr, $sql:expr) => {{
        let rows = sqlx::query(AssertSqlSafe($sql.to_owned())).fetch_all($connection).await.unwrap();
        rows.iter().map(|row| (0..row.len()).map(|at| row.get::<Option<String>, _>(at)).collect()).collect()
    }};
}

impl Look {
    pub(crate) async fn at(url: &str) -> Self {
        if let Some(path) = url.strip_prefix("sqlite:") {
            Self::Sqlite(SqliteConnectOptions::new().filename(path).connect().await.unwrap())
        } else {
            Self::Postgres(url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap())
        }
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
        }
    }

    /// The rows of a query whose columns are all text.
    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        match self {
            Self::Sqlite(connection) => texts!(connection, sql),
            Self::Postgres(connection) => texts!(connection, sql),
        }
    }

    /// The one text that a query gives.
    pub(crate) async fn text(&mut self, sql: &str) -> String {
        self.rows(sql).await.remove(0).remove(0).unwrap()
    }

    /// Everything the tables hold, to be compared with what they hold later.
    pub(crate) async fn contents(&mut self) -> Vec<(String, Vec<String>)> {
        let mut contents = Vec::new();
        for table in self.tables().await {
            let rows = match self {
                Self::Sqlite(_) => {
                    let columns = self.rows(&format!("SELECT name FROM pragma_table_info('{table}')")).await;
                    let columns: Vec<_> =
                        columns.iter().map(|c| format!("quote({})", c[0].as_ref().unwrap())).collect();
                    self.rows(&format!("SELECT {} FROM {table} ORDER BY 1", columns.join(" || ',' || "))).await
                }
                Self::Postgres(_) => self.rows(&format!("SELECT t::text FROM {table} t ORDER BY 1")).await,
            };
            contents.push((table, rows.into_iter().map(|mut row| row.remove(0).unwrap()).collect()));
        }
        contents
    }

    /// The names of all tables.
    pub(crate) async fn tables(&mut self) -> Vec<String> {
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
            }
            Self::Postgres(_) => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
        };
        let mut tables: Vec<_> = self.rows(sql).await.into_iter().map(|mut row| row.remove(0).unwrap()).collect();
        tables.sort_unstable();
        tables
    }
}

/// Whether the store says that the database cannot be used now.
pub(crate) fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}
