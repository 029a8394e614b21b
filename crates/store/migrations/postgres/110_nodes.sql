-- The processes that serve this database now. Times are of the database's clock.
CREATE TABLE node (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    applied BIGINT NOT NULL
);
