-- What the script of a route says, and what it said before.
CREATE TABLE script_version (
    route_id BLOB NOT NULL REFERENCES route (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    source TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (route_id, version)
) STRICT;
