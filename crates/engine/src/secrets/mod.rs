//! Secrets: making, changing, showing and deleting them, and giving callers theirs.

mod held;

use keyrack_core::seal::DataKey;
use keyrack_core::secret::{SecretError, secret_name};
use keyrack_core::{Authority, KeyId, SecretId, SecretScope, SecretText, name};
use keyrack_store::{Reader, Secret, SecretFilter, SubjectKind, Writer};
use serde_json::json;
use zeroize::Zeroizing;

pub(crate) use self::held::Secrets;
use self::held::place_of;
use crate::actor::Context;
use crate::engine::{Engine, Subject};
use crate::keys::Page;
use crate::{Error, Result};

/// The event by which secrets are sealed anew.
pub(crate) const RESEALED: &str = "secrets.resealed";
/// The kinds of scopes.
const SCOPES: [&str; 4] = ["global", "route", "group", "key"];

/// What a secret is to be.
#[derive(Clone)]
pub struct NewSecret {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Zeroizing<String>,
    /// `global`, `route`, `group` or `key`.
    pub scope: String,
    /// What it belongs to: a route or a group by name or id, a key by id. Nothing for `global`.
    pub owner: Option<String>,
    /// What it is for.
    pub comment: Option<String>,
}

/// What of a secret is to change.
#[derive(Clone, Default)]
pub struct SecretPatch {
    /// A new value.
    pub value: Option<Zeroizing<String>>,
    /// A new comment.
    pub comment: Option<String>,
}

/// Which secrets are wanted.
#[derive(Clone, Debug, Default)]
pub struct SecretQuery {
    /// Of this name.
    pub name: Option<String>,
    /// Of this kind of scope.
    pub scope: Option<String>,
    /// Of this owner; goes with the scope.
    pub owner: Option<String>,
    /// Where the page before ended.
    pub after: Option<SecretId>,
    /// How many at most.
    pub limit: i64,
}

impl Engine {
    /// Makes a secret.
    pub async fn create_secret(&self, ctx: &Context, new: NewSecret) -> Result<Secret> {
        let name = secret_name(&new.name).map_err(|e| Error::invalid("name", e))?.to_owned();
        let value = read_value(new.value)?;
        let comment = read_comment(new.comment.as_deref().unwrap_or_default())?;
        // Looked at before a data key is made for it, and once more inside the change.
        self.scope(&mut self.reader().await?, ctx, &new.scope, new.owner.as_deref()).await?;
        let (mut writer, _, key) = self.begin_sealing(ctx).await?;
        let (scope, owner_name) = self.scope(&mut writer, ctx, &new.scope, new.owner.as_deref()).await?;
        let now = self.now();
        let (id, organization) = (SecretId::new(now, self.random_id()?), ctx.organization);
        let place = place_of(organization, id, scope, &name);
        let sealed = key.seal(&place, value.expose().as_bytes(), self.random.bytes()?);
        let secret = Secret {
            id,
            organization,
            name,
            scope,
            owner_name,
            data_key: key.id(),
            sealed: sealed.ok_or(Error::internal("a secret could not be sealed"))?,
            size: size(&value),
            comment,
            created_at: now,
            updated_at: now,
        };
        writer.insert_secret(&secret).await?;
        let event = self.event(ctx, "secret.created", about(&secret))?;
        self.commit(writer, event).await?;
        Ok(secret)
    }

    /// A page of the organization's secrets, without their values.
    pub async fn list_secrets(&self, ctx: &Context, query: SecretQuery) -> Result<Page<Secret>> {
        let mut reader = self.reader().await?;
        let scope = query.scope.as_deref().map(|word| {
            let known = SCOPES.into_iter().find(|known| *known == word);
            known.ok_or_else(|| Error::invalid("scope", "must be global, route, group or key"))
        });
        let scope = scope.transpose()?;
        let owner = match (scope, query.owner) {
            (_, None) => None,
            (Some(scope), Some(owner)) => self.scope(&mut reader, ctx, scope, Some(&owner)).await?.0.owner(),
            (None, Some(_)) => return Err(Error::invalid("owner", "goes with a scope: route, group or key")),
        };
        if let Some(name) = &query.name {
            secret_name(name).map_err(|error| Error::invalid("name", error))?;
        }
        let filter = SecretFilter { name: query.name, scope, owner, after: query.after };
        let mut secrets = reader.list_secrets(ctx.organization, &filter, query.limit + 1).await?;
        let limit = usize::try_from(query.limit).unwrap_or(0);
        let has_more = secrets.len() > limit;
        secrets.truncate(limit);
        let next_cursor = secrets.last().filter(|_| has_more).map(|secret| secret.id.to_string());
        Ok(Page { data: secrets, next_cursor })
    }

    /// A secret, without its value.
    pub async fn get_secret(&self, ctx: &Context, id: SecretId) -> Result<Secret> {
        self.reader().await?.find_secret(ctx.organization, id).await?.ok_or(Error::NotFound("secret"))
    }

