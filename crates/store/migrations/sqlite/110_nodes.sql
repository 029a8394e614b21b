-- The processes that serve this database now. One at most serves a SQLite file, and holds a lock beside it instead.
CREATE TABLE node (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    applied INTEGER NOT NULL
) STRICT;
