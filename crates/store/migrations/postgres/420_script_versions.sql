-- What the script of a route says, and what it said before.
CREATE TABLE script_version (
    route_id UUID NOT NULL REFERENCES route (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    source TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (route_id, version)
);
