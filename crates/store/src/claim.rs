//! Who serves a SQLite file: one process, which holds a lock on a file beside it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::make_private;
use crate::{Result, StoreError};

/// How often a claim is tried: whoever asks whether a server is there holds the lock for an instant.
const TRIES: u32 = 20;
/// How long to wait before the next try.
const PAUSE: Duration = Duration::from_millis(5);

/// The right to serve from a SQLite file, held until dropped. The kernel keeps it as long as we live.
pub struct Claim(File);

impl Claim {
    pub(crate) async fn take(database: &Path) -> Result<Self> {
        let (file, name) = lock_file(database)?;
        let mut tries = 0;
        while !had(file.try_lock(), &name)? {
            tries += 1;
            if tries == TRIES {
                return Err(StoreError::Claimed(format!(
                    "another keyrack serves {} (it holds {})",
                    database.display(),
                    name.display()
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
        // What the last server published says nothing about this one.
        file.set_len(0).map_err(|e| StoreError::File(name.display().to_string(), e))?;
        Ok(Self(file))
    }

    /// Says how far the log is applied here, for [`crate::Store::served_up_to`] of another process.
    pub fn publish(&self, seq: i64) -> Result<()> {
        use std::os::unix::fs::FileExt as _;
        // Always as many bytes, so that a reader never sees half a number.
        let text = format!("{seq:020}");
        self.0.write_all_at(text.as_bytes(), 0).map_err(|e| StoreError::File("the lock file".to_owned(), e))
    }
}

/// How far the process that holds the claim says it has applied the log; `None` if nobody holds it.
pub(crate) fn published(database: &Path) -> Result<Option<i64>> {
    let (file, name) = lock_file(database)?;
    // Shared with others who only ask.
    if had(file.try_lock_shared(), &name)? {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&name).map_err(|e| StoreError::File(name.display().to_string(), e))?;
    Ok(Some(text.trim().parse().unwrap_or(-1)))
}

fn lock_file(database: &Path) -> Result<(File, PathBuf)> {
    let mut name = database.to_path_buf().into_os_string();
    name.push(".lock");
    let name = PathBuf::from(name);
    make_private(&name)?;
    let file = File::options().read(true).write(true).open(&name);
    file.map(|file| (file, name.clone())).map_err(|e| StoreError::File(name.display().to_string(), e))
}

fn had(lock: std::result::Result<(), std::fs::TryLockError>, name: &Path) -> Result<bool> {
    match lock {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(e)) => Err(StoreError::File(name.display().to_string(), e)),
    }
}
