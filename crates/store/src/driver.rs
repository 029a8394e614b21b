//! The one place where the two databases part: values in, rows out, and the transaction around them.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use keyrack_core::{from_micros, micros};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, Postgres, Row as _, Sqlite, Transaction, Type};
use uuid::Uuid;

use crate::copying::{Columns, Copied};
use crate::{Result, StoreError};

/// A transaction on either database. Dropped without a commit, it is rolled back.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A value for a placeholder. Nulls have a type too, since PostgreSQL wants to know it.
#[derive(Clone)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
    Bool(bool),
    Id(Option<Uuid>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! args_from {
    ($($variant:ident: $from:ty => $convert:expr;)*) => {$(
        impl From<$from> for Arg {
            fn from(value: $from) -> Self {
                Self::$variant(($convert)(value))
            }
        }
    )*};
}

args_from! {
    Int: i64 => Some;
    Int: Option<i64> => |v| v;
    Int: Timestamp => |v| Some(micros(v));
    Int: Option<Timestamp> => |v: Option<Timestamp>| v.map(micros);
    Text: &str => |v: &str| Some(v.to_owned());
    Text: &String => |v: &String| Some(v.clone());
    Text: String => Some;
    Text: Option<String> => |v| v;
    Text: Option<&str> => |v: Option<&str>| v.map(str::to_owned);
    Bool: bool => |v| v;
    Id: Uuid => Some;
    Id: Option<Uuid> => |v| v;
    Bytes: &[u8] => |v: &[u8]| Some(v.to_vec());
    Bytes: Vec<u8> => Some;
    Bytes: Option<Vec<u8>> => |v| v;
}

macro_rules! ids_as_args {
    ($($id:ident),*) => {$(
        impl From<keyrack_core::$id> for Arg {
            fn from(id: keyrack_core::$id) -> Self {
                Self::Id(Some(id.0))
            }
        }
        impl From<Option<keyrack_core::$id>> for Arg {
            fn from(id: Option<keyrack_core::$id>) -> Self {
                Self::Id(id.map(|id| id.0))
            }
        }
        impl FromColumn for keyrack_core::$id {
            fn from_column(row: &Row, column: &'static str) -> Result<Self> {
                Uuid::from_column(row, column).map(Self)
            }
        }
        impl FromColumn for Option<keyrack_core::$id> {
            fn from_column(row: &Row, column: &'static str) -> Result<Self> {
                Ok(Option::<Uuid>::from_column(row, column)?.map(keyrack_core::$id))
            }
        }
    )*};
}
ids_as_args!(
    OrganizationId,
    WorkspaceId,
    UserId,
    GroupId,
    KeyId,
    LogId,
    RouteId,
    EventId,
    SessionId,
    InvitationId,
    LetterId,
    NodeId,
    NotificationId,
    SecretId,
    DataKeyId
);

/// Builds the values of a statement: `args![organization, name, limit]`.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::driver::Arg::from($value)),*] };
}
pub(crate) use args;

