-- How many calls a route let in and how long they took, by minute, hour and day (span, in seconds).
CREATE TABLE route_metric (
    route_id UUID NOT NULL,
    span BIGINT NOT NULL,
    start BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    longest BIGINT NOT NULL,
    PRIMARY KEY (route_id, span, start)
);
CREATE INDEX route_metric_start ON route_metric (span, start);
