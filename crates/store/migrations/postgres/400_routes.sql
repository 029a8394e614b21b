-- Routes: guarded doors.
CREATE TABLE route (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL REFERENCES organization (id),
    name TEXT NOT NULL,
    host TEXT,
    path TEXT NOT NULL,
    methods TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    guard TEXT NOT NULL,
    target TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX route_organization ON route (organization_id, id);
CREATE INDEX route_host ON route (host);
