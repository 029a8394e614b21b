//! The life of a key: made or imported, changed, rotated, revoked, deleted.

mod change;
mod create;
mod import;
mod list;
mod rotate;
mod text;

pub use change::KeyPatch;
pub use create::{CreatedKey, NewKey};
pub use import::{ImportKey, MAX_IMPORT};
pub use list::{KeyQuery, Page};
pub use rotate::{DEFAULT_OVERLAP, MAX_OVERLAP, RotateKey, RotatedKey};

use jiff::Timestamp;
use keyrack_core::authority::Excess;
use keyrack_core::scope::Level;
use keyrack_core::{IpAllowlist, KeyId, KeyStatus, PlainKey, RateLimits, Role, ScopeSet, TextHash, WorkspaceId, slow};
use keyrack_store::{ApiKey, HashProfile, KeyGroup, NewSecret, Reader};

use crate::actor::Context;
use crate::directory::Tenant;
use crate::engine::Engine;
use crate::{Error, Result};

/// The largest metadata, in bytes of JSON.
pub const MAX_METADATA: usize = 4096;

/// A key as it is shown: with the names of what it is bound to, and what it is at this moment.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The key.
    pub key: ApiKey,
    /// The name of its group.
    pub group: String,
    /// The slug of its workspace.
    pub workspace: Option<String>,
    /// What it counts as at doors that name roles.
    pub role: Role,
    /// What it is now.
    pub status: KeyStatus,
}

/// A key stronger than who acts on it.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(crate) fn too_strong(excess: Excess) -> Error {
    match excess {
        Excess::Scope(_) | Excess::Group => Error::forbidden("insufficient_scope", excess.to_string()),
        _ => Error::forbidden("insufficient_authority", excess.to_string()),
    }
}

impl Engine {
    /// A key as it is shown.
    pub(crate) fn view(&self, key: ApiKey) -> Result<KeyView> {
        let tenant = self.directory.tenant(key.organization).ok_or(Error::NotFound("organization"))?;
        let group = tenant.groups.get(&key.group).map(|g| g.name.clone()).unwrap_or_default();
        let workspace = key.workspace.and_then(|id| tenant.workspaces.get(&id)).map(|w| w.slug.clone());
        let role = Role::of_key(tenant.is_access_group(key.group));
        let status = key.status(self.now());
        Ok(KeyView { key, group, workspace, role, status })
    }

    /// A key of the context's organization that its actor may see.
    pub(crate) async fn visible_key(&self, reader: &mut Reader, ctx: &Context, id: KeyId) -> Result<ApiKey> {
        let key = reader.find_key(ctx.organization, id).await?;
        let seen = |key: &ApiKey| ctx.actor.workspace().is_none_or(|own| key.workspace == Some(own));
        key.filter(seen).ok_or(Error::NotFound("key"))
    }

    /// Digests a key's hash as its group wants it. Slow where the group's profile is.
    async fn digest_for(&self, group: &KeyGroup, hash: &TextHash) -> Result<Digested> {
        let pepper = self.peppers.current()?;
        let digest = pepper.digest(hash);
        Ok(match group.hash_profile {
            HashProfile::HmacSha256 => {
                Digested { pepper_id: pepper.id(), digest: digest.as_bytes().to_vec(), slow_hash: None }
            }
            HashProfile::Bcrypt => {
                let (hash, salt) = (hash.clone(), self.random.bytes()?);
                let slow_hash = self.slow.run(move || slow::hash(&hash, slow::COST, salt)).await?;
                let slow_hash = Some(slow_hash.ok_or(Error::internal("the key could not be hashed"))?);
                Digested { pepper_id: pepper.id(), digest: digest.as_bytes()[..8].to_vec(), slow_hash }
            }
        })
    }

