//! Members and invitations.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Role;
use super::text::{EmailAddress, InvitationToken, Name, Password};

/// A person's place in an organization.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The id of the person.
    pub user_id: Uuid,
    /// Their e-mail address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// As what.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
}

/// Who is to become a member.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// Their e-mail address.
    #[schema(value_type = EmailAddress)]
    pub email: String,
    /// As what.
    pub role: Role,
    /// Makes the account at once, with this password: instance admins only, for an address not known yet. Without it the
    /// person is invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Password>)]
    pub password: Option<String>,
    /// The name for an account made at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Name>)]
    pub name: Option<String>,
}

/// What came of it: a member, or an invitation.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct AddedMember {
    /// The member, if the account was made at once.
    #[schema(required)]
    pub member: Option<Member>,
    /// The invitation otherwise.
    #[schema(required)]
    pub invitation: Option<Invitation>,
}

/// An invitation, with what it is accepted with.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// Its id.
    pub id: Uuid,
    /// Who is invited.
    pub email: String,
    /// As what.
    pub role: Role,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
    /// Hand this to the invited person; it is shown this once.
    pub token: String,
}

/// Accepts an invitation.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// The token of the invitation.
    #[schema(value_type = InvitationToken)]
    pub token: String,
    /// The password of the account: a new one, or the one it has.
    #[schema(value_type = Password)]
    pub password: String,
}

/// What of a member is to change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateMember {
    /// The new role.
    pub role: Role,
}
