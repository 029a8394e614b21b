//! Tokens: a key is exchanged for one, and at every door it counts as that key is then.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use keyrack_core::carrier::MAX_TOKEN_LENGTH;
use keyrack_core::token::{Claims, Kid, MAX_LIFE, MasterKey, PublicKey, SigningKey, Unverified};
use keyrack_core::{ScopeSet, from_micros, micros};
use keyrack_store::{INSTANCE, Reader, SubjectKind, Writer};
use serde::{Deserialize, Serialize};

use crate::actor::Context;
use crate::engine::{Engine, Subject};
use crate::keys::read_scopes;
use crate::verify::{Candidate, KnownKey};
use crate::{Error, Result};

/// The setting of the instance that says which signing keys there are.
const SIGNING_KEYS: &str = "signing_keys";
/// The event by which they change.
pub(crate) const SIGNING_KEY_MADE: &str = "signing_key.made";
/// How long a new signing key is known before it signs: by then every process and whoever reads the published keys once in a while
/// can check its tokens. In microseconds.
const KNOWN_BEFORE: i64 = 10_000_000;
/// How many tokens whose signature was right are remembered: checking one takes fifty times as long as deciding about a key.
const REMEMBERED: usize = 1 << 13;

/// A signing key as the database has it: its number, under which it follows from the master key, and its time. The key itself
/// stands nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Numbered {
    number: u32,
    master_key: i64,
    signs_from: Timestamp,
    /// From when on its tokens are not taken: all of them have expired by then.
    retires_at: Option<Timestamp>,
}

/// The signing keys of an instance, the newest last.
#[derive(Default)]
pub(crate) struct Signing(Vec<(Numbered, SigningKey, PublicKey)>);

impl Signing {
    fn of(numbered: &[Numbered], master_keys: &[MasterKey]) -> Result<Self> {
        let derive = |one: &Numbered| {
            let master_key = master_keys.iter().find(|key| key.id() == one.master_key)?;
            let key = SigningKey::derive(master_key, one.number)?;
            let public = key.public()?;
            Some((*one, key, public))
        };
        let keys = numbered.iter().map(derive).collect::<Option<Vec<_>>>();
        Ok(Self(keys.ok_or(Error::internal("the key file lacks a master key that signing keys were made with"))?))
    }

    /// The one that signs now.
    fn signing(&self, now: Timestamp) -> Option<&SigningKey> {
        let keys = self.0.iter().rev();
        keys.filter(|(key, ..)| key.signs_from <= now && key.retires_at.is_none_or(|at| now < at)).map(|k| &k.1).next()
    }

    fn public(&self, now: Timestamp) -> impl Iterator<Item = PublicKey> + '_ {
        self.0.iter().filter(move |(key, ..)| key.retires_at.is_none_or(|at| now < at)).map(|key| key.2)
    }

    fn find(&self, kid: Kid, now: Timestamp) -> Option<PublicKey> {
        self.public(now).find(|key| key.kid() == kid)
    }
}

/// Tokens whose signature was found right, by a hash of their text.
pub(crate) struct Remembered {
    hash: RandomState,
    places: Box<[ArcSwapOption<Checked>]>,
}

/// A token whose signature was right.
struct Checked {
    digest: [u8; 32],
    kid: Kid,
    claims: Arc<Claims>,
}

impl Default for Remembered {
    fn default() -> Self {
        let places = std::iter::repeat_with(ArcSwapOption::empty).take(REMEMBERED).collect();
        Self { hash: RandomState::new(), places }
    }
}

impl Remembered {
    fn place(&self, digest: &[u8; 32]) -> &ArcSwapOption<Checked> {
        &self.places[usize::try_from(self.hash.hash_one(digest)).unwrap_or(0) % REMEMBERED]
    }
}

/// A token that was made.
pub struct MadeToken {
    /// Its text.
    pub text: String,
    /// From when on it is not taken.
    pub expires_at: Timestamp,
    /// What it may do of all that the key may; `None` for all of it.
    pub scopes: Option<ScopeSet>,
}

/// What is kept of signing keys for the instance: which there are, and which tokens they have been seen to sign.
#[derive(Default)]
pub(crate) struct Tokens {
    signing: ArcSwap<Signing>,
    remembered: Remembered,
}

impl Tokens {
    /// Reads which signing keys there are.
    pub(crate) async fn load(&self, reader: &mut Reader, master_keys: &[MasterKey]) -> Result<()> {
        let numbered = Self::numbered(reader, master_keys).await?;
        self.signing.store(Arc::new(Signing::of(&numbered, master_keys)?));
        Ok(())
    }

