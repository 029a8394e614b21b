//! What scripts of routes said before.

use keyrack_core::RouteId;
use keyrack_store::{Route, ScriptVersion, Writer};

use super::Target;
use crate::actor::Context;
use crate::engine::Engine;
use crate::{Error, Result};

/// How many versions are kept, the newest among them.
const KEPT: i64 = 50;

impl Engine {
    /// The versions of a route's script, the newest first. None if it is no script and never was.
    pub async fn list_script_versions(&self, ctx: &Context, id: RouteId) -> Result<Vec<ScriptVersion>> {
        let mut reader = self.reader().await?;
        reader.find_route(ctx.organization, id).await?.ok_or(Error::NotFound("route"))?;
        Ok(reader.list_script_versions(id, KEPT).await?)
    }

    /// A version of a route's script.
    pub async fn get_script_version(&self, ctx: &Context, id: RouteId, version: i64) -> Result<ScriptVersion> {
        let mut reader = self.reader().await?;
        reader.find_route(ctx.organization, id).await?.ok_or(Error::NotFound("route"))?;
        reader.find_script_version(id, version).await?.ok_or(Error::NotFound("version"))
    }
}

/// Keeps what the script of a route says, if it says something new.
pub(super) async fn keep_version(writer: &mut Writer, route: &Route) -> Result<()> {
    let Ok(Target::Script(script)) = serde_json::from_value(route.target.clone()) else { return Ok(()) };
    let newest = writer.list_script_versions(route.id, 1).await?.pop();
    if newest.as_ref().is_some_and(|newest| newest.source == script.source) {
        return Ok(());
    }
    let version = newest.map_or(0, |newest| newest.version) + 1;
    let added = ScriptVersion { version, source: script.source, created_at: route.updated_at };
    writer.insert_script_version(route.id, &added).await?;
    Ok(writer.forget_script_versions(route.id, version - KEPT).await?)
}

/// A target as the audit log tells of it: of a script the length. What it says is among its versions.
pub(super) fn without_source(target: &serde_json::Value) -> serde_json::Value {
    let mut told = target.clone();
    if let Some(source) = told.get_mut("source") {
        let length = source.as_str().map_or(0, str::len);
        *source = serde_json::json!(format!("{length} bytes"));
    }
    told
}
