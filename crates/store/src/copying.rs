//! Rows of PostgreSQL as `COPY ... TO STDOUT (FORMAT binary)` sends them: for what is read by the million, where a row of the
//! driver costs several times what is in it.
//!
//! The format: a head of 19 bytes and more if it says so, then rows of a count of columns and the columns, each a length (-1
//! for NULL) and as many bytes, then a row that counts -1. See the documentation of COPY, "Binary Format".

use bytes::{Buf as _, Bytes, BytesMut};
use uuid::Uuid;

use crate::{Result, StoreError};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The signature, the flags, and the length of what else is in the head.
const HEAD: usize = SIGNATURE.len() + 4 + 4;

/// What has arrived and is not read yet.
#[derive(Default)]
pub(crate) struct Copied {
    bytes: BytesMut,
    has_begun: bool,
}

impl Copied {
    /// Takes what arrives next, cut wherever it may be.
    pub(crate) fn push(&mut self, bytes: &Bytes) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Reads the next row if it is there as a whole. `None` as well after the last.
    pub(crate) fn row<T>(&mut self, read: impl FnOnce(&mut Columns<'_>) -> Result<T>) -> Result<Option<T>> {
        if !self.has_begun && !self.begin()? {
            return Ok(None);
        }
        let Some((length, count)) = whole_row(&self.bytes)? else { return Ok(None) };
        let row = self.bytes.split_to(length);
        let mut columns = Columns { rest: &row[2..], left: count };
        read(&mut columns).map(Some)
    }

    /// Reads the head if it is there.
    fn begin(&mut self) -> Result<bool> {
        if self.bytes.len() < HEAD {
            return Ok(false);
        }
        let (mut flags, mut more) = (&self.bytes[SIGNATURE.len()..], &self.bytes[SIGNATURE.len() + 4..]);
        if !self.bytes.starts_with(SIGNATURE) || flags.get_u32() != 0 {
            return Err(unreadable());
        }
        let length = HEAD + more.get_u32() as usize;
        self.has_begun = self.bytes.len() >= length;
        if self.has_begun {
            self.bytes.advance(length);
        }
        Ok(self.has_begun)
    }
}

/// How long the first row is, and how many columns it has, if it is there as a whole.
fn whole_row(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut rest = bytes;
    let Ok(count) = rest.try_get_i16() else { return Ok(None) };
    let Ok(count) = usize::try_from(count) else {
        // The last one, which holds nothing.
        return if count == -1 { Ok(None) } else { Err(unreadable()) };
    };
    for _ in 0..count {
        let Ok(length) = rest.try_get_i32() else { return Ok(None) };
        // -1 for NULL.
        let length = usize::try_from(length.max(0)).map_err(|_| unreadable())?;
        let Some((_, behind)) = rest.split_at_checked(length) else { return Ok(None) };
        rest = behind;
    }
    Ok(Some((bytes.len() - rest.len(), count)))
}

/// The columns of one row, to be read one after the other.
pub(crate) struct Columns<'r> {
    rest: &'r [u8],
    left: usize,
}

impl<'r> Columns<'r> {
    /// The bytes of the next column, `None` for NULL.
    pub(crate) fn optional(&mut self) -> Result<Option<&'r [u8]>> {
        self.left = self.left.checked_sub(1).ok_or(unreadable())?;
        let length = self.rest.try_get_i32().map_err(|_| unreadable())?;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let (value, behind) = self.rest.split_at_checked(length).ok_or(unreadable())?;
        self.rest = behind;
        Ok(Some(value))
    }

    /// The bytes of the next column.
    pub(crate) fn bytes(&mut self) -> Result<&'r [u8]> {
        self.optional()?.ok_or(unreadable())
    }

    /// The next column, which is text.
    pub(crate) fn text(&mut self) -> Result<&'r str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| unreadable())
    }

    /// The next column, which is text or NULL.
    pub(crate) fn optional_text(&mut self) -> Result<Option<String>> {
        let text = self.optional()?.map(|bytes| std::str::from_utf8(bytes).map(str::to_owned));
        text.transpose().map_err(|_| unreadable())
    }

    /// The next column, a `bigint`.
    pub(crate) fn int(&mut self) -> Result<i64> {
        self.optional_int()?.ok_or(unreadable())
    }

    /// The next column, a `bigint` or NULL.
    pub(crate) fn optional_int(&mut self) -> Result<Option<i64>> {
        let int = self.optional()?.map(|bytes| bytes.try_into().map(i64::from_be_bytes));
        int.transpose().map_err(|_| unreadable())
    }

    /// The next column, a `uuid`.
    pub(crate) fn id(&mut self) -> Result<Uuid> {
        self.optional_id()?.ok_or(unreadable())
    }

    /// The next column, a `uuid` or NULL.
    pub(crate) fn optional_id(&mut self) -> Result<Option<Uuid>> {
        self.optional()?.map(Uuid::from_slice).transpose().map_err(|_| unreadable())
    }

    /// The next column, a `boolean`.
    pub(crate) fn truth(&mut self) -> Result<bool> {
        Ok(self.bytes()? == [1])
    }
}

fn unreadable() -> StoreError {
    StoreError::Corrupt { column: "of a key" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &[u8] = b"\0\x03\0\0\0\x08\0\0\0\0\0\0\x01\x02\xff\xff\xff\xff\0\0\0\x02hi";

    fn sent() -> Vec<u8> {
        [SIGNATURE, &[0; 4][..], b"\0\0\0\x03abc", ROW, ROW, b"\xff\xff"].concat()
    }

    fn read(columns: &mut Columns<'_>) -> Result<(i64, Option<String>, String)> {
        let row = (columns.int()?, columns.optional_text()?, columns.text()?.to_owned());
        assert!(columns.bytes().is_err(), "there are no more");
        Ok(row)
    }

    #[test]
    fn rows_are_read_wherever_what_arrives_is_cut() {
        let (sent, row) = (sent(), (258, None, "hi".to_owned()));
        for size in 1..=sent.len() {
            let mut copied = Copied::default();
            let mut rows = Vec::new();
            for chunk in sent.chunks(size) {
                copied.push(&Bytes::copy_from_slice(chunk));
                while let Some(row) = copied.row(read).unwrap() {
                    rows.push(row);
                }
            }
            assert_eq!(rows, [row.clone(), row.clone()], "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_copy_is_told() {
        let mut other = sent();
        other[0] = b'p';
        let mut flagged = sent();
        flagged[12] = 1;
        let negative = [SIGNATURE, &[0; 8][..], b"\xff\xfe"].concat();
        for sent in [other, flagged, negative] {
            let mut copied = Copied::default();
            copied.push(&sent.into());
            assert!(matches!(copied.row(read), Err(StoreError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_column_of_another_type_is_told() {
        let mut columns = Columns { rest: &ROW[2..], left: 3 };
        assert!(columns.id().is_err(), "eight bytes are no uuid");
        assert!(columns.int().is_err(), "and NULL is no number");
        assert!(columns.int().is_err());
    }
}
