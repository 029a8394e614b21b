-- Routes: guarded doors.
CREATE TABLE route (
    id BLOB NOT NULL PRIMARY KEY,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    name TEXT NOT NULL,
    host TEXT,
    path TEXT NOT NULL,
    methods TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    guard TEXT NOT NULL,
    target TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX route_organization ON route (organization_id, id);
CREATE INDEX route_host ON route (host);
