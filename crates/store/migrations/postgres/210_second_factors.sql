-- A session that awaits a second factor lets nobody in. Of others it is kept when the password was entered again last.
ALTER TABLE session ADD COLUMN awaits_second_factor BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE session ADD COLUMN stepped_up_at BIGINT;

-- The secret from which a person's device makes codes (RFC 6238), sealed. Until it is confirmed nobody is asked for one.
CREATE TABLE second_factor (
    user_id UUID NOT NULL PRIMARY KEY REFERENCES user_account (id),
    sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    -- The time step of the last code that was taken; none is taken twice.
    last_step BIGINT NOT NULL
);

-- Codes for who has lost the device; each is good once.
CREATE TABLE recovery_code (
    user_id UUID NOT NULL REFERENCES user_account (id),
    digest BYTEA NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (user_id, digest)
);
