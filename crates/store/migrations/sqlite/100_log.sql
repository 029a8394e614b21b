-- The log of changes and how far it has come.
CREATE TABLE feed_head (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    epoch BLOB NOT NULL
) STRICT;

CREATE TABLE event (
    seq INTEGER NOT NULL PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    organization_id BLOB,
    kind TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id BLOB,
    actor_name TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id BLOB,
    subject_name TEXT NOT NULL,
    data TEXT NOT NULL,
    request_id TEXT,
    leaf BLOB NOT NULL CHECK (length(leaf) = 32)
) STRICT;
CREATE INDEX event_organization ON event (organization_id, seq);
CREATE INDEX event_subject ON event (subject_id, seq);
CREATE INDEX event_at ON event (at);