macro_rules! bind {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query($sql);
        for arg in $args {
            query = match arg.clone() {
                Arg::Int(value) => query.bind(value),
                Arg::Text(value) => query.bind(value),
                Arg::Bool(value) => query.bind(value),
                Arg::Id(value) => query.bind(value),
                Arg::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}

fn for_sqlite(sql: &'static str, args: &[Arg]) -> Query<'static, Sqlite, SqliteArguments> {
    bind!(sql, args)
}

fn for_postgres(sql: &'static str, args: &[Arg]) -> Query<'static, Postgres, PgArguments> {
    bind!(sql, args)
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column.
    pub(crate) fn get<T: FromColumn>(&self, column: &'static str) -> Result<T> {
        T::from_column(self, column)
    }

    fn raw<T>(&self, column: &'static str) -> Result<T>
    where
        T: Type<Sqlite> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres>,
    {
        let value = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        };
        Self::read(value, column)
    }

    /// The value at a place, for rows that are read by the million: finding a column by its name costs more than reading it.
    pub(crate) fn at<T>(&self, place: usize) -> Result<T>
    where
        T: Type<Sqlite> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres>,
    {
        let value = match self {
            Self::Sqlite(row) => row.try_get(place),
            Self::Postgres(row) => row.try_get(place),
        };
        Self::read(value, "of a key")
    }

    fn read<T>(value: std::result::Result<T, sqlx::Error>, column: &'static str) -> Result<T> {
        value.map_err(|error| match error {
            sqlx::Error::ColumnDecode { .. } => StoreError::Corrupt { column },
            other => StoreError::Driver(other),
        })
    }

    /// A text column read as something else.
    pub(crate) fn parse<T>(&self, column: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        read(&self.raw::<String>(column)?).ok_or(StoreError::Corrupt { column })
    }

    /// A text column that holds JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        self.parse(column, |text| serde_json::from_str(text).ok())
    }
}

/// What can be read from a column.
pub(crate) trait FromColumn: Sized {
    fn from_column(row: &Row, column: &'static str) -> Result<Self>;
}

macro_rules! raw_columns {
    ($($column:ty),*) => {$(
        impl FromColumn for $column {
            fn from_column(row: &Row, column: &'static str) -> Result<Self> {
                row.raw(column)
            }
        }
    )*};
}
raw_columns!(i64, Option<i64>, String, Option<String>, bool, Uuid, Option<Uuid>, Vec<u8>, Option<Vec<u8>>);

impl FromColumn for Timestamp {
    fn from_column(row: &Row, column: &'static str) -> Result<Self> {
        row.raw(column).map(from_micros)
    }
}

impl FromColumn for Option<Timestamp> {
    fn from_column(row: &Row, column: &'static str) -> Result<Self> {
        Ok(row.raw::<Option<i64>>(column)?.map(from_micros))
    }
}

/// How many rows of a copy are taken without looking at the clock.
const COPIED_AT_ONCE: usize = 256;

/// How long PostgreSQL may be silent in the middle of a statement before it counts as away.
const SILENCE: Duration = Duration::from_secs(10);

/// Waits for PostgreSQL, but not for ever: who is cut off from it is told by nobody.
pub(crate) async fn heard<T>(answer: impl Future<Output = std::result::Result<T, sqlx::Error>>) -> Result<T> {
    tokio::time::timeout(SILENCE, answer)
        .await
        .map_err(|_| StoreError::Unavailable(sqlx::Error::PoolTimedOut))?
        .map_err(Into::into)
}

/// What a whole row is read as.
pub(crate) trait FromRow: Sized {
    fn from_row(row: &Row) -> Result<Self>;
}

impl Tx {
    /// Runs a statement; the number of rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, args: &[Arg]) -> Result<u64> {
        Ok(match self {
            Self::Sqlite(tx) => for_sqlite(sql, args).execute(&mut **tx).await?.rows_affected(),
            Self::Postgres(tx) => heard(for_postgres(sql, args).execute(&mut **tx)).await?.rows_affected(),
        })
    }

    /// Runs a statement that must change exactly one row.
    pub(crate) async fn execute_one(&mut self, sql: &'static str, args: &[Arg]) -> Result<()> {
        match self.execute(sql, args).await? {
            1 => Ok(()),
            n => Err(StoreError::RowsAffected(n)),
        }
    }

    async fn row(&mut self, sql: &'static str, args: &[Arg]) -> Result<Option<Row>> {
        Ok(match self {
            Self::Sqlite(tx) => for_sqlite(sql, args).fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            Self::Postgres(tx) => heard(for_postgres(sql, args).fetch_optional(&mut **tx)).await?.map(Row::Postgres),
        })
    }

    /// The first row, if there is one.
    pub(crate) async fn fetch<T: FromRow>(&mut self, sql: &'static str, args: &[Arg]) -> Result<Option<T>> {
        self.row(sql, args).await?.as_ref().map(T::from_row).transpose()
    }

    /// The column `value` of the first row, if there is one.
    pub(crate) async fn value<T: FromColumn>(&mut self, sql: &'static str, args: &[Arg]) -> Result<Option<T>> {
        self.row(sql, args).await?.as_ref().map(|row| row.get("value")).transpose()
    }

    /// All rows.
    pub(crate) async fn fetch_all<T: FromRow>(&mut self, sql: &'static str, args: &[Arg]) -> Result<Vec<T>> {
        let mut all = Vec::new();
        match self {
            Self::Sqlite(tx) => {
                let mut rows = for_sqlite(sql, args).fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    all.push(T::from_row(&Row::Sqlite(row))?);
                }
            }
            Self::Postgres(tx) => {
                let mut rows = for_postgres(sql, args).fetch(&mut **tx);
                while let Some(row) = heard(rows.try_next()).await? {
                    all.push(T::from_row(&Row::Postgres(row))?);
                }
            }
        }
        Ok(all)
    }

    /// Hands over every row of a `COPY ... TO STDOUT (FORMAT binary)` of PostgreSQL as it arrives; there is none on SQLite.
    pub(crate) async fn copy<T>(
        &mut self,
        sql: &'static str,
        mut read: impl FnMut(&mut Columns<'_>) -> Result<T>,
        mut take: impl FnMut(T),
    ) -> Result<()> {
        let Self::Postgres(tx) = self else { return Ok(()) };
        let mut arriving = heard(tx.copy_out_raw(sql)).await?.ready_chunks(COPIED_AT_ONCE);
        let mut copied = Copied::default();
        while let Some(chunk) = heard(async { Ok(arriving.next().await) }).await? {
            for bytes in chunk {
                copied.push(&bytes?);
                while let Some(row) = copied.row(&mut read)? {
                    take(row);
                }
            }
        }
        Ok(())
    }

    /// Makes everything since the start permanent.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => heard(tx.commit()).await?,
        }
        Ok(())
    }
}
