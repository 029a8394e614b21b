//! `/setup`, `/login/invitation`: how people come to have an account.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use http::StatusCode;
use keyrack_engine::{Invitation, NewInstance};
use serde::Deserialize;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Stranger, refused};
use super::sign_in::signed_in_to;
use crate::app::App;
use crate::caller::Peer;
use crate::error::ApiError;
use crate::json::Query;
use crate::request_id::RequestId;
use crate::sign_ins::{self, Client};

/// The token of a link.
#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    token: String,
}

#[derive(Template)]
#[template(path = "console/setup.html")]
struct SetUpPage {
    frame: Frame,
    errors: Errors,
    token: String,
    slug: String,
    name: String,
    email: String,
}

/// `GET /setup`
pub(super) async fn show_set_up(
    State(app): State<App>,
    stranger: Stranger,
    Query(Token { token }): Query<Token>,
    parts: Parts,
) -> Result<Response, ApiError> {
    require_open(&app, &parts, &token).await?;
    let (frame, cookie) = stranger.parts();
    let nothing = String::new;
    let page =
        SetUpPage { frame, errors: Errors::default(), token, slug: nothing(), name: nothing(), email: nothing() };
    Stranger::shown(&page, cookie)
}

/// `POST /setup`: the first organization and its owner, who is signed in at once.
pub(super) async fn set_up(
    State(app): State<App>,
    stranger: Stranger,
    client: Client,
    parts: Parts,
    form: Form,
) -> Result<Response, ApiError> {
    let token = form.raw("token").to_owned();
    require_open(&app, &parts, &token).await?;
    let text = |name| form.text(name).unwrap_or_default();
    let (slug, email, password) = (text("organization"), text("owner_email"), form.raw("password"));
    let new = NewInstance {
        slug: slug.clone(),
        name: form.text("name"),
        tier: None,
        owner_email: email.clone(),
        owner_password: password.to_owned(),
        with_management_key: false,
    };
    match app.engine.initialize(new).await.map_err(ApiError::from) {
        Ok(Some(_)) => {
            app.set_up.close();
            // What is made is made, also if there is too much to do for the password to be looked at again.
            match sign_ins::sign_in(&app, (&email, password), &client).await {
                Ok(signed_in) => signed_in_to(&signed_in, &format!("/organizations/{slug}")),
                Err(_) => Ok(redirect("/login?done=ready")),
            }
        }
        Ok(None) => Err(ApiError::not_found()),
        Err(error) => {
            let errors = Errors::of(error, &["organization", "name", "owner_email", "password"])?;
            let (frame, cookie) = stranger.parts();
            let page = SetUpPage { frame, errors, token, slug, name: text("name"), email };
            Stranger::shown(&page, cookie).map(refused)
        }
    }
}

/// There is nothing here once there is an organization, without the token, and from elsewhere unless that is allowed.
async fn require_open(app: &App, parts: &Parts, token: &str) -> Result<(), ApiError> {
    let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.0);
    let is_near = app.settings.set_up_from_anywhere || peer.is_some_and(|peer| peer.to_canonical().is_loopback());
    if is_near && app.set_up.takes(token) && !app.engine.is_initialized().await? {
        return Ok(());
    }
    Err(ApiError::not_found())
}

#[derive(Template)]
#[template(path = "console/invitation.html")]
struct InvitationPage {
    frame: Frame,
    errors: Errors,
    token: String,
    invitation: Invitation,
    organization: String,
    /// Whether they have an account, and prove it with its password.
    is_known: bool,
}

impl InvitationPage {
    async fn new(app: &App, frame: Frame, token: String, errors: Errors) -> Result<Self, ApiError> {
        let (invitation, is_known) = app.engine.look_at_invitation(&token).await?.ok_or_else(ApiError::not_found)?;
        let tenant = app.engine.directory().tenant(invitation.organization).ok_or_else(ApiError::not_found)?;
        let organization = tenant.organization.name.clone();
        Ok(Self { frame, errors, token, invitation, organization, is_known })
    }
}

/// `GET /login/invitation`
pub(super) async fn show_invitation(
    State(app): State<App>,
    stranger: Stranger,
    Query(Token { token }): Query<Token>,
) -> Result<Response, ApiError> {
    let (frame, cookie) = stranger.parts();
    Stranger::shown(&InvitationPage::new(&app, frame, token, Errors::default()).await?, cookie)
}

/// `POST /login/invitation`: they are a member, and sign in with what they have just given.
pub(super) async fn accept_invitation(
    State(app): State<App>,
    stranger: Stranger,
    client: Client,
    parts: Parts,
    form: Form,
) -> Result<Response, ApiError> {
    let (token, password) = (form.raw("token").to_owned(), form.raw("password"));
    let (frame, cookie) = stranger.parts();
    let page = InvitationPage::new(&app, frame, token, Errors::default()).await?;
    let id = parts.extensions.get::<RequestId>().map(|id| id.0);
    let email = page.invitation.email.clone();
    let joining = app.engine.accept_invitation(&page.token, password, id);
    match sign_ins::as_somebody(&app, &email, &client, joining).await {
        Ok(member) => {
            let signed_in = match sign_ins::sign_in(&app, (&email, password), &client).await {
                Ok(signed_in) if !signed_in.awaits_second_factor => signed_in,
                _ => return Ok(redirect("/login?done=joined")),
            };
            let tenant = app.engine.directory().tenant(member.organization);
            let slug = tenant.map(|tenant| tenant.organization.slug.clone()).unwrap_or_default();
            signed_in_to(&signed_in, &format!("/organizations/{slug}?done=joined"))
        }
        Err(error) => {
            let errors = match error.status {
                StatusCode::UNAUTHORIZED => Errors::on("password", "is not the password of your account"),
                _ => Errors::of(error, &["password"])?,
            };
            Stranger::shown(&InvitationPage { errors, ..page }, cookie).map(refused)
        }
    }
}
