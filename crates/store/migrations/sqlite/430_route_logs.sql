-- What scripts of routes wrote and how their calls ended, for some days.
CREATE TABLE route_log (
    id BLOB NOT NULL PRIMARY KEY,
    organization_id BLOB NOT NULL,
    route_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    level INTEGER NOT NULL,
    message TEXT NOT NULL,
    method TEXT NOT NULL,
    status INTEGER,
    micros INTEGER,
    key_id BLOB,
    key_name TEXT,
    CHECK (kind IN ('line', 'answered', 'failed', 'rejected'))
) STRICT;
CREATE INDEX route_log_route ON route_log (route_id, id);
CREATE INDEX route_log_at ON route_log (at);
