-- The latest moment that is known to have been, of those that no event bears.
CREATE TABLE latest_time (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
