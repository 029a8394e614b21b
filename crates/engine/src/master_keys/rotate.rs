//! Another master key: first every process has it, then data keys are made under it, then all that is sealed is sealed anew, and at last
//! the old one is given up.
//!
//! Each step can be broken off and begun again: what is left to do is seen by what is still sealed with another key. Nothing that could be
//! opened before cannot be opened meanwhile.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keyrack_core::seal::Opener;
use keyrack_core::token::MasterKey;
use keyrack_core::{LetterId, SecretId, UserId};
use keyrack_store::{INSTANCE, Sealed};
use serde_json::{Value, json};

use super::{ADDED, PUT_INTO_USE, RETIRED};
use crate::engine::{Engine, instance_event};
use crate::keyfile::Keyfile;
use crate::sealing::{DATA_KEYS_MADE, DATA_KEYS_RETIRED};
use crate::secrets::RESEALED;
use crate::{Error, Result};

/// How many values are sealed anew in one transaction.
const BATCH: i64 = 100;
/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Organizations get new data keys.
    DataKeys,
    /// Secrets are sealed anew.
    Secrets,
    /// The texts of keys are.
    KeyTexts,
    /// What belongs to people and to nobody is.
    Rest,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How many are done in this stage.
    pub done: u64,
    /// How many there were to do.
    pub total: u64,
}

/// What came of a rotation.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The number of the master key in use.
    pub master_key: i64,
    /// How many values were sealed anew.
    pub resealed: u64,
    /// What could not be opened, and was left as it is. The key that it is sealed with stays because of it.
    pub unreadable: Vec<String>,
    /// The numbers of the master keys that are given up.
    pub retired: Vec<i64>,
    /// When the last token expires that an older key signed; it stays until then.
    pub kept_until: Option<Timestamp>,
}

/// By what processes tell each other that they have a master key: its number, and what tells it from another one of that number.
pub(crate) fn sign_of(key: &MasterKey) -> String {
    format!("{}:{}", key.id(), key.fingerprint())
}

/// How things stand.
#[derive(Clone, Debug)]
pub struct MasterKeyState {
    /// The number of the one in use.
    pub in_use: i64,
    /// Since when; `None` if that was not noted yet.
    pub since: Option<Timestamp>,
    /// All that the key file holds.
    pub known: Vec<i64>,
    /// How many secrets, and texts of keys, are sealed with a data key of an older one.
    pub secrets_left: u64,
}

impl Engine {
    /// How things stand with the master keys.
    pub async fn master_key_state(&self) -> Result<MasterKeyState> {
        let current = self.master_keys.current()?;
        let mut reader = self.reader().await?;
        let secrets_left = reader.count_secrets_under_older(current.id()).await?
            + reader.count_key_texts_under_older(current.id()).await?;
        let known = self.master_keys.known().iter().map(MasterKey::id).collect();
        let since = self.master_keys.in_use().map(|in_use| in_use.since);
        Ok(MasterKeyState { in_use: current.id(), since, known, secrets_left })
    }

    /// Puts a new master key into use and seals everything anew; or goes on where that was broken off. On the host only.
    pub async fn rotate_master_key(&self, mut tell: impl FnMut(Progress) + Send) -> Result<Rotated> {
        if self.is_resealing_due().await? {
            let finished = self.finish_rotation(&mut tell).await?;
            if finished.resealed > 0 {
                return Ok(finished);
            }
            // What is left cannot be opened, and keeps nothing else from going on.
        }
        let new = self.add_master_key()?;
        self.wait_until_known(new).await?;
        self.put_into_use(new).await?;
        self.finish_rotation(&mut tell).await
    }

    /// Whether something is sealed with an older master key than the one in use.
    pub(super) async fn is_resealing_due(&self) -> Result<bool> {
        let current = self.master_keys.current()?.id();
        let mut reader = self.reader().await?;
        Ok(reader.count_secrets_under_older(current).await? > 0
            || reader.count_key_texts_under_older(current).await? > 0
            || !reader.organizations_without_data_key(current, 1).await?.is_empty()
            || !self.sealed_with_older(current).await?.is_empty())
    }

    /// The number of a master key that the key file has and that is not in use yet. It is made if there is none.
    fn add_master_key(&self) -> Result<i64> {
        let path = self.master_keys.keyfile.as_ref();
        let path =
            path.ok_or_else(|| Error::Refused("there is no key file to put a new master key into".to_owned()))?;
        self.master_keys.read_again();
        let current = self.master_keys.current()?.id();
        let waiting = self.master_keys.known().iter().map(MasterKey::id).filter(|id| *id > current).max();
        if let Some(waiting) = waiting {
            return Ok(waiting);
        }
        let made = Keyfile::add_master_key(path, self.random.as_ref());
        let id = made.map_err(|error| Error::Refused(error.to_string()))?;
        self.master_keys.read_again();
        Ok(id)
    }

