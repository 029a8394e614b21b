//! Secrets in memory, still sealed, and which of them a caller is given.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use compact_str::CompactString;
use keyrack_core::secret::Seeker;
use keyrack_core::{OrganizationId, SecretId, SecretScope, SecretText, seal};
use keyrack_store::{Event, Reader, Secret};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::{Error, Result};

/// Into how many parts they are divided: a change copies one.
const PARTS: usize = 1 << 10;
/// How many are read at once.
const PAGE: i64 = 1000;

/// A secret, sealed.
pub(crate) struct Held {
    id: SecretId,
    organization: OrganizationId,
    name: CompactString,
    scope: SecretScope,
    sealed: Box<[u8]>,
}

impl Held {
    fn of(secret: Secret) -> Self {
        let Secret { id, organization, name, scope, sealed, .. } = secret;
        Self { id, organization, name: name.into(), scope, sealed: sealed.into() }
    }
}

/// What belongs to one owner, by name.
type Owned = HashMap<CompactString, Arc<Held>>;
/// By owner: a route, a group, a key, or the organization itself.
type Part = HashMap<Uuid, Arc<Owned>>;

/// All secrets of the instance.
pub(crate) struct Secrets {
    hash: RandomState,
    parts: Box<[ArcSwap<Part>]>,
}

impl Default for Secrets {
    fn default() -> Self {
        let parts = std::iter::repeat_with(ArcSwap::default).take(PARTS).collect();
        Self { hash: RandomState::new(), parts }
    }
}

fn owner_of(organization: OrganizationId, scope: SecretScope) -> Uuid {
    scope.owner().unwrap_or(organization.0)
}

impl Secrets {
    fn part(&self, owner: Uuid) -> &ArcSwap<Part> {
        &self.parts[usize::try_from(self.hash.hash_one(owner)).unwrap_or(0) % PARTS]
    }

    fn change(&self, owner: Uuid, change: impl FnOnce(&mut Owned)) {
        let mut part = Part::clone(&self.part(owner).load());
        let mut all = part.remove(&owner).map(|known| Owned::clone(&known)).unwrap_or_default();
        change(&mut all);
        if !all.is_empty() {
            part.insert(owner, Arc::new(all));
        }
        self.part(owner).store(Arc::new(part));
    }

    /// Puts a secret in the place of what was known of it.
    fn put(&self, secret: Secret) {
        let held = Held::of(secret);
        let owner = owner_of(held.organization, held.scope);
        self.change(owner, |owned| drop(owned.insert(held.name.clone(), Arc::new(held))));
    }

    fn remove(&self, owner: Uuid, id: SecretId) {
        self.change(owner, |owned| owned.retain(|_, held| held.id != id));
    }

    /// Forgets what belonged to somebody who is gone.
    pub(crate) fn forget(&self, owner: Uuid) {
        if self.part(owner).load().contains_key(&owner) {
            self.change(owner, Owned::clear);
        }
    }

    fn find(&self, organization: OrganizationId, scope: SecretScope, name: &str) -> Option<Arc<Held>> {
        let owner = owner_of(organization, scope);
        let part = self.part(owner).load();
        let held = part.get(&owner)?.get(name)?;
        (held.organization == organization && held.scope == scope).then(|| Arc::clone(held))
    }

