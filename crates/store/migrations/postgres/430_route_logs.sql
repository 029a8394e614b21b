-- What scripts of routes wrote and how their calls ended, for some days.
CREATE TABLE route_log (
    id UUID NOT NULL PRIMARY KEY,
    organization_id UUID NOT NULL,
    route_id UUID NOT NULL,
    at BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    level BIGINT NOT NULL,
    message TEXT NOT NULL,
    method TEXT NOT NULL,
    status BIGINT,
    micros BIGINT,
    key_id UUID,
    key_name TEXT,
    CHECK (kind IN ('line', 'answered', 'failed', 'rejected'))
);
CREATE INDEX route_log_route ON route_log (route_id, id);
CREATE INDEX route_log_at ON route_log (at);
