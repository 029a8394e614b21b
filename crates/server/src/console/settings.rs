//! `/organizations/{organization}/settings`

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_engine::{OrganizationPatch, SettingsPatch};

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::overview::Quota;
use super::show;
use crate::app::App;
use crate::error::ApiError;

#[derive(Template)]
#[template(path = "console/settings.html")]
struct SettingsPage {
    frame: Frame,
    errors: Errors,
    name: String,
    slug: String,
    /// Groups, and whether their keys may manage.
    groups: Vec<(String, bool)>,
    quota: Quota,
    limits: Vec<String>,
    tiers: Vec<(&'static str, Option<String>)>,
    min_password: usize,
    /// How long sessions last, and whether that is what this organization asks.
    session_hours: Vec<(i64, bool)>,
    needs_second_factor: bool,
}

async fn page(app: &App, visit: Visit, errors: Errors) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let tenant = visit.tenant(app)?;
    let organization = &tenant.organization;
    let access = |group: &keyrack_engine::KeyGroup| (group.name.clone(), tenant.access_groups.contains(&group.id));
    let mut groups: Vec<_> = tenant.groups.values().map(access).collect();
    groups.sort();
    let tiers = app.engine.tiers();
    let all = [keyrack_core::Tier::Free, keyrack_core::Tier::Pro, keyrack_core::Tier::Enterprise];
    let rules = app.engine.sign_in_rules(&visit.context)?;
    let usual = keyrack_engine::SESSION_LENGTH.as_hours();
    let chosen = rules.session_hours.unwrap_or(usual);
    let mut hours = vec![1, 2, 4, 8, usual, chosen];
    hours.sort_unstable();
    hours.dedup();
    let page = SettingsPage {
        errors,
        name: organization.name.clone(),
        slug: organization.slug.clone(),
        groups,
        quota: Quota::new(&app.engine.quota_use(&visit.context).await?, organization.tier.as_str(), visit.frame.now),
        limits: show::limits(&organization.rate_limits),
        tiers: all.into_iter().map(|tier| (tier.as_str(), tiers.limit(tier).map(show::count))).collect(),
        min_password: keyrack_engine::MIN_PASSWORD,
        session_hours: hours.iter().map(|hours| (*hours, *hours == chosen)).collect(),
        needs_second_factor: rules.second_factor,
        frame: visit.frame,
    };
    let response = shown(&page);
    if is_refused { response.map(refused) } else { response }
}

/// `GET`
pub(super) async fn show(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    page(&app, visit, Errors::default()).await
}

/// `POST`: the name of the organization.
pub(super) async fn rename(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let patch = OrganizationPatch { name: Some(form.raw("name").to_owned()), ..OrganizationPatch::default() };
    let changed = app.engine.update_organization(&visit.context, patch).await;
    done(&app, visit, changed.map(drop).map_err(ApiError::from)).await
}

/// `POST .../settings/access`: the groups whose keys may manage.
pub(super) async fn set_access(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let set = app.engine.set_access_groups(&visit.context, &form.words("group")).await;
    done(&app, visit, set.map_err(ApiError::from)).await
}

/// `POST .../settings/sign-in`: what is asked of people who are signed in.
pub(super) async fn set_sign_in(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let hours = form.raw("session_hours").parse().map_err(|_| ApiError::field("session_hours", "choose one"));
    let usual = keyrack_engine::SESSION_LENGTH.as_hours();
    let set = match hours {
        Ok(hours) => {
            let patch = SettingsPatch {
                second_factor: Some(form.has("second_factor")),
                session_hours: Some(Some(hours).filter(|hours| *hours != usual)),
                ..SettingsPatch::default()
            };
            app.engine.update_settings(&visit.context, patch).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    done(&app, visit, set).await
}

async fn done(app: &App, visit: Visit, changed: Result<(), ApiError>) -> Result<Response, ApiError> {
    match changed {
        Ok(()) => Ok(redirect(&format!("{}/settings?done=settings-changed", visit.frame.base()))),
        Err(error) => page(app, visit, Errors::of(error, &["name", "access_groups", "session_hours"])?).await,
    }
}
