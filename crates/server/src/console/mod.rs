//! The console: pages for people, written here as HTML.
//!
//! A page does what an endpoint of the API does, by the same function of the engine and for the same callers ([`Needs`]); it only asks
//! and tells in another way. It works without JavaScript but for copying and live views.

mod audit;
mod begin;
mod charts;
mod entry;
mod error_page;
mod explain;
mod form;
mod frame;
mod groups;
mod keys;
mod members;
mod notifications;
mod organizations;
mod overview;
mod profile;
mod routes;
mod scripts;
mod secrets;
mod settings;
mod show;
mod sign_in;
mod statics;
mod toasts;
mod workspaces;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use keyrack_core::Action::{Read, Write};

use self::entry::{Entry, enter, render};
use crate::app::App;
use crate::needs::Needs;
use crate::needs::Reach::{Organization, Workspace};

/// Pages with whom they are for.
struct Pages {
    app: App,
    router: Router<App>,
}

impl Pages {
    fn add(mut self, needs: Needs, path: &'static str, methods: MethodRouter<App>) -> Self {
        let entry = Entry::new(self.app.clone(), path, needs);
        self.router = self.router.route(path, methods.layer(from_fn_with_state(entry, enter)));
        self
    }
}

/// `/organizations/{organization}` and what is behind it.
macro_rules! at {
    ($path:literal) => {
        concat!("/organizations/{organization}", $path)
    };
}

/// Every page.
pub(crate) fn router(app: App) -> Router<App> {
    let manage = |resource, action| Needs::Manage(resource, action, Organization);
    let keys = |action| Needs::Manage("keys", action, Workspace);
    let pages = Pages { app, router: Router::new() }
        .add(Needs::Nothing, "/login", get(sign_in::show).post(sign_in::send))
        .add(Needs::Nothing, "/login/code", post(sign_in::send_code))
        .add(Needs::Session, "/logout", post(sign_in::sign_out))
        .add(Needs::Nothing, "/setup", get(begin::show_set_up).post(begin::set_up))
        .add(Needs::Nothing, "/login/invitation", get(begin::show_invitation).post(begin::accept_invitation))
        .add(Needs::Session, "/organizations", get(organizations::list).post(organizations::create))
        .add(Needs::Session, "/profile", get(profile::show).post(profile::rename))
        .add(Needs::Session, "/profile/password", post(profile::change_password))
        .add(Needs::Session, "/profile/step-up", get(profile::show_step_up).post(profile::step_up))
        .add(Needs::Session, "/profile/sessions/{id}/end", post(profile::end_session))
        .add(Needs::Session, "/profile/second-factor", post(profile::begin_second_factor))
        .add(Needs::Session, "/profile/second-factor/confirm", post(profile::confirm_second_factor))
        .add(Needs::Session, "/profile/second-factor/remove", post(profile::remove_second_factor))
        .add(Needs::Session, "/profile/recovery-codes", post(profile::renew_codes))
        .add(Needs::Anyone, at!(""), get(overview::show))
        .add(keys(Read), at!("/keys"), get(keys::list::show))
        .add(keys(Write), at!("/keys/new"), get(keys::create::show).post(keys::create::create))
        .add(keys(Write), at!("/keys/selected"), post(keys::selected::act))
        .add(keys(Read), at!("/keys/{id}"), get(keys::page::show))
        .add(keys(Read), at!("/keys/{id}/secrets"), get(keys::page::secrets_in_use))
        .add(keys(Write), at!("/keys/{id}/secrets/{version}/end"), post(keys::rotate::end_secret))
        .add(Needs::Owner, at!("/keys/{id}/reveal"), post(keys::reveal::reveal))
        .add(keys(Write), at!("/keys/{id}/edit"), get(keys::change::show).post(keys::change::change))
        .add(keys(Write), at!("/keys/{id}/switch"), post(keys::change::switch))
        .add(keys(Write), at!("/keys/{id}/rotate"), get(keys::rotate::show).post(keys::rotate::rotate))
        .add(keys(Write), at!("/keys/{id}/revoke"), get(keys::end::show).post(keys::end::revoke))
        .add(keys(Write), at!("/keys/{id}/delete"), post(keys::end::delete))
        .add(manage("groups", Read), at!("/groups"), get(groups::list))
        .add(manage("groups", Write), at!("/groups/new"), get(groups::show_new).post(groups::create))
        .add(manage("groups", Write), at!("/groups/{id}"), get(groups::show).post(groups::change))
        .add(manage("groups", Write), at!("/groups/{id}/delete"), post(groups::delete))
        .add(manage("workspaces", Write), at!("/workspaces"), get(workspaces::list).post(workspaces::create))
        .add(manage("workspaces", Write), at!("/workspaces/{id}"), post(workspaces::rename))
        .add(manage("workspaces", Write), at!("/workspaces/{id}/delete"), post(workspaces::delete))
        .add(manage("members", Write), at!("/members"), get(members::list).post(members::invite))
        .add(manage("members", Write), at!("/members/{id}"), post(members::change))
        .add(manage("members", Write), at!("/members/{id}/remove"), post(members::remove))
        .add(manage("members", Write), at!("/invitations/{id}/withdraw"), post(members::withdraw))
        .add(manage("routes", Read), at!("/routes"), get(routes::list))
        .add(manage("routes", Write), at!("/routes/new"), get(routes::show_new).post(routes::create))
        .add(manage("routes", Write), at!("/routes/{id}"), get(routes::show).post(routes::change))
        .add(manage("routes", Write), at!("/routes/{id}/switch"), post(routes::switch))
        .add(manage("routes", Write), at!("/routes/{id}/delete"), post(routes::delete))
        .add(manage("routes", Write), at!("/routes/{id}/script"), get(scripts::show).post(scripts::save))
        .add(manage("secrets", Read), at!("/routes/{id}/script/try"), post(scripts::try_it))
        .add(manage("routes", Read), at!("/routes/{id}/log"), get(scripts::log))
        .add(manage("secrets", Read), at!("/secrets"), get(secrets::list))
        .add(manage("secrets", Write), at!("/secrets/new"), get(secrets::show_new).post(secrets::create))
        .add(manage("secrets", Write), at!("/secrets/{id}"), get(secrets::show).post(secrets::change))
        .add(manage("secrets", Read), at!("/secrets/{id}/value"), post(secrets::reveal))
        .add(manage("secrets", Write), at!("/secrets/{id}/delete"), post(secrets::delete))
        .add(manage("audit", Read), at!("/explain"), get(explain::show).post(explain::explain))
        .add(Needs::Manage("usage", Read, Workspace), at!("/usage"), get(overview::usage))
        .add(manage("audit", Read), at!("/audit"), get(audit::show))
        .add(manage("notifications", Read), at!("/notifications"), get(notifications::list).post(notifications::read))
        .add(manage("settings", Write), at!("/settings"), get(settings::show).post(settings::rename))
        .add(manage("settings", Write), at!("/settings/access"), post(settings::set_access))
        .add(manage("settings", Write), at!("/settings/sign-in"), post(settings::set_sign_in));
    pages.router.route("/static/{file}", get(statics::get))
}

/// Answers as the console does where the request is for one of its pages, whether there is such a page or not.
pub(crate) fn around(app: App, router: Router<App>) -> Router<App> {
    router.layer(from_fn_with_state(app, render))
}

/// Whether a path is one of a page.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("login" | "logout" | "setup" | "organizations" | "profile"))
}
