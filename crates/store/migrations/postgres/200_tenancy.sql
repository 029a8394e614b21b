-- Organizations, their workspaces, people and settings.
CREATE TABLE organization (
    id UUID NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    tier TEXT NOT NULL CHECK (tier IN ('free', 'pro', 'enterprise')),
    state TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'deleted')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- A deleted organization keeps its row, so that its slug is never used again.
CREATE UNIQUE INDEX organization_slug ON organization (slug);

CREATE TABLE workspace (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL REFERENCES organization (id),
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX workspace_slug ON workspace (organization_id, slug);

CREATE TABLE user_account (
    id UUID NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    password_hash TEXT,
    is_instance_admin BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX user_account_email ON user_account (email);

CREATE TABLE member (
    organization_id UUID NOT NULL REFERENCES organization (id),
    user_id UUID NOT NULL REFERENCES user_account (id),
    role TEXT NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX member_user ON member (user_id);

CREATE TABLE invitation (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL REFERENCES organization (id),
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    token_digest BYTEA NOT NULL UNIQUE CHECK (length(token_digest) = 32),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX invitation_organization ON invitation (organization_id);

CREATE TABLE session (
    id UUID NOT NULL PRIMARY KEY,
    user_id UUID NOT NULL REFERENCES user_account (id),
    token_digest BYTEA NOT NULL UNIQUE CHECK (length(token_digest) = 32),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    address TEXT,
    user_agent TEXT
);
CREATE INDEX session_user_id ON session (user_id);

-- Settings of an organization, or of the instance under the nil id.
CREATE TABLE setting (
    organization_id UUID NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, name)
);

CREATE TABLE idempotency (
    organization_id UUID NOT NULL,
    actor_id UUID NOT NULL,
    key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    result_id UUID NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, actor_id, key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);
