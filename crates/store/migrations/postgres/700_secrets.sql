-- The keys that values are sealed with, themselves sealed with a master key that stands outside the database.
CREATE TABLE data_key (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL,
    master_key_id BIGINT NOT NULL,
    wrapped BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX data_key_organization ON data_key (organization_id, id);

-- Named values that callers are given. They go with what they belong to: a route, a group, a key, or the organization. The data key stands here too, so that none is thrown away
-- while something is sealed with it.
CREATE TABLE secret (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL REFERENCES organization (id),
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    owner_id UUID NOT NULL,
    route_id UUID REFERENCES route (id) ON DELETE CASCADE,
    group_id UUID REFERENCES key_group (id) ON DELETE CASCADE,
    key_id UUID REFERENCES api_key (id) ON DELETE CASCADE,
    data_key_id UUID NOT NULL REFERENCES data_key (id),
    sealed BYTEA NOT NULL,
    size BIGINT NOT NULL,
    comment TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (scope IN ('global', 'route', 'group', 'key')
        AND (route_id IS NOT NULL) = (scope = 'route')
        AND (group_id IS NOT NULL) = (scope = 'group')
        AND (key_id IS NOT NULL) = (scope = 'key')
        AND owner_id = COALESCE(key_id, group_id, route_id, organization_id))
);
CREATE UNIQUE INDEX secret_name ON secret (organization_id, owner_id, name);
CREATE INDEX secret_organization ON secret (organization_id, id);
CREATE INDEX secret_route ON secret (route_id) WHERE route_id IS NOT NULL;
CREATE INDEX secret_group ON secret (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX secret_key ON secret (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX secret_data_key ON secret (data_key_id);
