//! The management API: one file for each kind of thing.

mod audit;
mod groups;
mod health;
mod keys;
mod members;
mod nodes;
mod notifications;
mod organizations;
mod profile;
mod routes;
mod secrets;
mod session;
mod settings;
mod tiers;
mod tokens;
mod usage;
mod verify;
mod workspaces;

use keyrack_client::wire;
use keyrack_core::Action::{Read, Write};
use utoipa_axum::routes;

use crate::app::App;
use crate::endpoint::Endpoints;
use crate::error::ApiError;
use crate::needs::Needs;
use crate::needs::Reach::{Organization, Workspace};

/// How many a list gives if nobody says.
const DEFAULT_LIMIT: i64 = 50;
/// How many a list gives at most.
const MAX_LIMIT: i64 = 200;

/// Every endpoint with what it needs.
pub(crate) fn endpoints(app: App) -> Endpoints {
    Endpoints::new(app, crate::openapi::skeleton())
        .add_vital(Needs::Nothing, routes!(health::live))
        .add_vital(Needs::Nothing, routes!(health::ready))
        .add(Needs::Nothing, routes!(session::sign_in))
        .add(Needs::Anyone, routes!(session::who_am_i))
        .add(Needs::Session, routes!(session::sign_out))
        .add(Needs::Session, routes!(session::step_up))
        .add(Needs::Session, routes!(profile::get))
        .add(Needs::Session, routes!(profile::update))
        .add(Needs::Session, routes!(profile::change_password))
        .add(Needs::Session, routes!(profile::sessions))
        .add(Needs::Session, routes!(profile::end_session))
        .add(Needs::Session, routes!(profile::begin_second_factor, profile::remove_second_factor))
        .add(Needs::Session, routes!(profile::confirm_second_factor))
        .add(Needs::Session, routes!(profile::renew_recovery_codes))
        .add(Needs::Scope("verification", Read), routes!(verify::verify))
        .add(Needs::Scope("verification", Read), routes!(verify::verify_batch))
        .add(Needs::Scope("verification", Read), routes!(verify::introspect))
        .add(Needs::Key, routes!(tokens::create))
        .add(Needs::Instance, routes!(tokens::rotate))
        .add_vital(Needs::Nothing, routes!(tokens::keys))
        .add_vital(Needs::Nothing, routes!(tokens::give_up))
        .add(Needs::Manage("keys", Read, Workspace), routes!(keys::list))
        .add(Needs::Manage("keys", Write, Workspace), routes!(keys::create))
        .add(Needs::Manage("keys", Write, Workspace), routes!(keys::import))
        .add(Needs::Manage("keys", Read, Workspace), routes!(keys::get))
        .add(Needs::Manage("keys", Write, Workspace), routes!(keys::update, keys::delete))
        .add(Needs::Manage("keys", Write, Workspace), routes!(keys::rotate))
        .add_vital(Needs::Manage("keys", Write, Workspace), routes!(keys::revoke))
        .add(Needs::Owner, routes!(keys::reveal))
        .add(Needs::Manage("keys", Read, Workspace), routes!(keys::list_key_secrets))
        .add(Needs::Manage("keys", Write, Workspace), routes!(keys::end_overlap))
        .add(Needs::Manage("keys", Read, Workspace), routes!(usage::of_key))
        .add(Needs::Manage("usage", Read, Workspace), routes!(usage::of_any))
        .add(Needs::Manage("groups", Read, Organization), routes!(groups::list))
        .add(Needs::Manage("groups", Write, Organization), routes!(groups::create))
        .add(Needs::Manage("groups", Read, Organization), routes!(groups::get))
        .add(Needs::Manage("groups", Write, Organization), routes!(groups::update, groups::delete))
        .add(Needs::Manage("workspaces", Read, Workspace), routes!(workspaces::list))
        .add(Needs::Manage("workspaces", Write, Organization), routes!(workspaces::create))
        .add(Needs::Manage("workspaces", Read, Workspace), routes!(workspaces::get))
        .add(Needs::Manage("workspaces", Write, Organization), routes!(workspaces::update, workspaces::delete))
        .add(Needs::Instance, routes!(nodes::list))
        .add(Needs::Access, routes!(organizations::list))
        .add(Needs::Instance, routes!(organizations::create))
        .add(Needs::Manage("organizations", Read, Organization), routes!(organizations::get))
        .add(Needs::Manage("organizations", Write, Organization), routes!(organizations::update))
        .add(Needs::Manage("organizations", Read, Organization), routes!(organizations::quota))
        .add(Needs::Access, routes!(tiers::get))
        .add(Needs::Instance, routes!(tiers::update))
        .add(Needs::Manage("notifications", Read, Organization), routes!(notifications::list))
        .add(Needs::Manage("notifications", Write, Organization), routes!(notifications::read))
        .add(Needs::Manage("members", Read, Organization), routes!(members::list))
        .add(Needs::Manage("members", Write, Organization), routes!(members::add))
        .add(Needs::Manage("members", Write, Organization), routes!(members::update, members::remove))
        .add(Needs::Nothing, routes!(members::accept))
        .add(Needs::Manage("routes", Read, Organization), routes!(routes::list))
        .add(Needs::Manage("routes", Write, Organization), routes!(routes::create))
        .add(Needs::Manage("routes", Read, Organization), routes!(routes::get))
        .add(Needs::Manage("routes", Write, Organization), routes!(routes::update, routes::delete))
        .add(Needs::Manage("routes", Read, Organization), routes!(routes::list_versions))
        .add(Needs::Manage("routes", Read, Organization), routes!(routes::get_version))
        .add(Needs::Manage("routes", Read, Organization), routes!(routes::list_logs))
        .add(Needs::Manage("routes", Read, Organization), routes!(routes::get_metrics))
        .add(Needs::Manage("secrets", Read, Organization), routes!(secrets::list))
        .add(Needs::Manage("secrets", Write, Organization), routes!(secrets::create))
        .add(Needs::Manage("secrets", Read, Organization), routes!(secrets::get))
        .add(Needs::Manage("secrets", Write, Organization), routes!(secrets::update, secrets::delete))
        .add(Needs::Manage("settings", Read, Organization), routes!(settings::get))
        .add(Needs::Manage("settings", Write, Organization), routes!(settings::update))
        .add(Needs::Manage("audit", Read, Organization), routes!(audit::list))
}

/// A list's limit: 1 to [`MAX_LIMIT`].
fn limit(asked: Option<i64>) -> Result<i64, ApiError> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(ApiError::field("limit", format!("must be 1 to {MAX_LIMIT}"))),
    }
}

/// A cursor that is an id or a number.
fn cursor<T: std::str::FromStr>(cursor: Option<&str>) -> Result<Option<T>, ApiError> {
    let read = cursor.map(str::parse).transpose();
    read.map_err(|_| ApiError::field("cursor", "is not one that a list gave out"))
}

/// A list that is never cut.
fn whole<T>(data: Vec<T>) -> wire::Page<T> {
    wire::Page { data, next_cursor: None }
}
