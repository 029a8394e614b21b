-- Of what somebody has been told, and of what: a key that expires then, an organization that has used so much of that month.
CREATE TABLE notice_mark (
    subject BLOB NOT NULL,
    kind TEXT NOT NULL,
    mark INTEGER NOT NULL,
    PRIMARY KEY (subject, kind)
) STRICT, WITHOUT ROWID;

-- What owners and admins of an organization are told.
CREATE TABLE notification (
    id BLOB NOT NULL PRIMARY KEY,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    kind TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id BLOB,
    subject_name TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX notification_organization ON notification (organization_id, id);

-- Up to which notification each of them has read: a person, a key, or the host (nil).
CREATE TABLE notification_read (
    reader BLOB NOT NULL,
    organization_id BLOB NOT NULL,
    up_to BLOB NOT NULL,
    PRIMARY KEY (reader, organization_id)
) STRICT, WITHOUT ROWID;

-- From where a secret is still used that another one replaces.
CREATE TABLE old_secret_use (
    key_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    address TEXT NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (key_id, version, address)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_expires_at ON api_key (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX key_secret_expires_at ON key_secret (expires_at) WHERE expires_at IS NOT NULL;
