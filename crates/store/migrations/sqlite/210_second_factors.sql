-- A session that awaits a second factor lets nobody in. Of others it is kept when the password was entered again last.
ALTER TABLE session ADD COLUMN awaits_second_factor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN stepped_up_at INTEGER;

-- The secret from which a person's device makes codes (RFC 6238), sealed. Until it is confirmed nobody is asked for one.
CREATE TABLE second_factor (
    user_id BLOB NOT NULL PRIMARY KEY REFERENCES user_account (id),
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    confirmed_at INTEGER,
    -- The time step of the last code that was taken; none is taken twice.
    last_step INTEGER NOT NULL
) STRICT;

-- Codes for who has lost the device; each is good once.
CREATE TABLE recovery_code (
    user_id BLOB NOT NULL REFERENCES user_account (id),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (user_id, digest)
) STRICT, WITHOUT ROWID;
