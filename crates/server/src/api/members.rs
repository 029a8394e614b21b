//! `/api/members`

use axum::extract::Extension;
use axum::extract::State;
use http::StatusCode;
use keyrack_client::wire::text;
use keyrack_client::wire::{AcceptInvitation, AddMember, AddedMember, Invitation, Member, Page, UpdateMember};
use keyrack_core::{Role, UserId};
use keyrack_engine::{Invited, NewMember};
use uuid::Uuid;

use super::organizations::Paging;
use super::{cursor, limit};
use crate::app::App;
use crate::caller::Caller;
use crate::convert::{self, Wire as _};
use crate::error::ApiError;
use crate::json::{Json, Path, Query};
use crate::request_id::RequestId;

/// List members
#[utoipa::path(get, path = "/api/members", tag = "members", operation_id = "listMembers", params(Paging),
    responses((status = 200, body = Page<Member>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(q): Query<Paging>,
) -> Result<Json<Page<Member>>, ApiError> {
    let after = cursor(q.cursor.as_deref())?.map(UserId);
    let page = app.engine.list_members(&caller.context, after, limit(q.limit)?).await?;
    let data = page.data.into_iter().map(convert::member).collect();
    Ok(Json(Page { data, next_cursor: page.next_cursor }))
}

/// Add a member
///
/// Invites the person; the token in the answer is for them. With a password, an instance admin makes the account at once. Nobody
/// adds a member who may do more than they may themselves: a key that ends, or is kept to some addresses, adds none.
#[utoipa::path(post, path = "/api/members", tag = "members", operation_id = "addMember", request_body = AddMember,
    responses((status = 201, body = AddedMember), (status = 409, description = "They are a member, or the address is known")))]
pub(super) async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<AddMember>,
) -> Result<(StatusCode, Json<AddedMember>), ApiError> {
    let new =
        NewMember { email: body.email, role: Role::from_wire(body.role), password: body.password, name: body.name };
    let added = match app.engine.add_member(&caller.context, new).await? {
        Invited::Member(member) => AddedMember { member: Some(convert::member(member)), invitation: None },
        Invited::Invitation(invitation, token) => {
            let invitation = Invitation {
                id: invitation.id.0,
                email: invitation.email,
                role: invitation.role.wire(),
                expires_at: invitation.expires_at,
                token: token.expose().to_owned(),
            };
            AddedMember { member: None, invitation: Some(invitation) }
        }
    };
    Ok((StatusCode::CREATED, Json(added)))
}

/// Accept an invitation
///
/// Makes the account with this password; who has one proves it with theirs.
#[utoipa::path(post, path = "/api/members/accept", tag = "members", operation_id = "acceptInvitation",
    request_body = AcceptInvitation,
    responses((status = 201, body = Member), (status = 401, description = "Not the password of the account"),
        (status = 404, description = "No such invitation, or it is over"), (status = 409, description = "Already a member")))]
pub(super) async fn accept(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    Json(body): Json<AcceptInvitation>,
) -> Result<(StatusCode, Json<Member>), ApiError> {
    let member = app.engine.accept_invitation(&body.token, &body.password, Some(id.0)).await?;
    Ok((StatusCode::CREATED, Json(convert::member(member))))
}

/// Change a member's role
///
/// Owners are made and unmade by owners who are signed in. Nobody gives a role that may do more than they may themselves.
#[utoipa::path(patch, path = "/api/members/{user_id}", tag = "members", operation_id = "updateMember",
    params(("user_id" = text::UserId, Path)), request_body = UpdateMember,
    responses((status = 200, body = Member), (status = 404, description = "No such member"),
        (status = 409, description = "The last owner stays one")))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(user): Path<Uuid>,
    Json(body): Json<UpdateMember>,
) -> Result<Json<Member>, ApiError> {
    let role = Role::from_wire(body.role);
    Ok(Json(convert::member(app.engine.change_role(&caller.context, UserId(user), role).await?)))
}

/// Remove a member
///
/// Keys they made go on working.
#[utoipa::path(delete, path = "/api/members/{user_id}", tag = "members", operation_id = "removeMember",
    params(("user_id" = text::UserId, Path)),
    responses((status = 204), (status = 404, description = "No such member"),
        (status = 409, description = "The last owner stays")))]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(user): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    app.engine.remove_member(&caller.context, UserId(user)).await?;
    Ok(StatusCode::NO_CONTENT)
}
