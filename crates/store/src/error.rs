//! What can go wrong with the database.

/// An error of the store. That something was not found is no error but `None`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique rule was broken; named by the index that holds it.
    #[error("another row has this {0}")]
    Conflict(Conflict),
    /// The database cannot be reached or cannot write now: away, full, read-only, locked for too long. Trying later helps.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A stored value that this program never writes.
    #[error("column {column} holds a value that cannot be read")]
    Corrupt {
        /// Which column.
        column: &'static str,
    },
    /// A row that must be there was not, or more than one was changed.
    #[error("a statement changed {0} rows instead of one")]
    RowsAffected(u64),
    /// The URL names no database that can be used.
    #[error("{0}")]
    Url(String),
    /// Another process serves this database.
    #[error("{0}")]
    Claimed(String),
    /// The database is newer than this program.
    #[error(
        "the database has migration {found}, which this keyrack ({known} is its newest) does not know; run a newer keyrack"
    )]
    TooNew {
        /// The newest one applied there.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// Anything else; a fault of ours or of the driver.
    #[error("the database refused a statement")]
    Driver(#[source] sqlx::Error),
    /// The lock file or another file beside the database.
    #[error("{0}: {1}")]
    File(String, #[source] std::io::Error),
}

/// Which unique rule was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conflict {
    /// The slug of an organization.
    OrganizationSlug,
    /// The slug of a workspace in its organization.
    WorkspaceSlug,
    /// The name of a group in its organization.
    GroupName,
    /// The name of a key in its group.
    KeyName,
    /// The text of a key: it is known already, or was once.
    KeyDigest,
    /// The name of a secret in its scope.
    SecretName,
    /// The e-mail address of a user.
    UserEmail,
    /// A person who is a member already.
    Membership,
    /// An idempotency key that is being used at this moment.
    Idempotency,
    /// Some other rule.
    Other,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OrganizationSlug | Self::WorkspaceSlug => "slug",
            Self::GroupName | Self::KeyName | Self::SecretName => "name",
            Self::KeyDigest => "key",
            Self::UserEmail => "e-mail address",
            Self::Membership => "membership",
            Self::Idempotency => "idempotency key",
            Self::Other => "value",
        })
    }
}

/// PostgreSQL names the index; SQLite names the columns, or the index where it is one over an expression or a part.
const RULES: [(&str, &str, Conflict); 9] = [
    ("organization_slug", "organization.slug", Conflict::OrganizationSlug),
    ("workspace_slug", "workspace.organization_id, workspace.slug", Conflict::WorkspaceSlug),
    ("key_group_name", "key_group.organization_id, key_group.name", Conflict::GroupName),
    ("api_key_name", "api_key.group_id, api_key.name", Conflict::KeyName),
    ("key_secret_digest", "key_secret.digest", Conflict::KeyDigest),
    ("secret_name", "secret.organization_id, secret.owner_id, secret.name", Conflict::SecretName),
    ("user_account_email", "user_account.email", Conflict::UserEmail),
    ("member_pkey", "member.organization_id, member.user_id", Conflict::Membership),
    ("idempotency_pkey", "idempotency.organization_id, idempotency.actor_id, idempotency.key", Conflict::Idempotency),
];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => {
                let named = refusal.constraint();
                let message = refusal.message();
                let rule = RULES.iter().find(|(index, columns, _)| {
                    named.map_or_else(|| message.ends_with(columns) || message.contains(index), |name| name == *index)
                });
                Self::Conflict(rule.map_or(Conflict::Other, |(_, _, conflict)| *conflict))
            }
            sqlx::Error::Database(refusal) if is_passing(refusal.as_ref()) => Self::Unavailable(error),
            // A broken talk: a server that dies between two bytes is read as one that answers nonsense.
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Driver(error),
        }
    }
}

/// Refusals that say something about the database's state and nothing about the statement.
fn is_passing(refusal: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = refusal.code() else { return false };
    if refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // The low byte is the primary result code: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL.
        return code.parse::<u32>().is_ok_and(|c| matches!(c & 0xff, 5 | 6 | 8 | 10 | 13 | 14 | 15));
    }
    // SQLSTATE: connection, insufficient resources, operator intervention, system error, read-only, deadlock and the like.
    ["08", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class)) || matches!(&*code, "25006" | "55P03")
}
