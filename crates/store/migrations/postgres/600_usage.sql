-- What was counted of requests. Each count is about a minute, an hour or a day (span, in seconds) that began at a moment, and about
-- a subject: an organization (kind 0), a workspace (1), a group (2), a key (3), or a network that keys which are none came
-- from (4; the nil organization is the instance). Minutes stand together, so that those of now are written next to each other.
CREATE TABLE usage_label (
    id BIGINT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    method TEXT NOT NULL,
    status BIGINT NOT NULL,
    denial TEXT NOT NULL
);
CREATE TABLE usage (
    span BIGINT NOT NULL,
    start BIGINT NOT NULL,
    organization_id UUID NOT NULL,
    kind BIGINT NOT NULL,
    subject UUID NOT NULL,
    version BIGINT NOT NULL,
    label BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    units BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    PRIMARY KEY (span, start, organization_id, kind, subject, version, label, bucket)
);

-- How far minutes have been added to hours, and hours to days: up to this subject of the one that began then.
CREATE TABLE usage_rolled (
    span BIGINT NOT NULL PRIMARY KEY,
    start BIGINT NOT NULL,
    organization_id UUID NOT NULL,
    kind BIGINT NOT NULL,
    subject UUID NOT NULL
);
INSERT INTO usage_rolled (span, start, organization_id, kind, subject)
VALUES (60, 0, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 0, 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
(3600, 0, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 0, 'ffffffff-ffff-ffff-ffff-ffffffffffff');

-- What a process has counted and not added up yet: batches of one generation after the other. Of the oldest, everything up to
-- the place in usage_writer has been added up.
CREATE TABLE usage_writer (
    writer UUID NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    place BYTEA NOT NULL
);
CREATE TABLE usage_journal (
    writer UUID NOT NULL,
    generation BIGINT NOT NULL,
    number BIGINT NOT NULL,
    batch BYTEA NOT NULL,
    PRIMARY KEY (writer, generation, number)
);

ALTER TABLE key_use ADD COLUMN address TEXT;
ALTER TABLE key_use ADD COLUMN user_agent TEXT;