    /// At first there is one, of the first master key, and nothing says so.
    async fn numbered(reader: &mut Reader, master_keys: &[MasterKey]) -> Result<Vec<Numbered>> {
        let stored = reader.find_setting(INSTANCE, SIGNING_KEYS).await?;
        if let Some(stored) = stored {
            let read = serde_json::from_value(stored);
            return read.map_err(|_| Error::internal("the setting signing_keys cannot be read"));
        }
        let first = |key: &MasterKey| Numbered {
            number: 1,
            master_key: key.id(),
            signs_from: Timestamp::UNIX_EPOCH,
            retires_at: None,
        };
        Ok(master_keys.iter().min_by_key(|key| key.id()).map(first).into_iter().collect())
    }

    /// What a token says, if its signature is right.
    fn check(&self, text: &str, now: Timestamp) -> Option<Arc<Claims>> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        let signing = self.signing.load();
        let place = self.remembered.place(&bytes);
        if let Some(checked) = place.load().as_ref().filter(|checked| checked.digest == bytes) {
            return signing.find(checked.kid, now).map(|_| Arc::clone(&checked.claims));
        }
        let token = Unverified::read(text).ok()?;
        let claims = Arc::new(token.verify(&signing.find(token.kid(), now)?).ok()?);
        place.store(Some(Arc::new(Checked { digest: bytes, kid: token.kid(), claims: Arc::clone(&claims) })));
        Some(claims)
    }
}

impl Engine {
    /// The key that a token stands for, as it is now: its signature first, then the key and the secret it was exchanged for. Its
    /// expiry counts with theirs.
    pub(crate) fn identify_token(&self, text: &str, now: Timestamp) -> Option<Candidate> {
        let claims = self.tokens.check(text, now)?;
        // It may have been moved since: another pepper is in use.
        let mut places = std::iter::successors(Some(claims.locator), |left| self.peppers.place_after(*left));
        let record = places.find_map(|place| self.keyring.find_secret(place, claims.key, claims.secret_version))?;
        let tenant = record.profile.tenant.load();
        Some(Candidate::of(KnownKey { record, tenant, token: Some(claims) }))
    }

    /// Exchanges a key for a token that lives so many seconds at most, and may do no more than these scopes if they are given.
    /// It never outlives the key, nor the secret.
    pub fn make_token(&self, key: &KnownKey, scopes: Option<&[String]>, seconds: Option<i64>) -> Result<MadeToken> {
        if key.token.is_some() {
            return Err(Error::forbidden("token_not_accepted", "a token is no key, and makes no other"));
        }
        let seconds = seconds.unwrap_or(MAX_LIFE);
        if !(1..=MAX_LIFE).contains(&seconds) {
            return Err(Error::invalid("expires_in", format!("must be 1 to {MAX_LIFE}")));
        }
        let facts = key.facts();
        let scopes = read_scopes(scopes, None)?;
        if let Some(lacking) = scopes.as_ref().and_then(|scopes| facts.scopes.covers(scopes).err()) {
            let message = format!("the token would have the scope {lacking}, which the key does not have");
            return Err(Error::forbidden("insufficient_scope", message));
        }
        let now = self.now();
        let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        let ends_at = Self::ends_at(key).unwrap_or(Timestamp::MAX);
        let expires_at = whole(ends_at.min(from_micros(micros(now) + seconds * 1_000_000)));
        let claims = Claims {
            key: facts.key,
            secret_version: key.record.version,
            locator: key.record.locator(),
            organization: facts.organization,
            tier: key.tenant.organization.tier,
            scopes: scopes.clone(),
            issued_at: whole(now),
            expires_at,
        };
        let signing = self.tokens.signing.load();
        let signed = signing.signing(now).and_then(|signing| signing.sign(&claims));
        let text = signed.ok_or(Error::internal("a token could not be signed"))?;
        if text.len() > MAX_TOKEN_LENGTH {
            return Err(Error::invalid("scopes", "are too many for a token; leave them out for all that the key may"));
        }
        Ok(MadeToken { text, expires_at, scopes })
    }

    /// The public halves of the keys whose tokens are taken, the newest last.
    pub fn token_keys(&self) -> Vec<PublicKey> {
        self.tokens.signing.load().public(self.now()).collect()
    }

