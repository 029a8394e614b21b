//! The log of changes: the change feed, the audit log, and the source of notices are this one table.

use jiff::Timestamp;
use keyrack_core::leaf::leaf_hash;
use keyrack_core::{EventId, OrganizationId, micros};
use uuid::Uuid;

use crate::driver::{FromRow, Row, Tx, args};
use crate::{Reader, Result, StoreError, statements};

/// Declares an enum whose variants are stored as words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The word that is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one of that word.
            pub fn parse(text: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|v| v.as_str() == text)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Who did it.
    ActorKind {
        /// A key.
        ApiKey = "api_key",
        /// A person.
        User = "user",
        /// The host: its command line, its schedules.
        System = "system",
        /// Somebody unknown.
        Anonymous = "anonymous",
    }
}

words! {
    /// To what it was done.
    SubjectKind {
        /// The instance as a whole.
        Instance = "instance",
        /// An organization.
        Organization = "organization",
        /// A workspace.
        Workspace = "workspace",
        /// A person.
        User = "user",
        /// A person's membership.
        Member = "member",
        /// A session.
        Session = "session",
        /// A group of keys.
        Group = "group",
        /// A key.
        Key = "key",
        /// A route.
        Route = "route",
        /// A secret.
        Secret = "secret",
        /// A setting.
        Setting = "setting",
    }
}

/// An event to be logged.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// Whose log it stands in; `None` for matters of the instance.
    pub organization: Option<OrganizationId>,
    /// What happened: `key.created`, `group.renamed`.
    pub kind: &'static str,
    /// Who did it.
    pub actor_kind: ActorKind,
    /// Their id.
    pub actor_id: Option<Uuid>,
    /// Their name, kept readable after they are gone.
    pub actor_name: String,
    /// To what kind of thing.
    pub subject_kind: SubjectKind,
    /// Its id.
    pub subject_id: Option<Uuid>,
    /// Its name, kept readable after it is gone.
    pub subject_name: String,
    /// Details; never a secret.
    pub data: serde_json::Value,
    /// The request it came with.
    pub request_id: Option<String>,
}

/// An event as it stands in the log.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place in the order of commits.
    pub seq: i64,
    /// Its id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// Whose log it stands in.
    pub organization: Option<OrganizationId>,
    /// What happened.
    pub kind: String,
    /// Who did it.
    pub actor_kind: ActorKind,
    /// Their id.
    pub actor_id: Option<Uuid>,
    /// Their name at the time.
    pub actor_name: String,
    /// To what kind of thing.
    pub subject_kind: SubjectKind,
    /// Its id.
    pub subject_id: Option<Uuid>,
    /// Its name at the time.
    pub subject_name: String,
    /// Details.
    pub data: serde_json::Value,
    /// The request it came with.
    pub request_id: Option<String>,
}

/// How far the log has come, and which life of the database it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedHead {
    /// The number of the newest event.
    pub seq: i64,
    /// Drawn when the database was made; another one means another database.
    pub epoch: Uuid,
}

/// Which events of an organization are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only by this actor.
    pub actor: Option<Uuid>,
    /// Only about this thing.
    pub subject: Option<Uuid>,
    /// Only older than this number.
    pub before: Option<i64>,
    /// Not before this moment.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

statements! {
    NEXT = "UPDATE feed_head SET seq = seq + 1 RETURNING seq AS value";
    APPEND = "INSERT INTO event (seq, id, at, organization_id, kind, actor_kind, actor_id, actor_name, \
        subject_kind, subject_id, subject_name, data, request_id, leaf) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    HEAD = "SELECT seq, epoch FROM feed_head";
    BEGIN_EPOCH = "INSERT INTO feed_head (id, seq, epoch) VALUES (1, 0, $1) ON CONFLICT (id) DO NOTHING";
    AFTER = "SELECT seq, id, at, organization_id, kind, actor_kind, actor_id, actor_name, subject_kind, subject_id, \
        subject_name, data, request_id FROM event WHERE seq > $1 ORDER BY seq LIMIT $2";
    AUDIT = "SELECT seq, id, at, organization_id, kind, actor_kind, actor_id, actor_name, subject_kind, subject_id, \
        subject_name, data, request_id FROM event WHERE organization_id = $1 \
        AND (kind = $2 OR $2 IS NULL) AND (actor_id = $3 OR $3 IS NULL) AND (subject_id = $4 OR $4 IS NULL) \
        AND (seq < $5 OR $5 IS NULL) AND (at >= $6 OR $6 IS NULL) AND (at < $7 OR $7 IS NULL) \
        ORDER BY seq DESC LIMIT $8";
}