    /// Draws a new key in its group's format, with what is stored of it.
    async fn draw(
        &self,
        group: &KeyGroup,
        environment: keyrack_core::Environment,
        (version, now): (i64, Timestamp),
    ) -> Result<(PlainKey, NewSecret)> {
        let random = zeroize::Zeroizing::new(self.random.bytes()?);
        let plain = group.key_format.write(environment, &random);
        let digested = self.digest_for(group, &TextHash::of(plain.expose())).await?;
        let display_prefix = group.key_format.display_prefix(&plain).to_owned();
        let secret = digested.into_secret(version, (display_prefix, plain.last4().to_owned()), now);
        Ok((plain, secret))
    }
}

/// What is stored of a key's text.
struct Digested {
    pepper_id: i64,
    digest: Vec<u8>,
    slow_hash: Option<String>,
}

impl Digested {
    fn into_secret(self, version: i64, (display_prefix, last4): (String, String), created_at: Timestamp) -> NewSecret {
        let Self { pepper_id, digest, slow_hash } = self;
        NewSecret { version, pepper_id, digest, slow_hash, display_prefix, last4, created_at }
    }
}

/// Reads `scopes` or `level`; `None` if neither is given.
pub(crate) fn read_scopes(scopes: Option<&[String]>, level: Option<&str>) -> Result<Option<ScopeSet>> {
    match (scopes, level) {
        (Some(_), Some(_)) => Err(Error::invalid("level", "give either scopes or a level")),
        (Some(scopes), None) => {
            let parsed = ScopeSet::parse(scopes);
            parsed.map(Some).map_err(|(at, error)| Error::invalid(format!("scopes[{at}]"), error))
        }
        (None, Some(level)) => {
            let level =
                Level::parse(level).ok_or_else(|| Error::invalid("level", "must be read_only or read_write"))?;
            Ok(Some(level.scopes()))
        }
        (None, None) => Ok(None),
    }
}

/// Reads a list of networks; `None` restricts nothing.
fn read_addresses(networks: Option<&[String]>) -> Result<IpAllowlist> {
    IpAllowlist::parse(networks).map_err(|(at, error)| Error::invalid(format!("ip_allowlist[{at}]"), error))
}

/// Reads rate limits, units and seconds; `None` restricts nothing.
pub(crate) fn read_rate_limits(limits: Option<&[(i64, i64)]>) -> Result<RateLimits> {
    RateLimits::new(limits).map_err(|(at, error)| Error::invalid(format!("rate_limits[{at}]"), error))
}

/// Checks what an owner wants to write down with a key.
fn read_metadata(metadata: Option<serde_json::Value>) -> Result<Option<serde_json::Value>> {
    let Some(metadata) = metadata else { return Ok(None) };
    if !metadata.is_object() {
        return Err(Error::invalid("metadata", "must be a JSON object"));
    }
    let text = metadata.to_string();
    if text.len() > MAX_METADATA {
        return Err(Error::invalid("metadata", format!("must have at most {MAX_METADATA} bytes as JSON")));
    }
    if holds_nul(&metadata) {
        return Err(Error::invalid("metadata", "must not hold NUL"));
    }
    Ok(Some(metadata))
}

fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(list) => list.iter().any(holds_nul),
        serde_json::Value::Object(members) => members.iter().any(|(name, v)| name.contains('\0') || holds_nul(v)),
        _ => false,
    }
}

/// An expiry that has not passed yet.
fn read_expiry(at: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>> {
    match at {
        Some(at) if at <= now => Err(Error::invalid("expires_at", "must be in the future")),
        // Cut to what the database keeps.
        at => Ok(at.map(|at| keyrack_core::from_micros(keyrack_core::micros(at)))),
    }
}

/// The workspace a new key is bound to. Who is bound to one knows of no other.
fn find_workspace(ctx: &Context, tenant: &Tenant, workspace: Option<&str>) -> Result<Option<WorkspaceId>> {
    let Some(name) = workspace else { return Ok(None) };
    let found = tenant.workspace(name).filter(|found| ctx.actor.workspace().is_none_or(|own| own == found.id));
    Ok(Some(found.ok_or_else(|| Error::invalid("workspace", "no such workspace"))?.id))
}
