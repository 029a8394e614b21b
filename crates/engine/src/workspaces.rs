//! Workspaces of an organization.

use keyrack_core::status::Switch;
use keyrack_core::{WorkspaceId, name};
use keyrack_store::{ApiKey, NewEvent, SubjectKind, Workspace, Writer};

use crate::actor::Context;
use crate::engine::{Engine, Subject};
use crate::{Error, Result};

/// The most keys one deletion takes along; more are deleted by hand first.
const MAX_TAKEN_ALONG: i64 = 100_000;

impl Engine {
    /// Makes a workspace.
    pub async fn create_workspace(&self, ctx: &Context, slug: &str, title: Option<&str>) -> Result<Workspace> {
        let slug = name::slug(slug).map_err(|e| Error::invalid("slug", e))?;
        let name = name::name(title.unwrap_or(&slug)).map_err(|e| Error::invalid("name", e))?;
        let now = self.now();
        let id = WorkspaceId::new(now, self.random_id()?);
        let (mut writer, _) = self.begin(ctx).await?;
        let workspace = Workspace { id, organization: ctx.organization, slug, name, created_at: now, updated_at: now };
        writer.insert_workspace(&workspace).await?;
        let event = self.event(ctx, "workspace.created", about(&workspace))?;
        self.commit(writer, event).await?;
        Ok(workspace)
    }

    /// The workspaces the actor may see.
    pub async fn list_workspaces(&self, ctx: &Context) -> Result<Vec<Workspace>> {
        let mut all = self.reader().await?.list_workspaces(ctx.organization).await?;
        all.retain(|w| ctx.actor.workspace().is_none_or(|own| own == w.id));
        Ok(all)
    }

    /// A workspace.
    pub async fn get_workspace(&self, ctx: &Context, id: WorkspaceId) -> Result<Workspace> {
        let seen = ctx.actor.workspace().is_none_or(|own| own == id);
        let found = self.reader().await?.find_workspace(ctx.organization, id).await?;
        found.filter(|_| seen).ok_or(Error::NotFound("workspace"))
    }

    /// Renames a workspace. Its slug stays.
    pub async fn rename_workspace(&self, ctx: &Context, id: WorkspaceId, title: &str) -> Result<Workspace> {
        let name = name::name(title).map_err(|e| Error::invalid("name", e))?;
        let (mut writer, _) = self.begin(ctx).await?;
        let before = writer.find_workspace(ctx.organization, id).await?.ok_or(Error::NotFound("workspace"))?;
        if before.name == name {
            return Ok(before);
        }
        let workspace = Workspace { name, updated_at: self.now(), ..before };
        writer.update_workspace(&workspace).await?;
        let event = self.event(ctx, "workspace.changed", about(&workspace))?;
        self.commit(writer, event).await?;
        Ok(workspace)
    }

    /// Deletes a workspace. One with live keys, or one that a route names, is left alone; with `revoke_keys` the keys bound
    /// to it are revoked along with it.
    pub async fn delete_workspace(&self, ctx: &Context, id: WorkspaceId, revoke_keys: bool) -> Result<()> {
        let (mut writer, _) = self.begin(ctx).await?;
        let workspace = writer.find_workspace(ctx.organization, id).await?.ok_or(Error::NotFound("workspace"))?;
        self.refuse_if_named(ctx, &mut writer, |guard| guard.names_workspace(&workspace.id.to_string())).await?;
        if !revoke_keys {
            let live = writer.keys_of_workspace(ctx.organization, id, Some(self.now()), 10).await?;
            refuse_live(&live)?;
        }
        let keys = writer.keys_of_workspace(ctx.organization, id, None, MAX_TAKEN_ALONG + 1).await?;
        let (first, more) = self.bury(ctx, &mut writer, keys, "workspace.deleted", about(&workspace)).await?;
        writer.delete_workspace(ctx.organization, id).await?;
        self.commit_all(writer, first, more).await.map(|_| ())
    }

    /// Deletes keys along with what they were bound to, and tells of it: one event for each thousand of them.
    pub(crate) async fn bury(
        &self,
        ctx: &Context,
        writer: &mut Writer,
        keys: Vec<ApiKey>,
        kind: &'static str,
        subject: Subject<'_>,
    ) -> Result<(NewEvent, Vec<NewEvent>)> {
        if keys.len() > usize::try_from(MAX_TAKEN_ALONG).unwrap_or(usize::MAX) {
            return Err(Error::conflict("too_many_keys", "there are too many keys; delete some of them first"));
        }
        let mut events = Vec::new();
        for batch in keys.chunks(1000) {
            let names: Vec<_> = batch.iter().map(|k| serde_json::json!({ "id": k.id, "name": k.name })).collect();
            let ids: Vec<_> = batch.iter().map(|k| k.id).collect();
            writer.delete_keys(ctx.organization, &ids, self.now()).await?;
            let data = serde_json::json!({ "keys": names, "key_ids": ids });
            events.push(self.event(ctx, "key.deleted_along", Subject { data, ..subject.clone() })?);
        }
        let last = self.event(ctx, kind, subject)?;
        events.push(last);
        let first = events.remove(0);
        Ok((first, events))
    }
}

/// Refuses to delete what live keys depend on.
pub(crate) fn refuse_live(live: &[ApiKey]) -> Result<()> {
    let names: Vec<String> = live.iter().filter(|k| k.switch != Switch::Revoked).map(|k| k.name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let message = "there are live keys; revoke them first, or give revoke_keys=true".to_owned();
    Err(Error::Conflict { code: "has_live_keys", message, details: names })
}

fn about(workspace: &Workspace) -> Subject<'_> {
    let data = serde_json::json!({ "name": workspace.name });
    Subject { kind: SubjectKind::Workspace, id: workspace.id.0, name: &workspace.slug, data }
}
