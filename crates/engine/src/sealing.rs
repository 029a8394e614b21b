//! What the database holds encrypted, under keys that it does not hold.
//!
//! What belongs to an organization is sealed with a data key of its own; the database has that wrapped, that is sealed with the master
//! key. What belongs to a person or to nobody (second factors, letters) is sealed with the master key itself.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use keyrack_core::seal::{self, DATA_KEY, DataKey, NONCE, Opener};
use keyrack_core::token::MasterKey;
use keyrack_core::{DataKeyId, OrganizationId};
use keyrack_store::{Reader, SubjectKind, WrappedKey, Writer};
use serde_json::json;
use zeroize::Zeroizing;

use crate::actor::Context;
use crate::engine::{Engine, Subject};
use crate::{Error, Result};

/// The event by which an organization gets a data key.
pub(crate) const DATA_KEY_MADE: &str = "data_key.made";
/// The event by which several organizations get one each, under a new master key.
pub(crate) const DATA_KEYS_MADE: &str = "data_keys.made";
/// The event by which data keys go that nothing is sealed with any more.
pub(crate) const DATA_KEYS_RETIRED: &str = "data_keys.retired";

/// The data keys of the instance, unwrapped.
#[derive(Default)]
pub(crate) struct DataKeys(ArcSwap<Known>);

#[derive(Clone, Default)]
struct Known {
    all: HashMap<DataKeyId, Arc<DataKey>>,
    /// What an organization's values are sealed with now, and the number of the master key that it is wrapped with.
    newest: HashMap<OrganizationId, (DataKeyId, i64)>,
}

impl Known {
    fn add(&mut self, master_keys: &[MasterKey], wrapped: &WrappedKey) {
        let opened = unwrapped(master_keys, wrapped);
        let Some(key) = opened else {
            tracing::error!(data_key = %wrapped.id, master_key = wrapped.master_key, "a data key cannot be opened; what it sealed is closed");
            return;
        };
        self.all.insert(wrapped.id, Arc::new(key));
        let newest = self.newest.get(&wrapped.organization);
        if newest.is_none_or(|(id, by)| (*by, *id) <= (wrapped.master_key, wrapped.id)) {
            self.newest.insert(wrapped.organization, (wrapped.id, wrapped.master_key));
        }
    }
}

fn place_of(organization: OrganizationId, id: DataKeyId) -> Vec<u8> {
    seal::place(&[b"data_key", organization.0.as_bytes(), id.0.as_bytes()])
}

fn unwrapped(master_keys: &[MasterKey], wrapped: &WrappedKey) -> Option<DataKey> {
    let master_key = master_keys.iter().find(|key| key.id() == wrapped.master_key)?;
    let place = place_of(wrapped.organization, wrapped.id);
    let bytes = seal::open(master_key, &place, &wrapped.wrapped)?;
    DataKey::new(wrapped.id, bytes.first_chunk().filter(|_| bytes.len() == DATA_KEY)?)
}

impl DataKeys {
    /// Reads all of them.
    pub(crate) async fn load(&self, reader: &mut Reader, master_keys: &[MasterKey]) -> Result<()> {
        let mut known = Known::default();
        for wrapped in reader.list_data_keys().await? {
            known.add(master_keys, &wrapped);
        }
        self.0.store(Arc::new(known));
        Ok(())
    }

    /// Reads the newest of these organizations.
    pub(crate) async fn load_newest(
        &self,
        reader: &mut Reader,
        master_keys: &[MasterKey],
        organizations: impl IntoIterator<Item = OrganizationId>,
    ) -> Result<()> {
        let mut known = Known::clone(&self.0.load());
        for organization in organizations {
            if let Some(wrapped) = reader.newest_data_key(organization).await? {
                known.add(master_keys, &wrapped);
            }
        }
        self.0.store(Arc::new(known));
        Ok(())
    }

    /// Opens what a data key sealed for this place.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let Opener::DataKey(id) = Opener::of(sealed)? else { return None };
        self.0.load().all.get(&id)?.open(place, sealed)
    }

    fn newest(&self, organization: OrganizationId) -> Option<(DataKeyId, i64)> {
        self.0.load().newest.get(&organization).copied()
    }
}

impl Engine {
    /// Makes sure that the context's organization has a data key under the master key in use. One is made in a change of its own: it is
    /// known before anything is sealed with it, and does no harm if nothing is.
    pub(crate) async fn ensure_data_key(&self, ctx: &Context) -> Result<()> {
        let master_key = self.master_keys.current()?.id();
        let is_there = || self.data_keys.newest(ctx.organization).is_some_and(|(_, by)| by == master_key);
        if is_there() {
            return Ok(());
        }
        let (mut writer, _) = self.begin(ctx).await?;
        if self.sealing_key(&mut writer, ctx.organization).await?.is_some() {
            // Somebody else has just made one.
            drop(writer);
            return self.settle_unchanged().await.map(drop);
        }
        let id = self.insert_data_key(&mut writer, ctx.organization).await?;
        let data = json!({ "master_key": master_key });
        let subject = Subject { kind: SubjectKind::Instance, id: id.0, name: "data key", data };
        let event = self.event(ctx, DATA_KEY_MADE, subject)?;
        self.commit(writer, event).await.map(drop)
    }

    /// What values of an organization are sealed with now, as the database says inside a change: what is sealed with it is no data key's
    /// that is just being given up. `None` if there is none under the master key in use, or none that this process knows yet.
    pub(crate) async fn sealing_key(
        &self,
        reader: &mut Reader,
        organization: OrganizationId,
    ) -> Result<Option<DataKey>> {
        let newest = reader.newest_data_key(organization).await?;
        let current = self.master_keys.current()?.id();
        let known = self.master_keys.known();
        let is_usable =
            |newest: &WrappedKey| newest.master_key >= current && known.iter().any(|key| key.id() == newest.master_key);
        let Some(newest) = newest.filter(is_usable) else { return Ok(None) };
        let key = unwrapped(&known, &newest);
        key.map(Some).ok_or(Error::internal("a data key cannot be opened"))
    }

    /// Gives an organization a data key under the master key in use.
    pub(crate) async fn insert_data_key(&self, writer: &mut Writer, organization: OrganizationId) -> Result<DataKeyId> {
        let master_key = self.master_keys.current()?;
        let (now, bytes) = (self.now(), Zeroizing::new(self.random.bytes::<DATA_KEY>()?));
        let id = DataKeyId::new(now, self.random_id()?);
        let wrapped = seal::seal(&master_key, &place_of(organization, id), &*bytes, self.random.bytes()?);
        let wrapped = wrapped.ok_or(Error::internal("a data key could not be sealed"))?;
        let master_key = master_key.id();
        writer.insert_data_key(&WrappedKey { id, organization, master_key, wrapped, created_at: now }).await?;
        Ok(id)
    }

    /// Seals a value for its place with the master key in use, such as a table and the id of a row.
    pub(crate) fn seal(&self, place: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE] = self.random.bytes()?;
        let sealed = seal::seal(&self.master_keys.current()?, place, value, nonce);
        sealed.ok_or(Error::internal("a value could not be sealed"))
    }

    /// Opens it again. `None` if it was changed or moved, or if the key file lacks its master key.
    pub(crate) fn unseal(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let Opener::MasterKey(id) = Opener::of(sealed)? else { return None };
        seal::open(&self.master_keys.find(id)?, place, sealed)
    }
}
