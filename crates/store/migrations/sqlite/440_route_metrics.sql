-- How many calls a route let in and how long they took, by minute, hour and day (span, in seconds).
CREATE TABLE route_metric (
    route_id BLOB NOT NULL,
    span INTEGER NOT NULL,
    start INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    longest INTEGER NOT NULL,
    PRIMARY KEY (route_id, span, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX route_metric_start ON route_metric (span, start);
