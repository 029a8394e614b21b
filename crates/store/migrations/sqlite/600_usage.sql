-- What was counted of requests. Each count is about a minute, an hour or a day (span, in seconds) that began at a moment, and about
-- a subject: an organization (kind 0), a workspace (1), a group (2), a key (3), or a network that keys which are none came
-- from (4; the nil organization is the instance). Minutes stand together, so that those of now are written next to each other.
CREATE TABLE usage_label (
    id INTEGER NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    method TEXT NOT NULL,
    status INTEGER NOT NULL,
    denial TEXT NOT NULL
) STRICT;
CREATE TABLE usage (
    span INTEGER NOT NULL,
    start INTEGER NOT NULL,
    organization_id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    subject BLOB NOT NULL,
    version INTEGER NOT NULL,
    label INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    units INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (span, start, organization_id, kind, subject, version, label, bucket)
) STRICT, WITHOUT ROWID;

-- How far minutes have been added to hours, and hours to days: up to this subject of the one that began then.
CREATE TABLE usage_rolled (
    span INTEGER NOT NULL PRIMARY KEY,
    start INTEGER NOT NULL,
    organization_id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    subject BLOB NOT NULL
) STRICT;
INSERT INTO usage_rolled (span, start, organization_id, kind, subject)
SELECT value, 0, unhex('ffffffffffffffffffffffffffffffff'), 0, unhex('ffffffffffffffffffffffffffffffff') FROM json_each('[60, 3600]');

-- What a process has counted and not added up yet: batches of one generation after the other. Of the oldest, everything up to
-- the place in usage_writer has been added up.
CREATE TABLE usage_writer (
    writer BLOB NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL,
    place BLOB NOT NULL
) STRICT;
CREATE TABLE usage_journal (
    writer BLOB NOT NULL,
    generation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    batch BLOB NOT NULL,
    PRIMARY KEY (writer, generation, number)
) STRICT;

ALTER TABLE key_use ADD COLUMN address TEXT;
ALTER TABLE key_use ADD COLUMN user_agent TEXT;
