//! The schema, in numbered steps that only go forward.
//!
//! Numbers come in blocks by subject: 100 the log, who follows it and the time, 200 tenancy, 300 keys, 400 doors, 500 limits
//! and quotas, 600 usage, notices and letters. Both trees have the same numbers.

use jiff::Timestamp;

use crate::driver::{FromRow, Row, Tx, args};
use crate::{Result, StoreError, dialect};

/// One step of the schema, in both dialects.
pub struct Migration {
    /// Its number; steps run in this order.
    pub number: i64,
    /// What it makes.
    pub name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migrations {
    ($($number:literal $name:literal;)*) => {
        &[$(Migration {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $number, "_", $name, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $number, "_", $name, ".sql")),
        }),*]
    };
}

/// Every step, in order.
pub(crate) const MIGRATIONS: &[Migration] = migrations! {
    100 "log";
    110 "nodes";
    120 "time";
    130 "node_master_keys";
    200 "tenancy";
    210 "second_factors";
    300 "keys";
    310 "key_names";
    320 "moved_secrets";
    400 "routes";
    410 "route_cors";
    420 "script_versions";
    430 "route_logs";
    440 "route_metrics";
    500 "limits";
    510 "windows";
    600 "usage";
    610 "notices";
    620 "letters";
    700 "secrets";
    710 "key_texts";
};

const APPLIED: &str = "SELECT number AS value FROM migration ORDER BY number";
const RECORD: &str = "INSERT INTO migration (number, name, applied_at) VALUES ($1, $2, $3)";

struct Number(i64);

impl FromRow for Number {
    fn from_row(row: &Row) -> Result<Self> {
        row.get("value").map(Self)
    }
}

/// Brings the schema up to date, or refuses if it is newer than this program.
pub(crate) async fn migrate(mut tx: Tx, now: Timestamp) -> Result<()> {
    match tx {
        Tx::Sqlite(_) => tx.execute(dialect::SQLITE_MIGRATIONS, &[]).await?,
        Tx::Postgres(_) => {
            tx.execute(dialect::POSTGRES_LOCK_MIGRATION, args![dialect::MIGRATION_LOCK]).await?;
            tx.execute(dialect::POSTGRES_MIGRATIONS, &[]).await?
        }
    };
    let applied: Vec<i64> = tx.fetch_all::<Number>(APPLIED, &[]).await?.into_iter().map(|n| n.0).collect();
    let known = MIGRATIONS.iter().map(|m| m.number).max().unwrap_or(0);
    if let Some(found) = applied.iter().copied().find(|number| MIGRATIONS.iter().all(|m| m.number != *number)) {
        return Err(StoreError::TooNew { found, known });
    }
    for step in MIGRATIONS.iter().filter(|m| !applied.contains(&m.number)) {
        match &mut tx {
            Tx::Sqlite(tx) => sqlx::raw_sql(step.sqlite).execute(&mut **tx).await.map(|_| ())?,
            Tx::Postgres(tx) => sqlx::raw_sql(step.postgres).execute(&mut **tx).await.map(|_| ())?,
        }
        tx.execute(RECORD, args![step.number, step.name, now]).await?;
    }
    tx.commit().await
}