    /// Reads all of them.
    pub(crate) async fn load(&self, reader: &mut Reader) -> Result<()> {
        let mut parts: Vec<Part> = std::iter::repeat_with(Part::new).take(PARTS).collect();
        let mut after = None;
        loop {
            let page = reader.list_all_secrets(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for secret in page {
                let held = Held::of(secret);
                let owner = owner_of(held.organization, held.scope);
                let part = &mut parts[usize::try_from(self.hash.hash_one(owner)).unwrap_or(0) % PARTS];
                let all = Arc::make_mut(part.entry(owner).or_default());
                all.insert(held.name.clone(), Arc::new(held));
            }
        }
        for (known, part) in self.parts.iter().zip(parts) {
            known.store(Arc::new(part));
        }
        Ok(())
    }

    /// Reads those anew that an event lists.
    async fn apply_all(&self, reader: &mut Reader, event: &Event) -> Result<()> {
        let listed = event.data.get("secret_ids").and_then(serde_json::Value::as_array).into_iter().flatten();
        for id in listed.filter_map(serde_json::Value::as_str).filter_map(|id| id.parse().ok()) {
            if let Some(secret) = reader.find_secret_anywhere(id).await? {
                self.put(secret);
            }
        }
        Ok(())
    }

    /// Reads anew what an event about secrets is about.
    pub(crate) async fn apply(&self, reader: &mut Reader, event: &Event) -> Result<()> {
        if event.kind == super::RESEALED {
            return self.apply_all(reader, event).await;
        }
        let Some(id) = event.subject_id.map(SecretId) else { return Ok(()) };
        if let Some(secret) = reader.find_secret_anywhere(id).await? {
            self.put(secret);
            return Ok(());
        }
        let word = event.data.get("scope").and_then(serde_json::Value::as_str).unwrap_or_default();
        let owner = event.data.get("owner").and_then(serde_json::Value::as_str).and_then(|id| id.parse().ok());
        if let (Some(scope), Some(organization)) = (SecretScope::of(word, owner), event.organization) {
            self.remove(owner_of(organization, scope), id);
        }
        Ok(())
    }
}

/// Where the value of a secret belongs: nowhere else does it open.
pub(super) fn place_of(organization: OrganizationId, id: SecretId, scope: SecretScope, name: &str) -> Vec<u8> {
    let owner = owner_of(organization, scope);
    let (organization, id) = (organization.0.as_bytes(), id.0.as_bytes());
    seal::place(&[b"secret", organization, id, scope.as_str().as_bytes(), owner.as_bytes(), name.as_bytes()])
}

impl Engine {
    /// The secret of this name that a caller is given. Where the one that counts for them cannot be opened, they are given none of
    /// those that count less: it might let them do more.
    pub fn secret_for(&self, seeker: &Seeker, name: &str) -> Result<Option<SecretText>> {
        let mut scopes = seeker.scopes();
        let held = scopes.find_map(|scope| self.secrets.find(seeker.organization, scope, name));
        held.map(|held| self.opened(&held)).transpose()
    }

    /// The secret of this name and this kind of scope (`global`, `route`, `group`, `key`) that a caller is given.
    pub fn secret_of(&self, seeker: &Seeker, scope: &str, name: &str) -> Result<Option<SecretText>> {
        let mut scopes = seeker.scopes().filter(|known| known.as_str() == scope);
        let held = scopes.find_map(|scope| self.secrets.find(seeker.organization, scope, name));
        held.map(|held| self.opened(&held)).transpose()
    }

    /// Every secret of this name that a caller could be given, the one that counts first.
    pub fn secrets_for(&self, seeker: &Seeker, name: &str) -> Result<Vec<(SecretScope, SecretText)>> {
        let held = seeker.scopes().filter_map(|scope| self.secrets.find(seeker.organization, scope, name));
        held.map(|held| Ok((held.scope, self.opened(&held)?))).collect()
    }

    fn opened(&self, held: &Held) -> Result<SecretText> {
        self.open_secret(&place_of(held.organization, held.id, held.scope, &held.name), &held.sealed)
    }

    pub(super) fn open_secret(&self, place: &[u8], sealed: &[u8]) -> Result<SecretText> {
        let bytes = self.data_keys.open(place, sealed);
        let text = bytes.and_then(|bytes| std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned())));
        let text = text.and_then(|text| SecretText::new(text).ok());
        text.ok_or(Error::internal("a secret cannot be opened: it was changed, or the key file lacks its master key"))
    }
}
