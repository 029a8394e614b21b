//! Statements that only one of the databases knows, or that each knows in other words.

use crate::driver::Tx;

/// A statement in the words of each.
pub(crate) struct Both {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl Both {
    /// In the words of the database of a transaction.
    pub(crate) fn of(&self, tx: &Tx) -> &'static str {
        match tx {
            Tx::Sqlite(_) => self.sqlite,
            Tx::Postgres(_) => self.postgres,
        }
    }
}

/// Begins a write on SQLite: takes the write lock at once, so that two writers wait instead of failing half-way.
pub(crate) const SQLITE_BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
/// Begins a read on PostgreSQL: one snapshot for all statements, as SQLite gives anyway.
pub(crate) const POSTGRES_BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Ends a transaction that nobody knows of: whoever gave up in the middle of beginning one left it behind, and the next would
/// find itself in it. Where there is none it changes nothing, and PostgreSQL warns of nothing.
pub(crate) const POSTGRES_SETTLE: &str = "BEGIN; ROLLBACK";
/// Makes writers of the same organization wait for each other on PostgreSQL, to the end of the transaction.
pub(crate) const POSTGRES_LOCK_TENANT: &str = "SELECT pg_advisory_xact_lock($1)";
/// Tells the nodes that something is about to be committed; they hear it when it is.
pub(crate) const POSTGRES_CALL: &str = "SELECT pg_notify($1, '')";
/// The channel they hear it on.
pub(crate) const POSTGRES_CHANNEL: &str = "keyrack";
/// What is acknowledged survives a crash of PostgreSQL, also where its settings would risk that. Where they promise more, more
/// is kept.
pub(crate) const POSTGRES_DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";
/// Renewals need not survive a crash: the row does, and all that is forgotten is how far a node had come.
pub(crate) const POSTGRES_UNHURRIED: &str = "SET synchronous_commit = off";
/// Adds a node, or puts it back in its place, and this does survive a crash. Times are of the database's clock.
pub(crate) const POSTGRES_JOIN: &str = "INSERT INTO node (id, name, version, started_at, seen_at, applied, master_keys) \
    SELECT $1, $2, $3, moment, moment, $4, $5 FROM (SELECT set_config('synchronous_commit', 'on', true), \
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS moment) AS hurried \
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, applied = excluded.applied, master_keys = excluded.master_keys";
/// Renews a node. The head is read after the statement arrived, so it is no older than the renewal. Nobody has applied more
/// than there is: who says so speaks of another log.
pub(crate) const POSTGRES_RENEW: &str = "UPDATE node \
    SET seen_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
    applied = CASE WHEN $2 <= (SELECT seq FROM feed_head) THEN $2 ELSE 0 END, master_keys = $3 WHERE id = $1 \
    RETURNING (SELECT seq FROM feed_head) AS seq, (SELECT epoch FROM feed_head) AS epoch";
/// Every node, the oldest first.
pub(crate) const POSTGRES_NODES: &str = "SELECT id, name, version, started_at, seen_at, applied, master_keys, \
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - seen_at AS silent_for FROM node ORDER BY started_at, id";
/// How many processes serve, and what time it is by the database's clock.
pub(crate) const NODES_AND_TIME: Both = Both {
    sqlite: "SELECT count(*) AS nodes, CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS at FROM node",
    postgres: "SELECT count(*) AS nodes, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at FROM node",
};
/// Takes a node away if it has not renewed since it was seen to. One whose renewal comes at this moment either keeps its row, or
/// finds none.
pub(crate) const POSTGRES_FORGET: &str = "DELETE FROM node WHERE id = $1 AND seen_at = $2";
/// Takes a node away.
pub(crate) const POSTGRES_LEAVE: &str = "DELETE FROM node WHERE id = $1";
/// A page of secrets as one text, a JSON array for each. Each value of a row of SQLite comes from another thread, in memory of
/// its own; a million keys read that way take several times as long. The place of a row is good within one life of the file
/// only.
pub(crate) const SQLITE_PAGE_OF_SECRETS: &str = "SELECT group_concat(json_array( \
    hex(k.id || k.organization_id || k.group_id || s.digest || ifnull(k.workspace_id, x'')), s.version, k.name, k.environment, k.switch, k.scopes, \
    json(iif(coalesce(s.slow_hash, s.expires_at, k.expires_at, k.ip_allowlist, k.metadata, k.rate_limits, nullif(k.imported, 0)) IS NULL, \
    NULL, json_array(s.slow_hash, s.expires_at, k.expires_at, k.ip_allowlist, k.metadata, k.rate_limits, k.imported)))), ' ') AS value \
    FROM key_secret s JOIN api_key k ON k.id = s.key_id WHERE s.rowid > $1 AND s.rowid <= $2";
/// About how many secrets there are, and at least none: on SQLite the last place there is one.
pub(crate) const ABOUT_HOW_MANY_SECRETS: Both = Both {
    sqlite: "SELECT COALESCE(MAX(rowid), 0) AS value FROM key_secret",
    postgres: "SELECT GREATEST(reltuples::bigint, 0) AS value FROM pg_class WHERE oid = 'key_secret'::regclass",
};
/// Makes the table that notes which migrations were applied.
pub(crate) const SQLITE_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS migration \
    (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";
/// The same.
pub(crate) const POSTGRES_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS migration \
    (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";
/// Lets one process migrate at a time.
pub(crate) const POSTGRES_LOCK_MIGRATION: &str = "SELECT pg_advisory_xact_lock($1)";

/// The number of the migration lock ("keyrack" and a digit, as bytes).
pub(crate) const MIGRATION_LOCK: i64 = 0x6b65_7972_6163_6b32;

/// The number of a tenant's lock: the random half of its id.
pub(crate) fn tenant_lock(id: uuid::Uuid) -> i64 {
    let mut low = [0; 8];
    low.copy_from_slice(&id.as_bytes()[8..]);
    i64::from_be_bytes(low)
}
