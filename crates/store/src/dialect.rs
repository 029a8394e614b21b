//! Statements that only one of the databases knows.

/// Begins a write on SQLite: takes the write lock at once, so that two writers wait instead of failing half-way.
pub(crate) const SQLITE_BEGIN_WRITE: &str = "BEGIN IMMEDIATE";
/// Begins a read on PostgreSQL: one snapshot for all statements, as SQLite gives anyway.
pub(crate) const POSTGRES_BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Makes writers of the same organization wait for each other on PostgreSQL, to the end of the transaction.
pub(crate) const POSTGRES_LOCK_TENANT: &str = "SELECT pg_advisory_xact_lock($1)";
/// Claims the database for one serving process, for as long as the connection lives.
pub(crate) const POSTGRES_CLAIM: &str = "SELECT pg_try_advisory_lock($1) AS value";
/// Whether no process holds the claim. Looks at the locks instead of trying for one, which a server could lose against.
pub(crate) const POSTGRES_CLAIM_IS_FREE: &str = "SELECT NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' \
    AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND ((classid::bigint << 32) | objid::bigint) = $1) AS value";
/// Notices need not survive a crash: whoever reads one waits for a live server.
pub(crate) const POSTGRES_UNHURRIED: &str = "SET synchronous_commit = off";
/// How far the server has applied the log, kept among the settings of the instance.
pub(crate) const POSTGRES_APPLIED: &str =
    "SELECT value FROM setting WHERE organization_id = '00000000-0000-0000-0000-000000000000' AND name = 'applied'";
/// Forgets what the last server said about that.
pub(crate) const POSTGRES_UNPUBLISH: &str =
    "DELETE FROM setting WHERE organization_id = '00000000-0000-0000-0000-000000000000' AND name = 'applied'";
/// Sets it.
pub(crate) const POSTGRES_PUBLISH: &str = "INSERT INTO setting (organization_id, name, value, updated_at) \
    VALUES ('00000000-0000-0000-0000-000000000000', 'applied', $1, 0) \
    ON CONFLICT (organization_id, name) DO UPDATE SET value = excluded.value";
/// A thousand secrets as one JSON text. Each value of a row of SQLite comes from another thread, in memory of its own; a
/// million keys read that way take several times as long. The place of a row is good within one transaction only.
pub(crate) const SQLITE_PAGE_OF_SECRETS: &str = "SELECT max(place), json_group_array(json_array(hex(digest), pepper_id, \
    slow_hash, version, secret_expires_at, hex(id), name, hex(organization_id), hex(group_id), nullif(hex(workspace_id), ''), \
    environment, switch, expires_at, scopes, ip_allowlist, metadata, imported)) FROM (SELECT s.rowid AS place, s.digest, \
    s.pepper_id, s.slow_hash, s.version, s.expires_at AS secret_expires_at, k.id, k.name, k.organization_id, k.group_id, \
    k.workspace_id, k.environment, k.switch, k.expires_at, k.scopes, k.ip_allowlist, k.metadata, k.imported \
    FROM key_secret s JOIN api_key k ON k.id = s.key_id WHERE s.rowid > $1 ORDER BY s.rowid LIMIT 1000)";
/// Makes the table that notes which migrations were applied.
pub(crate) const SQLITE_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS migration \
    (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";
/// The same.
pub(crate) const POSTGRES_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS migration \
    (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";
/// Lets one process migrate at a time.
pub(crate) const POSTGRES_LOCK_MIGRATION: &str = "SELECT pg_advisory_xact_lock($1)";

/// The number of the claim's lock ("keyrack" and a digit, as bytes).
pub(crate) const CLAIM_LOCK: i64 = 0x6b65_7972_6163_6b31;
/// The number of the migration lock.
pub(crate) const MIGRATION_LOCK: i64 = 0x6b65_7972_6163_6b32;

/// The number of a tenant's lock: the random half of its id.
pub(crate) fn tenant_lock(id: uuid::Uuid) -> i64 {
    let mut low = [0; 8];
    low.copy_from_slice(&id.as_bytes()[8..]);
    i64::from_be_bytes(low)
}
