//! Second factors of people: what their devices make codes from, and codes for who has lost the device.

use jiff::Timestamp;
use keyrack_core::UserId;

use crate::driver::{FromRow, Row, args};
use crate::{Reader, Result, Writer, statements};

/// What a person's device makes codes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecondFactor {
    /// Whose it is.
    pub user: UserId,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a code of it was given first; `None` while nobody is asked for one.
    pub confirmed_at: Option<Timestamp>,
    /// The time step of the last code that was taken.
    pub last_step: i64,
}

statements! {
    FIND = "SELECT user_id, sealed, created_at, confirmed_at, last_step FROM second_factor WHERE user_id = $1";
    PUT = "INSERT INTO second_factor (user_id, sealed, created_at, confirmed_at, last_step) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (user_id) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at, \
        confirmed_at = excluded.confirmed_at, last_step = excluded.last_step";
    TAKE_STEP = "UPDATE second_factor SET last_step = $2 WHERE user_id = $1 AND last_step < $2";
    DELETE = "DELETE FROM second_factor WHERE user_id = $1";
    INSERT_CODE = "INSERT INTO recovery_code (user_id, digest) VALUES ($1, $2)";
    DELETE_CODE = "DELETE FROM recovery_code WHERE user_id = $1 AND digest = $2";
    DELETE_CODES = "DELETE FROM recovery_code WHERE user_id = $1";
    COUNT_CODES = "SELECT COUNT(*) AS value FROM recovery_code WHERE user_id = $1";
}

impl FromRow for SecondFactor {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            user: row.get("user_id")?,
            sealed: row.get("sealed")?,
            created_at: row.get("created_at")?,
            confirmed_at: row.get("confirmed_at")?,
            last_step: row.get("last_step")?,
        })
    }
}

impl Reader {
    /// A person's second factor, confirmed or not.
    pub async fn find_second_factor(&mut self, user: UserId) -> Result<Option<SecondFactor>> {
        self.tx.fetch(FIND, args![user]).await
    }

    /// How many recovery codes a person has left.
    pub async fn count_recovery_codes(&mut self, user: UserId) -> Result<i64> {
        Ok(self.tx.value(COUNT_CODES, args![user]).await?.unwrap_or(0))
    }
}

impl Writer {
    /// Writes a person's second factor, in the place of the one before.
    pub async fn put_second_factor(&mut self, f: &SecondFactor) -> Result<()> {
        let args = args![f.user, f.sealed.as_slice(), f.created_at, f.confirmed_at, f.last_step];
        self.tx.execute_one(PUT, args).await
    }

    /// Notes that the code of a time step was taken. False if it or a later one was before.
    pub async fn take_step(&mut self, user: UserId, step: i64) -> Result<bool> {
        Ok(self.tx.execute(TAKE_STEP, args![user, step]).await? == 1)
    }

    /// Takes a second factor away, with its recovery codes. Whether it was there.
    pub async fn delete_second_factor(&mut self, user: UserId) -> Result<bool> {
        self.tx.execute(DELETE_CODES, args![user]).await?;
        Ok(self.tx.execute(DELETE, args![user]).await? == 1)
    }

    /// Gives a person these recovery codes, by digest, in the place of those before.
    pub async fn replace_recovery_codes(&mut self, user: UserId, digests: &[[u8; 32]]) -> Result<()> {
        self.tx.execute(DELETE_CODES, args![user]).await?;
        for digest in digests {
            self.tx.execute_one(INSERT_CODE, args![user, digest.as_slice()]).await?;
        }
        Ok(())
    }

    /// Uses a recovery code up. Whether the person had it.
    pub async fn take_recovery_code(&mut self, user: UserId, digest: &[u8; 32]) -> Result<bool> {
        Ok(self.tx.execute(DELETE_CODE, args![user, digest.as_slice()]).await? == 1)
    }
}
