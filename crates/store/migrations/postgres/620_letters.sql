-- Letters that wait to be sent. They are sealed: an invitation holds what lets its reader in.
CREATE TABLE letter (
    id UUID NOT NULL PRIMARY KEY,
    recipient TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX letter_due_at ON letter (due_at);

-- What was told before there were letters is not sent afterwards.
ALTER TABLE notification ADD COLUMN is_mailed BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX notification_unmailed ON notification (organization_id, id) WHERE NOT is_mailed;