    /// The values of secrets, for whoever may read them. The audit log tells of it before they are shown.
    pub async fn reveal_secrets(&self, ctx: &Context, secrets: &[Secret]) -> Result<Vec<SecretText>> {
        let values = secrets.iter().map(|secret| {
            let Secret { id, organization, name, scope, sealed, .. } = secret;
            self.open_secret(&place_of(*organization, *id, *scope, name), sealed)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let (writer, _) = self.begin(ctx).await?;
        let told = secrets.iter().map(|secret| self.event(ctx, "secret.revealed", about(secret)));
        let mut told = told.collect::<Result<Vec<_>>>()?.into_iter();
        if let Some(first) = told.next() {
            self.commit_all(writer, first, told.collect()).await?;
        }
        Ok(values)
    }

    /// Changes a secret.
    pub async fn update_secret(&self, ctx: &Context, id: SecretId, patch: SecretPatch) -> Result<Secret> {
        let value = patch.value.map(read_value).transpose()?;
        let comment = patch.comment.as_deref().map(read_comment).transpose()?;
        self.get_secret(ctx, id).await?;
        let (mut writer, _, key) = self.begin_sealing(ctx).await?;
        let before = writer.find_secret(ctx.organization, id).await?.ok_or(Error::NotFound("secret"))?;
        let mut after = before.clone();
        if let Some(comment) = comment {
            after.comment = comment;
        }
        if let Some(value) = &value {
            let place = place_of(ctx.organization, id, after.scope, &after.name);
            let sealed = key.seal(&place, value.expose().as_bytes(), self.random.bytes()?);
            after.sealed = sealed.ok_or(Error::internal("a secret could not be sealed"))?;
            (after.data_key, after.size) = (key.id(), size(value));
        }
        if after == before {
            drop(writer);
            self.settle_unchanged().await?;
            return Ok(before);
        }
        after.updated_at = self.now();
        writer.update_secret(&after).await?;
        let event = self.event(ctx, "secret.changed", about(&after))?;
        self.commit(writer, event).await?;
        Ok(after)
    }

    /// Deletes a secret.
    pub async fn delete_secret(&self, ctx: &Context, id: SecretId) -> Result<()> {
        let (mut writer, _) = self.begin(ctx).await?;
        let secret = writer.find_secret(ctx.organization, id).await?.ok_or(Error::NotFound("secret"))?;
        writer.delete_secret(ctx.organization, id).await?;
        let event = self.event(ctx, "secret.deleted", about(&secret))?;
        self.commit(writer, event).await.map(drop)
    }

    /// Begins a change that seals something. The master key may be changed just then; it is not changed twice.
    pub(crate) async fn begin_sealing(&self, ctx: &Context) -> Result<(Writer, Authority, DataKey)> {
        for _ in 0..3 {
            self.ensure_data_key(ctx).await?;
            let (mut writer, authority) = self.begin(ctx).await?;
            if let Some(key) = self.sealing_key(&mut writer, ctx.organization).await? {
                return Ok((writer, authority, key));
            }
            drop(writer);
            self.catch_up().await?;
        }
        Err(Error::Unavailable("the master key is just being changed", None))
    }

    /// The value of a secret sealed with another data key; `None` if it cannot be opened.
    pub(crate) fn reseal_secret(&self, key: &DataKey, secret: &Secret) -> Result<Option<Vec<u8>>> {
        let place = place_of(secret.organization, secret.id, secret.scope, &secret.name);
        let Some(value) = self.data_keys.open(&place, &secret.sealed) else { return Ok(None) };
        let sealed = key.seal(&place, &value, self.random.bytes()?);
        sealed.map(Some).ok_or(Error::internal("a secret could not be sealed"))
    }

    /// The scope that is meant, and what its owner is called.
    async fn scope(
        &self,
        reader: &mut Reader,
        ctx: &Context,
        word: &str,
        owner: Option<&str>,
    ) -> Result<(SecretScope, Option<String>)> {
        let owner = match (word, owner) {
            ("global", None) => return Ok((SecretScope::Global, None)),
            ("global", Some(_)) => return Err(Error::invalid("owner", "does not go with the scope global")),
            ("route" | "group" | "key", Some(owner)) => owner,
            ("route" | "group" | "key", None) => {
                return Err(Error::invalid("owner", format!("is missing: which {word}?")));
            }
            _ => return Err(Error::invalid("scope", "must be global, route, group or key")),
        };
        let (scope, name) = match word {
            "route" => {
                let routes = reader.list_routes(ctx.organization).await?;
                let mut named = routes.into_iter().filter(|route| route.name == owner || route.id.to_string() == owner);
                let route = named.next().ok_or_else(|| Error::invalid("owner", "no such route"))?;
                if named.next().is_some() {
                    return Err(Error::invalid("owner", "several routes have this name; give an id"));
                }
                (SecretScope::Route(route.id), route.name)
            }
            "group" => {
                let tenant = self.tenant(ctx)?;
                let id = tenant.group(owner).ok_or_else(|| Error::invalid("owner", "no such group"))?.id;
                let group = reader.find_group(ctx.organization, id).await?;
                let group = group.ok_or_else(|| Error::invalid("owner", "no such group"))?;
                (SecretScope::Group(group.id), group.name)
            }
            _ => {
                let id: KeyId = owner.parse().map_err(|_| Error::invalid("owner", "must be the id of a key"))?;
                let key = reader.find_key(ctx.organization, id).await?;
                let key = key.ok_or_else(|| Error::invalid("owner", "no such key"))?;
                (SecretScope::Key(key.id), key.name)
            }
        };
        Ok((scope, Some(name)))
    }
}

fn read_value(value: Zeroizing<String>) -> Result<SecretText> {
    SecretText::new(value).map_err(|error: SecretError| Error::invalid("value", error))
}

fn read_comment(comment: &str) -> Result<String> {
    name::description(comment).map_err(|error| Error::invalid("comment", error))
}

fn size(value: &SecretText) -> i64 {
    i64::try_from(value.expose().len()).unwrap_or(i64::MAX)
}

fn about(secret: &Secret) -> Subject<'_> {
    let data = json!({
        "scope": secret.scope.as_str(),
        "owner": secret.scope.owner(),
        "owner_name": secret.owner_name,
        "size": secret.size,
        "comment": secret.comment,
    });
    Subject { kind: SubjectKind::Secret, id: secret.id.0, name: &secret.name, data }
}
