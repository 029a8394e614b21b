//! Another pepper: first every process has it, then new keys are made under it, and keys that are used get a digest under it. The
//! older one is given up once no key needs it.
//!
//! Each step can be broken off and begun again. Until the end keys under either pepper are recognised.

use jiff::{SignedDuration, Timestamp};
use keyrack_core::Pepper;
use keyrack_store::INSTANCE;
pub use keyrack_store::LeftKey;
use serde_json::json;

use super::{ADDED, PUT_INTO_USE, RETIRED, fingerprints, put, put_fingerprints, sign_of, stored};
use crate::actor::Context;
use crate::engine::Engine;
use crate::keyfile::Keyfile;
use crate::{Error, Result};

/// How long a pepper has been in use at least before older ones are given up: longer than any request, or batch of an import, that
/// may have begun before, takes until it is written.
const SETTLING: SignedDuration = SignedDuration::from_mins(2);
/// How many keys are named that still need an older pepper, and how many are revoked between two looks.
const NAMED: i64 = 20;

/// How things stand.
#[derive(Clone, Debug)]
pub struct PepperState {
    /// The number of the one in use.
    pub in_use: i64,
    /// Since when; `None` if that was not noted.
    pub since: Option<Timestamp>,
    /// All that the key file holds.
    pub known: Vec<i64>,
    /// The older ones that the database was made with, each with how many secrets of keys still need it.
    pub older: Vec<(i64, u64)>,
}

impl Engine {
    /// How things stand with the peppers.
    pub async fn pepper_state(&self) -> Result<PepperState> {
        let in_use = self.peppers.current()?.id();
        let mut known: Vec<_> = self.peppers.known().iter().map(Pepper::id).collect();
        known.sort_unstable();
        let mut reader = self.reader().await?;
        let since = stored(&mut reader).await?.map(|in_use| in_use.since);
        let mut older = Vec::new();
        for id in fingerprints(&mut reader).await?.keys().filter_map(|id| id.parse().ok()).filter(|id| *id != in_use) {
            older.push((id, reader.count_secrets_under_pepper(id, self.now()).await?));
        }
        Ok(PepperState { in_use, since, known, older })
    }

    /// Puts a new pepper into use; its number. Keys stay as they are until they are used. On the host only.
    pub async fn rotate_pepper(&self) -> Result<i64> {
        let keyfile = self.master_keys.keyfile();
        let path = keyfile.ok_or_else(|| Error::Refused("there is no key file to put a new pepper into".to_owned()))?;
        self.peppers.read_again(keyfile);
        let current = self.peppers.current()?.id();
        // One may wait there that was not put into use for some reason.
        let waiting = self.peppers.known().iter().map(Pepper::id).filter(|id| *id > current).max();
        let id = match waiting.map_or_else(|| Keyfile::add_pepper(path, self.random.as_ref()), Ok) {
            Ok(id) => id,
            Err(error) => return Err(Error::Refused(error.to_string())),
        };
        self.peppers.read_again(keyfile);
        let pepper = self.peppers.find(id).ok_or(Error::internal("the new pepper is not in the key file"))?;
        let ask = self.told(ADDED, json!({ "pepper": id }))?;
        self.wait_until_all_have("pepper", &sign_of(&pepper), ask).await?;
        let mut writer = self.store.write(&[INSTANCE]).await?;
        if stored(&mut writer).await?.is_some_and(|in_use| in_use.id >= id) {
            // Somebody else has done it meanwhile.
            drop(writer);
            return self.settle_unchanged().await.map(|_| id);
        }
        let mut known = fingerprints(&mut writer).await?;
        known.insert(id.to_string(), pepper.fingerprint().into());
        let now = self.now();
        put_fingerprints(&mut writer, known, now).await?;
        put(&mut writer, id, now).await?;
        self.commit(writer, self.told(PUT_INTO_USE, json!({ "pepper": id }))?).await?;
        Ok(id)
    }

