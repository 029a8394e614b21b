-- Of what somebody has been told, and of what: a key that expires then, an organization that has used so much of that month.
CREATE TABLE notice_mark (
    subject UUID NOT NULL,
    kind TEXT NOT NULL,
    mark BIGINT NOT NULL,
    PRIMARY KEY (subject, kind)
);

-- What owners and admins of an organization are told.
CREATE TABLE notification (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL REFERENCES organization (id),
    kind TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id UUID,
    subject_name TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX notification_organization ON notification (organization_id, id);

-- Up to which notification each of them has read: a person, a key, or the host (nil).
CREATE TABLE notification_read (
    reader UUID NOT NULL,
    organization_id UUID NOT NULL,
    up_to UUID NOT NULL,
    PRIMARY KEY (reader, organization_id)
);

-- From where a secret is still used that another one replaces.
CREATE TABLE old_secret_use (
    key_id UUID NOT NULL,
    version BIGINT NOT NULL,
    address TEXT NOT NULL,
    last_used_at BIGINT NOT NULL,
    PRIMARY KEY (key_id, version, address)
);

CREATE INDEX api_key_expires_at ON api_key (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX key_secret_expires_at ON key_secret (expires_at) WHERE expires_at IS NOT NULL;
