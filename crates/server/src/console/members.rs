//! `/organizations/{organization}/members`: people and their roles.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use keyrack_core::{InvitationId, Role, UserId};
use keyrack_engine::{Invited, NewMember};
use uuid::Uuid;

use super::entry::redirect;
use super::form::{Errors, Form};
use super::frame::{Frame, Visit, refused, shown};
use super::show::Moment;
use crate::app::App;
use crate::error::ApiError;
use crate::json::Path;

/// How many people are shown.
const LIMIT: i64 = 200;

struct Row {
    id: String,
    name: String,
    email: String,
    role: &'static str,
    since: Moment,
    is_self: bool,
}

struct InvitationRow {
    id: String,
    email: String,
    role: &'static str,
    expires: Moment,
}

#[derive(Template)]
#[template(path = "console/members.html")]
struct MembersPage {
    frame: Frame,
    errors: Errors,
    rows: Vec<Row>,
    invitations: Vec<InvitationRow>,
    /// The link of an invitation that has just been made, and whose it is.
    link: Option<(String, String)>,
    email: String,
    role: String,
    /// Whether whoever looks is an owner: only they make others.
    is_owner: bool,
    /// Whether the password has to be entered again first.
    needs_step_up: bool,
}

async fn page(
    app: &App,
    visit: Visit,
    errors: Errors,
    (link, email, role): (Option<(String, String)>, String, String),
    needs_step_up: bool,
) -> Result<Response, ApiError> {
    let is_refused = errors.any();
    let now = visit.frame.now;
    let members = app.engine.list_members(&visit.context, None, LIMIT).await?.data.into_iter();
    let rows = members.map(|m| Row {
        is_self: m.user == visit.person.user,
        id: m.user.to_string(),
        name: m.name,
        email: m.email,
        role: m.role.as_str(),
        since: Moment::new(m.created_at, now),
    });
    let rows = rows.collect();
    let invitations = app.engine.list_invitations(&visit.context).await?.into_iter();
    let invitations = invitations.map(|i| InvitationRow {
        id: i.id.to_string(),
        email: i.email,
        role: i.role.as_str(),
        expires: Moment::new(i.expires_at, now),
    });
    let invitations = invitations.collect();
    let is_owner = visit.person.role == Some(Role::Owner);
    let frame = visit.frame;
    let page = MembersPage { frame, errors, rows, invitations, link, email, role, is_owner, needs_step_up };
    let response = shown(&page);
    if is_refused { response.map(refused) } else { response }
}

/// `GET`
pub(super) async fn list(State(app): State<App>, visit: Visit) -> Result<Response, ApiError> {
    page(&app, visit, Errors::default(), (None, String::new(), "member".to_owned()), false).await
}

/// Says what stands in the way of a change, on the page of the members.
async fn refuse(app: &App, visit: Visit, error: ApiError, typed: (String, String)) -> Result<Response, ApiError> {
    let needs_step_up = error.code == "step_up_required";
    let errors = Errors::of(error, &["email", "role"])?;
    page(app, visit, errors, (None, typed.0, typed.1), needs_step_up).await
}

fn role(form: &Form) -> Result<Role, ApiError> {
    Role::parse(form.raw("role")).ok_or_else(|| ApiError::field("role", "choose one"))
}

/// `POST`: invites somebody. The link is shown this once, and goes to them by mail where that is set up.
pub(super) async fn invite(State(app): State<App>, visit: Visit, form: Form) -> Result<Response, ApiError> {
    let (email, word) = (form.raw("email").trim().to_owned(), form.raw("role").to_owned());
    let invited = match role(&form) {
        Ok(role) => {
            let new = NewMember { email: email.clone(), role, password: None, name: None };
            app.engine.add_member(&visit.context, new).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    match invited {
        Ok(Invited::Invitation(invitation, token)) => {
            let link = format!("{}/login/invitation?token={}", visit.frame.origin, token.expose());
            let shown = (Some((link, invitation.email)), String::new(), word);
            page(&app, visit, Errors::default(), shown, false).await
        }
        Ok(Invited::Member(_)) => list(State(app), visit).await,
        Err(error) => refuse(&app, visit, error, (email, word)).await,
    }
}

/// `POST .../members/{id}`: another role.
pub(super) async fn change(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    form: Form,
) -> Result<Response, ApiError> {
    let changed = app.engine.change_role(&visit.context, UserId(id), role(&form)?).await;
    match changed.map_err(ApiError::from) {
        Ok(_) => Ok(redirect(&format!("{}/members?done=member-changed", visit.frame.base()))),
        Err(error) => refuse(&app, visit, error, (String::new(), "member".to_owned())).await,
    }
}

/// `POST .../members/{id}/remove`
pub(super) async fn remove(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    _: Form,
) -> Result<Response, ApiError> {
    match app.engine.remove_member(&visit.context, UserId(id)).await.map_err(ApiError::from) {
        Ok(()) if visit.person.user.0 == id => Ok(redirect("/organizations")),
        Ok(()) => Ok(redirect(&format!("{}/members?done=member-removed", visit.frame.base()))),
        Err(error) => refuse(&app, visit, error, (String::new(), "member".to_owned())).await,
    }
}

/// `POST .../invitations/{id}/withdraw`
pub(super) async fn withdraw(
    State(app): State<App>,
    visit: Visit,
    Path((_, id)): Path<(String, Uuid)>,
    _: Form,
) -> Result<Response, ApiError> {
    app.engine.withdraw_invitation(&visit.context, InvitationId(id)).await?;
    Ok(redirect(&format!("{}/members?done=invitation-withdrawn", visit.frame.base())))
}
