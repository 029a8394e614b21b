-- The texts of keys of groups that ask for it, sealed. Of all others nobody keeps the text.
ALTER TABLE key_group ADD COLUMN recoverable BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE key_text (
    key_id UUID NOT NULL,
    version BIGINT NOT NULL,
    organization_id UUID NOT NULL REFERENCES organization (id),
    data_key_id UUID NOT NULL REFERENCES data_key (id),
    sealed BYTEA NOT NULL,
    PRIMARY KEY (key_id, version),
    FOREIGN KEY (key_id, version) REFERENCES key_secret (key_id, version) ON DELETE CASCADE
);
CREATE INDEX key_text_data_key ON key_text (data_key_id);
