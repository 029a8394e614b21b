//! What is around every page: who is signed in, where they are, and what the browser needs for it.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, StatusCode, Uri};
use jiff::Timestamp;
use keyrack_core::Role;
use keyrack_engine::{Context, Person, Tenant};

use super::{form, statics, toasts};
use crate::app::App;
use crate::caller::{self, Caller};
use crate::cookie;
use crate::doors::host;
use crate::error::ApiError;

/// A number that allows the scripts and styles of one answer, and of no other.
#[derive(Clone)]
pub(super) struct Nonce(Arc<str>);

impl Nonce {
    pub(super) fn draw(app: &App) -> Result<Self, ApiError> {
        Ok(Self(BASE64URL_NOPAD.encode(&app.engine.random_128()?).into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What every page shows around what it is about.
pub(super) struct Frame {
    /// Allows our script and style.
    pub(super) nonce: Nonce,
    /// Where those stand.
    pub(super) statics: &'static statics::Addresses,
    /// Shows that a form is from a page of ours.
    pub(super) form_token: String,
    /// What has just been done.
    pub(super) toast: Option<toasts::Toast>,
    /// Who is signed in.
    pub(super) person: Option<FramedPerson>,
    /// Where they are.
    pub(super) organization: Option<FramedOrganization>,
    /// Where else they could be.
    pub(super) organizations: Vec<FramedOrganization>,
    /// Which part of the console this is, by the segment of its path.
    pub(super) section: String,
    /// How many notifications they have not read.
    pub(super) unread: u64,
    /// The present moment.
    pub(super) now: Timestamp,
    /// Where the server is reached, as the browser says: for examples.
    pub(super) origin: String,
}

/// Who is signed in.
pub(super) struct FramedPerson {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) is_instance_admin: bool,
}

/// An organization by its names.
pub(super) struct FramedOrganization {
    pub(super) slug: String,
    pub(super) name: String,
    /// Whether whoever looks manages it.
    pub(super) is_managed: bool,
}

impl Frame {
    /// Around a page that needs nobody.
    pub(super) fn bare(app: &App, parts: &Parts) -> Result<Self, ApiError> {
        let nonce = parts.extensions.get::<Nonce>().cloned().ok_or_else(ApiError::internal)?;
        Ok(Self {
            nonce,
            statics: statics::addresses(),
            form_token: form::token(&parts.headers).unwrap_or_default(),
            toast: toasts::of(&parts.uri),
            person: None,
            organization: None,
            organizations: Vec::new(),
            section: section_of(&parts.uri),
            unread: 0,
            now: app.engine.now(),
            origin: origin(app, parts),
        })
    }

    /// Around a page for whoever calls.
    pub(super) async fn of(app: &App, parts: &Parts, caller: &Caller) -> Result<Self, ApiError> {
        let frame = Self::of_person(app, parts, caller.person()?).await?;
        let manages = frame.organization.as_ref().is_some_and(|organization| organization.is_managed);
        let unread = if manages { app.engine.count_unread(&caller.context).await? } else { 0 };
        Ok(Self { unread, ..frame })
    }

    /// The same where it is not known what they may do.
    pub(super) async fn of_person(app: &App, parts: &Parts, person: &Person) -> Result<Self, ApiError> {
        let organizations = app.engine.list_own_organizations(person).await?;
        let framed = |slug: &str, name: &str, role: Option<Role>| FramedOrganization {
            slug: slug.to_owned(),
            name: name.to_owned(),
            is_managed: role.is_some_and(|role| role >= Role::Admin),
        };
        let tenant = person.role.and_then(|_| app.engine.directory().tenant(person.organization));
        let organization =
            tenant.map(|tenant| framed(&tenant.organization.slug, &tenant.organization.name, person.role));
        Ok(Self {
            person: Some(FramedPerson {
                name: person.name.clone(),
                email: person.email.clone(),
                is_instance_admin: person.is_instance_admin,
            }),
            organization,
            organizations: organizations.iter().map(|(o, role)| framed(&o.slug, &o.name, Some(*role))).collect(),
            ..Self::bare(app, parts)?
        })
    }

    /// The beginning of all addresses of the organization.
    pub(super) fn base(&self) -> String {
        format!("/organizations/{}", self.organization.as_ref().map_or("", |organization| &organization.slug))
    }

    /// `page` if this is the section, for `aria-current`.
    pub(super) fn is_in(&self, section: &str) -> bool {
        self.section == section
    }
}

/// The segment of a page's path that says which part of the console it belongs to.
fn section_of(uri: &Uri) -> String {
    let mut segments = uri.path().split('/').skip(1);
    let section = match (segments.next(), segments.next()) {
        (Some("organizations"), Some(_)) => segments.next().unwrap_or("overview"),
        (first, _) => first.unwrap_or_default(),
    };
    section.to_owned()
}

/// Where the browser reaches us.
fn origin(app: &App, parts: &Parts) -> String {
    let host = host::host(&parts.headers, &parts.uri).ok().flatten();
    let scheme = caller::scheme(app, &parts.headers, &parts.extensions);
    format!("{scheme}://{}", host.as_ref().map_or("localhost", |host| host.as_str()))
}

/// Somebody who is signed in looks at a page, or sends a form of one.
pub(super) struct Visit {
    /// Who asks, for which organization.
    pub(super) context: Context,
    /// The person.
    pub(super) person: Person,
    /// What is around the page.
    pub(super) frame: Frame,
}

impl Visit {
    /// The organization that the page is about.
    pub(super) fn tenant(&self, app: &App) -> Result<Arc<Tenant>, ApiError> {
        app.engine.directory().tenant(self.context.organization).ok_or_else(ApiError::not_found)
    }
}

impl FromRequestParts<App> for Visit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let frame = Frame::of(app, parts, &caller).await?;
        let person = caller.person()?.clone();
        Ok(Self { context: caller.context, person, frame })
    }
}

/// Somebody looks at a page who need not be signed in.
pub(super) struct Stranger {
    /// What is around the page.
    pub(super) frame: Frame,
    /// The cookie that forms of theirs are known by, if it is a new one.
    cookie: Option<HeaderValue>,
}

impl Stranger {
    /// Answers with a page.
    pub(super) fn shown(page: &impl Template, cookie: Option<HeaderValue>) -> Result<Response, ApiError> {
        let mut response = shown(page)?;
        if cookie.is_some() {
            cookie::put(&mut response, cookie)?;
        }
        Ok(response)
    }

    /// The frame, and the cookie to set.
    pub(super) fn parts(self) -> (Frame, Option<HeaderValue>) {
        (self.frame, self.cookie)
    }
}

impl FromRequestParts<App> for Stranger {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let mut frame = Frame::bare(app, parts)?;
        let mut new = None;
        if frame.form_token.is_empty() {
            let value = BASE64URL_NOPAD.encode(&app.engine.random_128()?);
            frame.form_token = form::token_of(&value);
            new = cookie::set(form::COOKIE, &value, form::COOKIE_SECONDS);
        }
        Ok(Self { frame, cookie: new })
    }
}

/// Answers with a page.
pub(super) fn shown(page: &impl Template) -> Result<Response, ApiError> {
    match page.render() {
        Ok(page) => Ok(Html(page).into_response()),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            Err(ApiError::internal())
        }
    }
}

/// The same of a page whose form is shown again: something in it cannot be taken.
pub(super) fn refused(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response
}
