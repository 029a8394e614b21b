-- Which secrets of keys are found elsewhere since another pepper is in use: tokens made shortly before know the old place.
CREATE TABLE moved_secret (
    event_id BLOB NOT NULL,
    key_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    left_place INTEGER NOT NULL,
    place INTEGER NOT NULL,
    moved_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, key_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX moved_secret_at ON moved_secret (moved_at);
