-- How much keys, groups and organizations may ask for, and what organizations have used of their monthly quotas. Rate limits
-- are units and seconds: 10/1 1000/3600.
ALTER TABLE api_key ADD COLUMN rate_limits TEXT;
ALTER TABLE key_group ADD COLUMN rate_limits TEXT;
ALTER TABLE organization ADD COLUMN rate_limits TEXT;

-- Units are granted to processes in blocks, before they are spent. Another epoch means that somebody has set the counter:
-- blocks of earlier ones are void. A month is counted in months since the year 0.
CREATE TABLE quota (
    organization_id UUID NOT NULL REFERENCES organization (id),
    month BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    granted BIGINT NOT NULL CHECK (granted >= 0),
    PRIMARY KEY (organization_id, month)
);
