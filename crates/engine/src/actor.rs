//! Who asks for a use case.

use keyrack_core::{
    Authority, IpAllowlist, KeyId, OrganizationId, RateLimits, Role, Scope, SessionId, UserId, WorkspaceId,
};
use keyrack_store::ActorKind;
use uuid::Uuid;

/// Who is asking, once a door has let them in.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A key.
    Key {
        /// Which.
        id: KeyId,
        /// Its name.
        name: String,
        /// Its organization.
        organization: OrganizationId,
        /// The workspace it is bound to: it sees that one's rows only.
        workspace: Option<WorkspaceId>,
        /// Whether it may act on the instance as a whole.
        is_instance_admin: bool,
    },
    /// A person who is signed in.
    User {
        /// Who.
        id: UserId,
        /// Their e-mail address, as the audit names them.
        name: String,
        /// With which session.
        session: SessionId,
        /// Whether they may act on the instance as a whole.
        is_instance_admin: bool,
        /// Their role in the organization of the request, if it is theirs.
        role: Option<Role>,
    },
    /// The host's own command line, or Keyrack itself.
    Host {
        /// The person in whose name it acts, if it says so.
        user: Option<UserId>,
    },
}

impl Actor {
    /// What kind of actor it is.
    pub fn kind(&self) -> ActorKind {
        match self {
            Self::Key { .. } => ActorKind::ApiKey,
            Self::User { .. } => ActorKind::User,
            Self::Host { .. } => ActorKind::System,
        }
    }

    /// Its id, if it has one.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Key { id, .. } => Some(id.0),
            Self::User { id, .. } => Some(id.0),
            Self::Host { .. } => None,
        }
    }

    /// Its name, as the audit keeps it.
    pub fn name(&self) -> &str {
        match self {
            Self::Key { name, .. } | Self::User { name, .. } => name,
            Self::Host { .. } => "host",
        }
    }

    /// The person, if it is one.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::User { id, .. } => Some(*id),
            Self::Host { user } => *user,
            Self::Key { .. } => None,
        }
    }

    /// Whether it may act on the instance as a whole.
    pub fn is_instance_admin(&self) -> bool {
        match self {
            Self::Key { is_instance_admin, .. } | Self::User { is_instance_admin, .. } => *is_instance_admin,
            Self::Host { .. } => true,
        }
    }

    /// The workspace whose rows it sees; `None` for those of the whole organization.
    pub fn workspace(&self) -> Option<WorkspaceId> {
        match self {
            Self::Key { workspace, .. } => *workspace,
            _ => None,
        }
    }
}

/// A use case's circumstances: who asks, for which organization, with which request.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who.
    pub actor: Actor,
    /// For which organization.
    pub organization: OrganizationId,
    /// What the door asked for. It is looked at again inside the transaction, so that who loses it meanwhile does nothing
    /// more with it.
    pub required: Option<Scope>,
    /// The request, as the logs call it.
    pub request_id: Option<Uuid>,
    /// What a repetition of the request is known by.
    pub idempotency: Option<Idempotency>,
}

/// What a repetition of a request is known by.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key the caller chose.
    pub key: String,
    /// SHA-256 of what is asked.
    pub request_hash: [u8; 32],
}

impl Context {
    /// The host's command line, acting on an organization.
    pub fn host(organization: OrganizationId) -> Self {
        Self { actor: Actor::Host { user: None }, organization, required: None, request_id: None, idempotency: None }
    }
}

/// The authority of a key as the database has it.
pub(crate) fn authority_of(key: &keyrack_store::ApiKey, in_access_group: bool) -> Authority {
    Authority {
        organization: key.organization,
        group: Some(key.group),
        scopes: key.scopes.clone(),
        workspace: key.workspace,
        expires_at: key.expires_at,
        ip_allowlist: IpAllowlist::clone(&key.ip_allowlist),
        rate_limits: RateLimits::clone(&key.rate_limits),
        role: Role::of_key(in_access_group),
    }
}