impl FromRow for Event {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            seq: row.get("seq")?,
            id: row.get("id")?,
            at: row.get("at")?,
            organization: row.get("organization_id")?,
            kind: row.get("kind")?,
            actor_kind: row.parse("actor_kind", ActorKind::parse)?,
            actor_id: row.get("actor_id")?,
            actor_name: row.get("actor_name")?,
            subject_kind: row.parse("subject_kind", SubjectKind::parse)?,
            subject_id: row.get("subject_id")?,
            subject_name: row.get("subject_name")?,
            data: row.json("data")?,
            request_id: row.get("request_id")?,
        })
    }
}

impl FromRow for FeedHead {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self { seq: row.get("seq")?, epoch: row.get("epoch")? })
    }
}

/// Takes the next number and writes the event: the last two statements of a mutation.
pub(crate) async fn append(tx: &mut Tx, event: &NewEvent) -> Result<i64> {
    let seq: i64 = tx.value(NEXT, &[]).await?.ok_or(StoreError::RowsAffected(0))?;
    let data = event.data.to_string();
    let leaf = leaf_of(seq, event, &data);
    let args = args![
        seq,
        event.id,
        event.at,
        event.organization,
        event.kind,
        event.actor_kind.as_str(),
        event.actor_id,
        &event.actor_name,
        event.subject_kind.as_str(),
        event.subject_id,
        &event.subject_name,
        data,
        event.request_id.clone(),
        leaf.as_slice(),
    ];
    tx.execute_one(APPEND, args).await?;
    Ok(seq)
}

fn leaf_of(seq: i64, event: &NewEvent, data: &str) -> [u8; 32] {
    let organization = event.organization.map(|o| *o.0.as_bytes());
    let actor = event.actor_id.map(Uuid::into_bytes);
    let subject = event.subject_id.map(Uuid::into_bytes);
    leaf_hash([
        Some(seq.to_be_bytes().as_slice()),
        Some(event.id.0.as_bytes().as_slice()),
        Some(micros(event.at).to_be_bytes().as_slice()),
        organization.as_ref().map(<[u8; 16]>::as_slice),
        Some(event.kind.as_bytes()),
        Some(event.actor_kind.as_str().as_bytes()),
        actor.as_ref().map(<[u8; 16]>::as_slice),
        Some(event.actor_name.as_bytes()),
        Some(event.subject_kind.as_str().as_bytes()),
        subject.as_ref().map(<[u8; 16]>::as_slice),
        Some(event.subject_name.as_bytes()),
        Some(data.as_bytes()),
        event.request_id.as_deref().map(str::as_bytes),
    ])
}

impl Reader {
    /// How far the log has come; `None` before [`crate::Writer::begin_epoch`].
    pub async fn feed_head(&mut self) -> Result<Option<FeedHead>> {
        self.tx.fetch(HEAD, &[]).await
    }

    /// The events after a number, oldest first.
    pub async fn events_after(&mut self, seq: i64, limit: i64) -> Result<Vec<Event>> {
        self.tx.fetch_all(AFTER, args![seq, limit]).await
    }

    /// An organization's events, newest first.
    pub async fn list_audit(
        &mut self,
        organization: OrganizationId,
        filter: &AuditFilter,
        limit: i64,
    ) -> Result<Vec<Event>> {
        // PostgreSQL refuses such text as a whole.
        if filter.kind.as_ref().is_some_and(|kind| kind.contains('\0')) {
            return Ok(Vec::new());
        }
        let args = args![
            organization,
            filter.kind.as_deref(),
            filter.actor,
            filter.subject,
            filter.before,
            filter.from,
            filter.until,
            limit
        ];
        self.tx.fetch_all(AUDIT, args).await
    }
}

impl crate::Writer {
    /// Starts the log of a new database with an epoch drawn for it; does nothing on one that has a log.
    pub async fn begin_epoch(&mut self, epoch: Uuid) -> Result<()> {
        self.tx.execute(BEGIN_EPOCH, args![epoch]).await.map(|_| ())
    }
}
