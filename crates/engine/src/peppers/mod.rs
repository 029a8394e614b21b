//! The peppers: digests of keys are made with them, and they are not in the database.
//!
//! They stand in the key file. Which of them is in use stands in the database, so that all processes agree on it: another one is put
//! into use only once every process that serves has it. A key's digest can be made anew only when its text is there, so keys get
//! theirs when they are used; until then the older pepper stays.

mod rotate;
mod tend;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use jiff::{SignedDuration, Timestamp};
use keyrack_core::Pepper;
use keyrack_core::token::MAX_LIFE;
use keyrack_store::{INSTANCE, MovedSecret, Reader, Redigest, Writer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

pub use self::rotate::{LeftKey, PepperState};
use crate::keyfile::Keyfile;
use crate::{Error, Result};

/// The setting of the instance that tells which peppers the database was made with, by their numbers.
const PEPPERS: &str = "pepper_fingerprints";
/// The setting of the instance that says which one is in use.
const PEPPER: &str = "pepper";
/// The event by which another one is put into use.
pub(crate) const PUT_INTO_USE: &str = "pepper.put_into_use";
/// The event by which processes that serve are asked to look into their key file.
pub(crate) const ADDED: &str = "pepper.added";
/// The event by which one is given up.
pub(crate) const RETIRED: &str = "pepper.retired";
/// The event by which keys get digests under the one in use.
pub(crate) const REDIGESTED: &str = "keys.redigested";
/// How many uses of keys under an older pepper may wait. One that finds no room is noted when the key is used again.
const WAITING: usize = 4096;

/// Which pepper is in use, as the database has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct InUse {
    pub(crate) id: i64,
    pub(crate) since: Timestamp,
}

/// The peppers that this process has.
pub(crate) struct Peppers {
    /// The one in use first.
    known: ArcSwap<Vec<Pepper>>,
    in_use: ArcSwap<Option<InUse>>,
    old_uses: mpsc::Sender<Redigest>,
    /// Until somebody listens.
    heard: Mutex<Option<mpsc::Receiver<Redigest>>>,
    /// Where secrets are now that were moved while tokens live, by where they were.
    moved: ArcSwap<HashMap<u64, MovedSecret>>,
}

impl Peppers {
    pub(crate) fn new(known: Vec<Pepper>) -> Self {
        let (old_uses, heard) = mpsc::channel(WAITING);
        let known = ArcSwap::from_pointee(known);
        let heard = Mutex::new(Some(heard));
        Self { known, in_use: ArcSwap::default(), old_uses, heard, moved: ArcSwap::default() }
    }

    /// All of them, the one in use first.
    pub(crate) fn known(&self) -> Guard<Arc<Vec<Pepper>>> {
        self.known.load()
    }

    /// The one in use.
    pub(crate) fn current(&self) -> Result<Pepper> {
        self.known().first().cloned().ok_or(Error::internal("there is no pepper"))
    }

    /// The one of this number.
    fn find(&self, id: i64) -> Option<Pepper> {
        self.known().iter().find(|pepper| pepper.id() == id).cloned()
    }

    /// Notes that a key was used whose digest is under an older pepper. Waits for nobody.
    pub(crate) fn note_old_use(&self, of: Redigest) {
        let _ = self.old_uses.try_send(of);
    }

    fn listen(&self) -> Option<mpsc::Receiver<Redigest>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where a secret is found now that was found there when a token was made.
    pub(crate) fn place_after(&self, left: u64) -> Option<u64> {
        self.moved.load().get(&left).map(|moved| moved.place)
    }

    /// Keeps where secrets are now, and forgets what no token needs any more.
    pub(crate) fn keep_moved(&self, moved: &[MovedSecret], now: Timestamp) {
        let since = tokens_since(now);
        self.moved.rcu(|known| {
            let known = known.values().chain(moved).filter(|moved| moved.moved_at >= since);
            known.map(|moved| (moved.left, *moved)).collect::<HashMap<_, _>>()
        });
    }

    /// Reads which one is in use, and the key file anew if it is not among those that are known.
    pub(crate) async fn load(&self, reader: &mut Reader, keyfile: Option<&Path>, now: Timestamp) -> Result<()> {
        let in_use = stored(reader).await?;
        self.in_use.store(Arc::new(in_use));
        if in_use.is_some_and(|in_use| self.find(in_use.id).is_none()) {
            self.read_again(keyfile);
        }
        self.arrange(self.known().to_vec());
        self.keep_moved(&reader.secrets_moved_since(tokens_since(now)).await?, now);
        Ok(())
    }

    /// Reads the key file anew. Where that fails what was known stays.
    pub(crate) fn read_again(&self, keyfile: Option<&Path>) {
        let Some(path) = keyfile else { return };
        match Keyfile::load(path) {
            Ok(Some(keyfile)) => self.arrange(keyfile.peppers()),
            Ok(None) => tracing::error!("the key file is gone; the peppers stay as they were known"),
            Err(error) => tracing::error!(%error, "the key file cannot be read; the peppers stay as they were known"),
        }
    }

    fn arrange(&self, mut known: Vec<Pepper>) {
        if let Some(in_use) = self.in_use.load().as_ref() {
            known.sort_by_key(|pepper| pepper.id() != in_use.id);
        }
        self.known.store(Arc::new(known));
    }
}

/// Since when tokens have been made that may still be taken.
fn tokens_since(now: Timestamp) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(MAX_LIFE)).unwrap_or(Timestamp::MIN)
}

/// By what processes tell each other that they have a pepper.
pub(crate) fn sign_of(pepper: &Pepper) -> String {
    format!("pepper-{}:{}", pepper.id(), pepper.fingerprint())
}

/// Which one is in use, as the database says; `None` on one from before it did.
pub(crate) async fn stored(reader: &mut Reader) -> Result<Option<InUse>> {
    let read = reader.find_setting(INSTANCE, PEPPER).await?.map(serde_json::from_value).transpose();
    read.map_err(|_| Error::internal("the setting pepper cannot be read"))
}

/// The peppers that the database was made with, by their numbers, with what tells each from another one.
pub(crate) async fn fingerprints(reader: &mut Reader) -> Result<serde_json::Map<String, Value>> {
    let known = reader.find_setting(INSTANCE, PEPPERS).await?.unwrap_or_default();
    Ok(known.as_object().cloned().unwrap_or_default())
}

/// Notes these as those that the database was made with.
pub(crate) async fn put_fingerprints(
    writer: &mut Writer,
    known: serde_json::Map<String, Value>,
    now: Timestamp,
) -> Result<()> {
    Ok(writer.put_setting(INSTANCE, PEPPERS, &known.into(), now).await?)
}

/// Notes which one is in use.
pub(crate) async fn put(writer: &mut Writer, id: i64, since: Timestamp) -> Result<()> {
    Ok(writer.put_setting(INSTANCE, PEPPER, &serde_json::json!(InUse { id, since }), since).await?)
}

/// Refuses peppers among which one is missing that the database was made with.
pub(crate) fn check(known: &serde_json::Map<String, Value>, peppers: &[Pepper]) -> Result<()> {
    for (id, fingerprint) in known {
        let ours = peppers.iter().find(|pepper| pepper.id().to_string() == *id);
        if ours.is_none_or(|pepper| fingerprint.as_str() != Some(&pepper.fingerprint())) {
            return Err(Error::Refused(format!(
                "the key file does not hold pepper {id} of this database; use the key file that was made with it \
                 (without its pepper no key can be recognised)"
            )));
        }
    }
    Ok(())
}