    /// Makes a new signing key. Tokens of the one before are taken until all of them have expired. A matter of the instance.
    pub async fn rotate_signing_key(&self, ctx: &Context) -> Result<()> {
        Self::only_instance_admin(ctx)?;
        let (mut writer, _) = self.begin_beside(ctx, Some(INSTANCE)).await?;
        let data = self.add_signing_key(&mut writer).await?;
        let subject = Subject { kind: SubjectKind::Setting, id: ctx.organization.0, name: SIGNING_KEYS, data };
        let event = self.event(ctx, SIGNING_KEY_MADE, subject)?;
        self.commit(writer, event).await.map(drop)
    }

    /// Makes a new signing key if the newest is of another master key than this one. When the last token of those expires; `None` once
    /// none is taken any more.
    pub(crate) async fn replace_signing_key(&self, master_key: i64) -> Result<Option<Timestamp>> {
        let mut writer = self.store.write(&[INSTANCE]).await?;
        let known = self.master_keys.known();
        let numbered = Tokens::numbered(&mut writer, &known).await?;
        if numbered.last().is_some_and(|newest| newest.master_key != master_key) {
            let data = self.add_signing_key(&mut writer).await?;
            self.commit(writer, self.told(SIGNING_KEY_MADE, data)?).await?;
        } else {
            drop(writer);
        }
        let now = self.now();
        let mut writer = self.store.write(&[INSTANCE]).await?;
        let mut numbered = Tokens::numbered(&mut writer, &known).await?;
        let others = numbered.iter().filter(|key| key.master_key != master_key);
        let last = others.filter_map(|key| key.retires_at).max();
        if last.is_none_or(|last| now < last) {
            return Ok(last);
        }
        numbered.retain(|key| key.master_key == master_key);
        writer.put_setting(INSTANCE, SIGNING_KEYS, &serde_json::json!(numbered), now).await?;
        let data = serde_json::json!({ "kept": numbered.len() });
        self.commit(writer, self.told(SIGNING_KEY_MADE, data)?).await?;
        Ok(None)
    }

    async fn add_signing_key(&self, writer: &mut Writer) -> Result<serde_json::Value> {
        let now = self.now();
        let mut numbered = Tokens::numbered(writer, &self.master_keys.known()).await?;
        let signs_from = from_micros(micros(now) + KNOWN_BEFORE);
        let retires_at = from_micros(micros(signs_from) + MAX_LIFE * 1_000_000);
        numbered.retain(|key| key.retires_at.is_none_or(|at| now < at));
        for key in &mut numbered {
            key.retires_at = Some(key.retires_at.map_or(retires_at, |at| at.min(retires_at)));
        }
        let master_key = self.master_keys.current()?.id();
        let number = numbered.last().map_or(1, |key| key.number + 1);
        numbered.push(Numbered { number, master_key, signs_from, retires_at: None });
        writer.put_setting(INSTANCE, SIGNING_KEYS, &serde_json::json!(numbered), now).await?;
        Ok(serde_json::json!({ "number": number, "signs_from": signs_from }))
    }

    /// A key gives itself up: whoever has its text may. Returns when it lets nobody in. Text that is no live key changes nothing,
    /// and nobody is told.
    pub async fn give_up(&self, text: &str, request_id: Option<uuid::Uuid>) -> Result<()> {
        self.require_serving()?;
        let known = self.identify(text, self.now()).await?.and_then(Candidate::known);
        let Some(key) = known else { return Ok(()) };
        let facts = key.facts();
        let actor = crate::actor::Actor::Key {
            id: facts.key,
            name: key.record.name.to_string(),
            organization: facts.organization,
            workspace: None,
            is_instance_admin: false,
        };
        let ctx = Context { actor, organization: facts.organization, required: None, request_id, idempotency: None };
        // Not by what the key may do: also one that is switched off, or of an organization that is, must not come back to life.
        let writer = self.store.write(&[facts.organization]).await?;
        match self.revoke(&ctx, writer, facts.key, Some("given up by itself".to_owned())).await {
            // It is gone, and was never seen by whoever deleted it.
            Err(Error::NotFound(_)) => self.settle_unchanged().await.map(drop),
            done => done.map(drop),
        }
    }
}

/// Whether text is too long for a key, so that it can only be a token.
pub(crate) fn could_be_token(text: &str) -> bool {
    text.len() > keyrack_core::format::MAX_KEY_LENGTH && text.len() <= keyrack_core::carrier::MAX_TOKEN_LENGTH
}
