-- Groups, keys and their secrets.
CREATE TABLE key_group (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL REFERENCES organization (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    key_prefix TEXT,
    key_body TEXT NOT NULL CHECK (key_body IN ('base62', 'hex', 'base64url')),
    former_formats TEXT NOT NULL,
    hash_profile TEXT NOT NULL CHECK (hash_profile IN ('hmac-sha256', 'bcrypt')),
    default_scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX key_group_name ON key_group (organization_id, name);

CREATE TABLE api_key (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL REFERENCES organization (id),
    group_id UUID NOT NULL REFERENCES key_group (id),
    workspace_id UUID REFERENCES workspace (id),
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    description TEXT NOT NULL,
    environment TEXT NOT NULL CHECK (environment IN ('live', 'test')),
    scopes TEXT NOT NULL,
    switch TEXT NOT NULL CHECK (switch IN ('active', 'disabled', 'revoked')),
    expires_at BIGINT,
    ip_allowlist TEXT,
    metadata TEXT,
    imported BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    created_by UUID,
    updated_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoke_reason TEXT
);
-- A name is taken by the one key of the group that could still be used.
CREATE UNIQUE INDEX api_key_name ON api_key (group_id, name) WHERE switch <> 'revoked';
CREATE INDEX api_key_organization ON api_key (organization_id, id);
CREATE INDEX api_key_workspace ON api_key (workspace_id);
CREATE INDEX api_key_created_by ON api_key (created_by);

-- The digest is HMAC-SHA-256, or its first 8 bytes where slow_hash holds a bcrypt hash.
CREATE TABLE key_secret (
    key_id UUID NOT NULL REFERENCES api_key (id),
    version BIGINT NOT NULL,
    pepper_id BIGINT NOT NULL,
    digest BYTEA NOT NULL CHECK (length(digest) = 32 OR (length(digest) = 8 AND slow_hash IS NOT NULL)),
    slow_hash TEXT,
    display_prefix TEXT NOT NULL,
    last4 TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (key_id, version)
);
CREATE UNIQUE INDEX key_secret_digest ON key_secret (digest);

-- What is left of a deleted key: enough to name it, and to refuse its text for ever.
CREATE TABLE tombstone (
    digest BYTEA NOT NULL PRIMARY KEY,
    pepper_id BIGINT NOT NULL,
    key_id UUID NOT NULL,
    organization_id UUID NOT NULL,
    name TEXT NOT NULL,
    deleted_at BIGINT NOT NULL
);
CREATE INDEX tombstone_key ON tombstone (key_id);

-- When a secret last let somebody in. Apart from the keys: what is written all the time must not be able to harm them. It names
-- no key by a foreign key, since a use may be written down just after its key is deleted.
CREATE TABLE key_use (
    key_id UUID NOT NULL,
    version BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    PRIMARY KEY (key_id, version)
);