    async fn wait_until_known(&self, id: i64) -> Result<()> {
        let key = self.master_keys.find(id).ok_or(Error::internal("the new master key is not in the key file"))?;
        let ask = self.told(ADDED, json!({ "master_key": id }))?;
        self.wait_until_all_have("master key", &sign_of(&key), ask).await
    }

    async fn put_into_use(&self, id: i64) -> Result<()> {
        let key = self.master_keys.find(id).ok_or(Error::internal("the new master key is not in the key file"))?;
        let mut writer = self.store.write(&[INSTANCE]).await?;
        if super::stored(&mut writer).await?.is_some_and(|in_use| in_use.id >= id) {
            // Somebody else has done it meanwhile.
            drop(writer);
            return self.settle_unchanged().await.map(drop);
        }
        super::put(&mut writer, &key, self.now()).await?;
        self.commit(writer, self.told(PUT_INTO_USE, json!({ "master_key": id }))?).await.map(drop)
    }

    /// Seals everything with the master key in use that is sealed with an older one, and gives up those that nothing needs.
    pub(super) async fn finish_rotation(&self, tell: &mut (impl FnMut(Progress) + Send)) -> Result<Rotated> {
        let current = self.master_keys.current()?.id();
        self.make_data_keys(current, tell).await?;
        let mut unreadable = BTreeSet::new();
        let mut resealed = self.reseal_secrets(current, &mut unreadable, tell).await?;
        resealed += self.reseal_key_texts(current, &mut unreadable, tell).await?;
        resealed += self.reseal_rest(current, &mut unreadable, tell).await?;
        let kept_until = self.replace_signing_key(current).await?;
        self.retire_data_keys(current).await?;
        let retired =
            if kept_until.is_none() { self.retire_master_keys(current, &unreadable).await? } else { Vec::new() };
        Ok(Rotated { master_key: current, resealed, unreadable: unreadable.into_iter().collect(), retired, kept_until })
    }

    /// Every organization that has a data key gets one under this master key.
    async fn make_data_keys(&self, master_key: i64, tell: &mut (impl FnMut(Progress) + Send)) -> Result<()> {
        let mut done = 0;
        loop {
            let organizations = self.reader().await?.organizations_without_data_key(master_key, BATCH).await?;
            if organizations.is_empty() {
                return Ok(());
            }
            let mut writer = self.store.write(&organizations).await?;
            for organization in &organizations {
                let newest = writer.newest_data_key(*organization).await?;
                if newest.is_none_or(|newest| newest.master_key < master_key) {
                    self.insert_data_key(&mut writer, *organization).await?;
                }
            }
            let event = self.told(DATA_KEYS_MADE, json!({ "organizations": organizations }))?;
            self.commit(writer, event).await?;
            done += organizations.len() as u64;
            tell(Progress { stage: Stage::DataKeys, done, total: done });
        }
    }

    async fn reseal_secrets(
        &self,
        master_key: i64,
        unreadable: &mut BTreeSet<String>,
        tell: &mut (impl FnMut(Progress) + Send),
    ) -> Result<u64> {
        let total = self.reader().await?.count_secrets_under_older(master_key).await?;
        let (mut done, mut after, mut seen) = (0, None, 0);
        loop {
            let found = self.reader().await?.secrets_under_older(master_key, after, BATCH).await?;
            let Some(last) = found.last() else { return Ok(done) };
            after = Some(last.id);
            seen += found.len() as u64;
            let organizations: BTreeSet<_> = found.iter().map(|secret| secret.organization).collect();
            let organizations: Vec<_> = organizations.into_iter().collect();
            let mut writer = self.store.write(&organizations).await?;
            let mut changed: Vec<SecretId> = Vec::new();
            for secret in found {
                let Some(key) = self.sealing_key(&mut writer, secret.organization).await? else { continue };
                let Some(sealed) = self.reseal_secret(&key, &secret)? else {
                    unreadable.insert(format!("secret {} {}", secret.name, secret.id));
                    continue;
                };
                if writer.reseal_secret(secret.id, key.id(), &sealed, &secret.sealed).await? {
                    changed.push(secret.id);
                }
            }
            if !changed.is_empty() {
                done += changed.len() as u64;
                self.commit(writer, self.told(RESEALED, json!({ "secret_ids": changed }))?).await?;
            }
            tell(Progress { stage: Stage::Secrets, done: seen, total: total.max(seen) });
        }
    }

