-- What the processes that serve this database have been granted of rate limits that they count together: of a key, a group or
-- an organization, in the running part of the window and the 16 before it. Parts are numbered by this database's clock.
CREATE TABLE rate_window (
    owner_id UUID NOT NULL,
    seconds BIGINT NOT NULL,
    part BIGINT NOT NULL,
    granted TEXT NOT NULL,
    over_at BIGINT NOT NULL,
    PRIMARY KEY (owner_id, seconds)
);
CREATE INDEX rate_window_by_end ON rate_window (over_at);
