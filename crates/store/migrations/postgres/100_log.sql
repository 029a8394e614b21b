-- The log of changes and how far it has come.
CREATE TABLE feed_head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    epoch UUID NOT NULL
);

CREATE TABLE event (
    seq BIGINT NOT NULL PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    at BIGINT NOT NULL,
    organization_id UUID,
    kind TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id UUID,
    actor_name TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id UUID,
    subject_name TEXT NOT NULL,
    data TEXT NOT NULL,
    request_id TEXT,
    leaf BYTEA NOT NULL CHECK (length(leaf) = 32)
);
CREATE INDEX event_organization ON event (organization_id, seq);
CREATE INDEX event_subject ON event (subject_id, seq);
CREATE INDEX event_at ON event (at);