    async fn reseal_key_texts(
        &self,
        master_key: i64,
        unreadable: &mut BTreeSet<String>,
        tell: &mut (impl FnMut(Progress) + Send),
    ) -> Result<u64> {
        let total = self.reader().await?.count_key_texts_under_older(master_key).await?;
        let (mut done, mut after, mut seen) = (0, None, 0);
        loop {
            let found = self.reader().await?.key_texts_under_older(master_key, after, BATCH).await?;
            let Some(last) = found.last() else { return Ok(done) };
            after = Some(last.key);
            seen += found.len() as u64;
            let organizations: BTreeSet<_> = found.iter().map(|text| text.organization).collect();
            let organizations: Vec<_> = organizations.into_iter().collect();
            let (mut writer, mut changed) = (self.store.write(&organizations).await?, 0);
            for text in found {
                let Some(key) = self.sealing_key(&mut writer, text.organization).await? else { continue };
                match self.reseal_key_text(&key, &text)? {
                    None => drop(unreadable.insert(format!("text of key {} version {}", text.key, text.version))),
                    Some(sealed) => changed += u64::from(writer.reseal_key_text(&text, key.id(), &sealed).await?),
                }
            }
            if changed > 0 {
                done += changed;
                self.commit(writer, self.told("instance.resealed", json!({ "count": changed }))?).await?;
            }
            tell(Progress { stage: Stage::KeyTexts, done: seen, total: total.max(seen) });
        }
    }

    /// What is sealed with an older master key itself.
    async fn sealed_with_older(&self, master_key: i64) -> Result<Vec<Sealed>> {
        let mut reader = self.reader().await?;
        let mut sealed = reader.list_sealed_letters().await?;
        sealed.extend(reader.list_sealed_factors().await?);
        let is_older = |one: &Sealed| match Opener::of(&one.sealed) {
            Some(Opener::MasterKey(id)) => id < master_key,
            // Nothing opens it.
            _ => true,
        };
        Ok(sealed.into_iter().filter(is_older).collect())
    }

    async fn reseal_rest(
        &self,
        master_key: i64,
        unreadable: &mut BTreeSet<String>,
        tell: &mut (impl FnMut(Progress) + Send),
    ) -> Result<u64> {
        let found = self.sealed_with_older(master_key).await?;
        let (total, mut done, mut seen) = (found.len() as u64, 0, 0);
        for batch in found.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let mut writer = self.store.write(&[INSTANCE]).await?;
            for one in batch {
                let place = match one.table {
                    "letter" => crate::letters::place_of(LetterId(one.id)),
                    _ => crate::profile::place_of(UserId(one.id)),
                };
                let Some(value) = self.unseal(&place, &one.sealed) else {
                    unreadable.insert(format!("{} {}", one.table.replace('_', " "), one.id));
                    continue;
                };
                done += u64::from(writer.reseal(one, &self.seal(&place, &value)?).await?);
            }
            self.commit(writer, self.told("instance.resealed", json!({ "count": batch.len() }))?).await?;
            seen += batch.len() as u64;
            tell(Progress { stage: Stage::Rest, done: seen, total });
        }
        Ok(done)
    }

    /// Gives up data keys of other master keys that nothing is sealed with any more.
    async fn retire_data_keys(&self, master_key: i64) -> Result<()> {
        let old = self.reader().await?.data_keys_under_older(master_key).await?;
        for batch in old.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let organizations: Vec<_> = batch.iter().map(|key| key.organization).collect();
            let mut writer = self.store.write(&organizations).await?;
            let mut gone = 0;
            for key in batch {
                gone += i64::from(writer.delete_unused_data_key(key.id).await?);
            }
            if gone > 0 {
                self.commit(writer, self.told(DATA_KEYS_RETIRED, json!({ "count": gone }))?).await?;
            }
        }
        Ok(())
    }

    /// Takes master keys out of the key file that nothing needs.
    async fn retire_master_keys(&self, current: i64, unreadable: &BTreeSet<String>) -> Result<Vec<i64>> {
        let Some(path) = &self.master_keys.keyfile else { return Ok(Vec::new()) };
        let mut needed: BTreeSet<i64> = self.reader().await?.master_keys_of_data_keys().await?.into_iter().collect();
        needed.extend(self.sealed_with_older(current).await?.iter().filter_map(|one| match Opener::of(&one.sealed)? {
            Opener::MasterKey(id) => Some(id),
            Opener::DataKey(_) => None,
        }));
        let known = self.master_keys.known();
        let old: Vec<i64> =
            known.iter().map(MasterKey::id).filter(|id| *id < current && !needed.contains(id)).collect();
        if old.is_empty() || !unreadable.is_empty() {
            // What cannot be opened may be mended by somebody who restores it.
            return Ok(Vec::new());
        }
        Keyfile::remove_master_keys(path, &old).map_err(|error| Error::Refused(error.to_string()))?;
        self.master_keys.read_again();
        let writer = self.store.write(&[INSTANCE]).await?;
        self.commit(writer, self.told(RETIRED, json!({ "master_keys": old }))?).await?;
        Ok(old)
    }

    /// An event of the instance.
    pub(crate) fn told(&self, kind: &'static str, data: Value) -> Result<keyrack_store::NewEvent> {
        let event = instance_event(kind, self.now(), self.random.bytes()?);
        Ok(keyrack_store::NewEvent { data, ..event })
    }
}
