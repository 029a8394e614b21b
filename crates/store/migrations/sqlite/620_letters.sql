-- Letters that wait to be sent. They are sealed: an invitation holds what lets its reader in.
CREATE TABLE letter (
    id BLOB NOT NULL PRIMARY KEY,
    recipient TEXT NOT NULL,
    sealed BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX letter_due_at ON letter (due_at);

-- What was told before there were letters is not sent afterwards.
ALTER TABLE notification ADD COLUMN is_mailed INTEGER NOT NULL DEFAULT 1;
CREATE INDEX notification_unmailed ON notification (organization_id, id) WHERE NOT is_mailed;
