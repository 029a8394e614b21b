-- What the processes that serve one database have been granted of rate limits that they count together. One at most serves a
-- SQLite file, and counts in memory.
CREATE TABLE rate_window (
    owner_id BLOB NOT NULL,
    seconds INTEGER NOT NULL,
    part INTEGER NOT NULL,
    granted TEXT NOT NULL,
    over_at INTEGER NOT NULL,
    PRIMARY KEY (owner_id, seconds)
) STRICT;
CREATE INDEX rate_window_by_end ON rate_window (over_at);