    /// Gives up older peppers that no key needs; their numbers. Fails with the names of some keys if one is needed, and for a while
    /// after a rotation.
    pub async fn retire_peppers(&self) -> Result<Vec<i64>> {
        let state = self.pepper_state().await?;
        self.refuse_while_settling(&state)?;
        let Some((needed, count)) = state.older.iter().find(|(_, count)| *count > 0) else {
            return self.retire_unneeded_peppers().await;
        };
        let left = self.reader().await?.keys_under_pepper(*needed, self.now(), NAMED).await?;
        let message = format!(
            "{count} secret(s) of keys that nobody has used since still need pepper {needed}; rotate or revoke those keys, or revoke \
             all of them with --revoke-unused"
        );
        let details = left.into_iter().map(|left| format!("{} ({})", left.name, left.key)).collect();
        Err(Error::Conflict { code: "pepper_needed", message, details })
    }

    /// Revokes every key that still needs an older pepper; tells of each.
    pub async fn revoke_unused_since_pepper(&self, mut tell: impl FnMut(&LeftKey) + Send) -> Result<()> {
        let state = self.pepper_state().await?;
        self.refuse_while_settling(&state)?;
        for (pepper, _) in state.older {
            loop {
                let left = self.reader().await?.keys_under_pepper(pepper, self.now(), NAMED).await?;
                if left.is_empty() {
                    break;
                }
                for key in left {
                    let reason = format!("not used since pepper {pepper} was replaced");
                    match self.revoke_key(&Context::host(key.organization), key.key, Some(&reason)).await {
                        // It is gone already.
                        Ok(_) | Err(Error::NotFound(_)) => tell(&key),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    fn refuse_while_settling(&self, state: &PepperState) -> Result<()> {
        let since = state.since.filter(|_| !state.older.is_empty());
        let Some(seconds) = since.and_then(|since| self.seconds_to_settle(since)) else { return Ok(()) };
        let message = format!(
            "pepper {} has only just been put into use, and who began before may still make a key under the one before; run this \
             again in {seconds} s",
            state.in_use
        );
        Err(Error::conflict("pepper_settling", message))
    }

    /// How long it is yet until nobody makes a key under the pepper from before this moment; `None` if that is so.
    fn seconds_to_settle(&self, since: Timestamp) -> Option<i64> {
        let left = SETTLING.as_secs() - self.now().duration_since(since).as_secs();
        (left > 0).then_some(left)
    }

    /// Gives up those that no key needs.
    pub(super) async fn retire_unneeded_peppers(&self) -> Result<Vec<i64>> {
        let mut reader = self.reader().await?;
        let in_use = stored(&mut reader).await?.ok_or(Error::internal("no pepper is in use"))?;
        if self.seconds_to_settle(in_use.since).is_some() {
            return Ok(Vec::new());
        }
        let current = in_use.id;
        let mut known = fingerprints(&mut reader).await?;
        let older: Vec<i64> = known.keys().filter_map(|id| id.parse().ok()).filter(|id| *id != current).collect();
        let mut retired = Vec::new();
        for id in older {
            if reader.keys_under_pepper(id, self.now(), 1).await?.is_empty() {
                retired.push(id);
            }
        }
        drop(reader);
        if !retired.is_empty() {
            // Nothing is made under them any more, so nothing that was seen has changed; but another one may have come into use.
            let mut writer = self.store.write(&[INSTANCE]).await?;
            known = fingerprints(&mut writer).await?;
            known.retain(|id, _| !retired.iter().any(|retired| retired.to_string() == *id));
            put_fingerprints(&mut writer, known.clone(), self.now()).await?;
            self.commit(writer, self.told(RETIRED, json!({ "peppers": retired }))?).await?;
        }
        // From the file last: what the database asks for must be in it.
        let keyfile = self.master_keys.keyfile();
        let is_left = |id: &i64| *id < current && !known.contains_key(&id.to_string());
        let left: Vec<i64> = self.peppers.known().iter().map(Pepper::id).filter(is_left).collect();
        if let Some(path) = keyfile.filter(|_| !left.is_empty()) {
            Keyfile::remove_peppers(path, &left).map_err(|error| Error::Refused(error.to_string()))?;
            self.peppers.read_again(keyfile);
        }
        Ok(left)
    }
}
