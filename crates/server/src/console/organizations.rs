//! `/organizations`: which there are, and new ones.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::Tier;
use keyrack_engine::NewOrganization;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use crate::app::App;
use crate::error::ApiError;

struct Row {
    slug: String,
    name: String,
    role: &'static str,
    tier: &'static str,
    state: &'static str,
}

#[derive(Template)]
#[template(path = "console/organizations.html")]
struct OrganizationsPage {
    frame: Frame,
    errors: Errors,
    rows: Vec<Row>,
    slug: String,
    name: String,
    tier: String,
}

async fn page(
    app: &App,
    visit: Visit,
    errors: Errors,
    (slug, name, tier): (String, String, String),
) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let organizations = app.engine.list_own_organizations(&visit.person).await?.into_iter();
    let rows = organizations.map(|(organization, role)| Row {
        role: role.as_str(),
        slug: organization.slug,
        name: organization.name,
        tier: organization.tier.as_str(),
        state: organization.state.as_str(),
    });
    let rows = rows.collect();
    let response = shown(&OrganizationsPage { frame: visit.frame, errors, rows, slug, name, tier });
    if is_refused { response.map(refused) } else { response }
}

/// `GET`
pub(super) async fn list(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    page(&app, visit, Errors::default(), (String::new(), String::new(), "free".to_owned())).await
}

/// `POST`: a new one, whose owner is whoever makes it. For instance admins.
pub(super) async fn create(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let (slug, name, tier) = (form.raw("slug").trim().to_owned(), form.text("name"), form.raw("tier").to_owned());
    let new = NewOrganization { slug: slug.clone(), name: name.clone(), tier: Tier::parse(&tier), owner_email: None };
    match app.engine.create_organization(&visit.context, new).await.map_err(ApiError::from) {
        Ok(made) => Ok(redirect(&format!("/organizations/{}?done=organization-created", made.slug))),
        Err(error) => {
            let errors = Errors::of(error, &["slug", "name", "tier"])?;
            page(&app, visit, errors, (slug, name.unwrap_or_default(), tier)).await
        }
    }
}
