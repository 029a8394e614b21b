//! The master keys: what is sealed in the database opens by them, and they are not in it.
//!
//! They stand in the key file. Which of them is in use stands in the database, so that all processes agree on it: another one is put into
//! use only once every process that serves has it.

mod rotate;
mod tend;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use keyrack_core::token::MasterKey;
use keyrack_store::{INSTANCE, Reader, Writer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keyfile::Keyfile;
use crate::{Error, Result};

pub(crate) use self::rotate::sign_of;
pub use self::rotate::{MasterKeyState, Progress, Rotated, Stage};

/// The setting of the instance that says which master key is in use.
const MASTER_KEY: &str = "master_key";
/// The event by which another one is put into use.
pub(crate) const PUT_INTO_USE: &str = "master_key.put_into_use";
/// The event by which processes that serve are asked to look into their key file.
pub(crate) const ADDED: &str = "master_key.added";
/// The event by which one is given up that nothing is sealed with any more.
pub(crate) const RETIRED: &str = "master_key.retired";

/// Which master key is in use, as the database has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct InUse {
    pub(crate) id: i64,
    pub(crate) since: Timestamp,
    /// Tells it from another one of the same number.
    fingerprint: String,
}

/// The master keys that this process has.
pub(crate) struct MasterKeys {
    keyfile: Option<PathBuf>,
    known: ArcSwap<Vec<MasterKey>>,
    in_use: ArcSwap<Option<InUse>>,
    /// What could not be opened, and was told of.
    reported: Mutex<BTreeSet<String>>,
}

impl MasterKeys {
    pub(crate) fn new(keyfile: Option<PathBuf>, known: Vec<MasterKey>) -> Self {
        Self { keyfile, known: ArcSwap::from_pointee(known), in_use: ArcSwap::default(), reported: Mutex::default() }
    }

    /// Where they stand, if they are to be changed there.
    pub(crate) fn keyfile(&self) -> Option<&Path> {
        self.keyfile.as_deref()
    }

    /// All of them.
    pub(crate) fn known(&self) -> Arc<Vec<MasterKey>> {
        self.known.load_full()
    }

    /// The one of this number.
    pub(crate) fn find(&self, id: i64) -> Option<MasterKey> {
        self.known.load().iter().find(|key| key.id() == id).cloned()
    }

    /// The one in use.
    pub(crate) fn current(&self) -> Result<MasterKey> {
        let in_use = self.in_use.load();
        let current = in_use.as_ref().as_ref().map(|in_use| in_use.id);
        let known = self.known.load();
        let current = known.iter().find(|key| current.is_none_or(|id| key.id() == id)).cloned();
        current.ok_or(Error::internal("the key file lacks the master key that is in use"))
    }

    /// Since when the one in use is; `None` while nothing says so.
    pub(crate) fn in_use(&self) -> Option<InUse> {
        InUse::clone(self.in_use.load().as_ref().as_ref()?).into()
    }

    /// Reads which one is in use, and the key file anew if it is not among those that are known.
    pub(crate) async fn load(&self, reader: &mut Reader) -> Result<()> {
        let in_use = stored(reader).await?;
        let is_known = in_use.as_ref().is_none_or(|in_use| self.find(in_use.id).is_some());
        self.in_use.store(Arc::new(in_use));
        if !is_known {
            self.read_again();
        }
        Ok(())
    }

    /// Reads the key file anew. Where that fails what was known stays.
    pub(crate) fn read_again(&self) {
        let Some(path) = &self.keyfile else { return };
        match Keyfile::load(path) {
            Ok(Some(keyfile)) => self.known.store(Arc::new(keyfile.master_keys())),
            Ok(None) => tracing::error!("the key file is gone; the master keys stay as they were known"),
            Err(error) => {
                tracing::error!(%error, "the key file cannot be read; the master keys stay as they were known");
            }
        }
    }
}

/// Which one is in use, as the database says.
pub(crate) async fn stored(reader: &mut Reader) -> Result<Option<InUse>> {
    let stored = reader.find_setting(INSTANCE, MASTER_KEY).await?;
    let read = stored.map(serde_json::from_value).transpose();
    read.map_err(|_| Error::internal("the setting master_key cannot be read"))
}

/// Refuses keys among which the one is not that is in use.
pub(crate) fn check(in_use: Option<&InUse>, known: &[MasterKey]) -> Result<()> {
    let Some(in_use) = in_use else { return Ok(()) };
    let fits = known.iter().any(|key| key.id() == in_use.id && key.fingerprint() == in_use.fingerprint);
    if fits || known.is_empty() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the key file does not hold master key {} of this database; use the key file that belongs to it (without it no secret can be \
         opened)",
        in_use.id
    )))
}

/// Notes which one is in use.
pub(crate) async fn put(writer: &mut Writer, key: &MasterKey, since: Timestamp) -> Result<()> {
    let in_use = InUse { id: key.id(), since, fingerprint: key.fingerprint() };
    let written: Value = serde_json::json!(in_use);
    Ok(writer.put_setting(INSTANCE, MASTER_KEY, &written, since).await?)
}
