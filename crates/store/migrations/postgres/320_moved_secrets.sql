-- Which secrets of keys are found elsewhere since another pepper is in use: tokens made shortly before know the old place.
CREATE TABLE moved_secret (
    event_id UUID NOT NULL,
    key_id UUID NOT NULL,
    version BIGINT NOT NULL,
    left_place BIGINT NOT NULL,
    place BIGINT NOT NULL,
    moved_at BIGINT NOT NULL,
    PRIMARY KEY (event_id, key_id, version)
);
CREATE INDEX moved_secret_at ON moved_secret (moved_at);
