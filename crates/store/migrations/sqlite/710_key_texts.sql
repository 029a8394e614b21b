-- The texts of keys of groups that ask for it, sealed. Of all others nobody keeps the text.
ALTER TABLE key_group ADD COLUMN recoverable INTEGER NOT NULL DEFAULT 0;

CREATE TABLE key_text (
    key_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    organization_id BLOB NOT NULL REFERENCES organization (id),
    data_key_id BLOB NOT NULL REFERENCES data_key (id),
    sealed BLOB NOT NULL,
    PRIMARY KEY (key_id, version),
    FOREIGN KEY (key_id, version) REFERENCES key_secret (key_id, version) ON DELETE CASCADE
) STRICT;
CREATE INDEX key_text_data_key ON key_text (data_key_id);
