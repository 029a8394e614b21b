//! Showing keys.

use jiff::{SignedDuration, Timestamp};
use keyrack_core::{KeyId, KeyStatus, micros};
use keyrack_store::{KeyFilter, KeyPosition, KeySort};

use super::KeyView;
use crate::actor::Context;
use crate::engine::Engine;
use crate::{Error, Result};

/// Which keys are wanted, as asked from outside.
#[derive(Clone, Debug, Default)]
pub struct KeyQuery {
    /// The name or id of a group.
    pub group: Option<String>,
    /// The slug or id of a workspace.
    pub workspace: Option<String>,
    /// A state.
    pub status: Option<KeyStatus>,
    /// A part of the name.
    pub name: Option<String>,
    /// Only keys not used for this long, and older than that.
    pub unused_for: Option<SignedDuration>,
    /// The order.
    pub sort: KeySort,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many at most.
    pub limit: i64,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What was found.
    pub data: Vec<T>,
    /// Where the next page starts; `None` if this is the last.
    pub next_cursor: Option<String>,
}

impl Engine {
    /// A key.
    pub async fn get_key(&self, ctx: &Context, id: KeyId) -> Result<KeyView> {
        let key = self.visible_key(&mut self.reader().await?, ctx, id).await?;
        self.view(key)
    }

    /// A page of the organization's keys, or of those in the actor's workspace if it is bound to one.
    pub async fn list_keys(&self, ctx: &Context, query: KeyQuery) -> Result<Page<KeyView>> {
        let tenant = self.tenant(ctx)?;
        let group = query.group.map(|name| tenant.group(&name).map(|g| g.id).ok_or(Error::NotFound("group")));
        let workspace = query.workspace.map(|w| tenant.workspace(&w).map(|w| w.id).ok_or(Error::NotFound("workspace")));
        let workspace = workspace.transpose()?;
        if let (Some(own), Some(asked)) = (ctx.actor.workspace(), workspace)
            && own != asked
        {
            return Err(Error::NotFound("workspace"));
        }
        let now = self.now();
        let unused_since = query.unused_for.map(|age| now.saturating_sub(age).unwrap_or(Timestamp::MIN));
        let after = query.cursor.as_deref().map(read_cursor).transpose()?;
        let filter = KeyFilter {
            group: group.transpose()?,
            workspace: ctx.actor.workspace().or(workspace),
            status: query.status,
            name_contains: query.name,
            unused_since,
            sort: query.sort,
            after,
        };
        let mut keys = self.reader().await?.list_keys(ctx.organization, &filter, now, query.limit + 1).await?;
        let limit = usize::try_from(query.limit).unwrap_or(0);
        let has_more = keys.len() > limit;
        keys.truncate(limit);
        let last = keys.last().filter(|_| has_more);
        let next_cursor =
            last.map(|key| write_cursor(KeyPosition { last_used: key.last_used_at.map_or(0, micros), id: key.id }));
        let data = keys.into_iter().map(|key| self.view(key)).collect::<Result<_>>()?;
        Ok(Page { data, next_cursor })
    }
}

/// A cursor is opaque to callers: 8 bytes of the last use and 16 of the id, in base64url.
fn write_cursor(position: KeyPosition) -> String {
    let mut bytes = position.last_used.to_be_bytes().to_vec();
    bytes.extend(position.id.0.as_bytes());
    data_encoding::BASE64URL_NOPAD.encode(&bytes)
}

fn read_cursor(text: &str) -> Result<KeyPosition> {
    let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 24]>::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| Error::invalid("cursor", "is not one that a list gave out"))?;
    let (mut last_used, mut id) = ([0; 8], [0; 16]);
    last_used.copy_from_slice(&bytes[..8]);
    id.copy_from_slice(&bytes[8..]);
    Ok(KeyPosition { last_used: i64::from_be_bytes(last_used), id: KeyId(uuid::Uuid::from_bytes(id)) })
}
