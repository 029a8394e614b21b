//! The one place that decides whether a caller passes a door.
//!
//! Every front door brings what it found out to [`decide`] and translates the [`Decision`] into its own protocol. Steps come
//! in a fixed order and the first that fails gives the reason: known, alive, accepted here, address, role, scope. Limits and
//! quota are taken after a grant, by the engine, since they have a state of their own.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::guard::{Admitted, Audience, Demand, Guard};
use crate::scope::ScopeSet;
use crate::status::{End, Switch};
use crate::{GroupId, IpAllowlist, KeyId, OrganizationId, OrganizationState, Role, WorkspaceId};

/// What a door knows of the place it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In this workspace.
    In(WorkspaceId),
    /// In the organization, in no workspace.
    Nowhere,
    /// In a workspace that is none of the door's organization: nobody is known there.
    Elsewhere,
    /// Workspaces do not matter: session, tokens, giving oneself up, and management, which shows each key its own rows.
    Anywhere,
    /// The question did not say (the verify API).
    Unstated,
}

/// What the request says beside its credential.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// The HTTP method.
    pub method: &'r str,
    /// Where the request came from; `None` if the question did not say (the verify API).
    pub address: Option<IpAddr>,
    /// The workspace of the door.
    pub place: Place,
}

/// A key as the keyring knows it.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'k> {
    /// Whether the secret that was presented is the key's. If not, nobody is known, and the key only stands in: so that
    /// deciding about nobody takes as long as about somebody.
    pub secret_matches: bool,
    /// Its id.
    pub key: KeyId,
    /// Its group.
    pub group: GroupId,
    /// Its organization.
    pub organization: OrganizationId,
    /// The state of that.
    pub organization_state: OrganizationState,
    /// Whether its group is one of the organization's access groups.
    pub in_access_group: bool,
    /// The workspace it is bound to.
    pub workspace: Option<WorkspaceId>,
    /// What has been done to it.
    pub switch: Switch,
    /// From when on it does not work.
    pub expires_at: End,
    /// From when on the secret that was presented is no longer taken (the end of a rotation's overlap).
    pub secret_expires_at: End,
    /// What it may do.
    pub scopes: &'k ScopeSet,
    /// What of that a token stands for that was exchanged for it; `None` for all of it.
    pub narrowed_to: Option<&'k ScopeSet>,
    /// Where it may be used from.
    pub ip_allowlist: &'k IpAllowlist,
}

/// A signed-in person, seen in one organization.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts {
    /// The organization that the request names, or the only one.
    pub organization: OrganizationId,
    /// The state of that.
    pub organization_state: OrganizationState,
    /// The person's role there; `None` for no member.
    pub role: Option<Role>,
}

/// Who knocks.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'c> {
    /// No credential.
    Anonymous,
    /// A credential that is none of ours.
    Unknown,
    /// A key, if its secret matched.
    Key(KeyFacts<'c>),
    /// A live session.
    Session(SessionFacts),
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Let in.
    Grant(Grant),
    /// Kept out, and why.
    Deny(Reason),
}

/// Who is let in, and as what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// Nobody in particular: a public door.
    Anonymous,
    /// A key, counting as this role.
    Key(Role),
    /// A person of this role.
    Session(Role),
}

/// Why a caller is kept out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// No credential was sent.
    Missing,
    /// No such key.
    NotFound,
    /// The key, or its organization, is switched off.
    Disabled,
    /// The key was revoked.
    Revoked,
    /// The key, or the secret that was used, is past its time.
    Expired,
    /// The organization is suspended or deleted.
    OrganizationInactive,
    /// A key of another organization.
    WrongOrganization,
    /// A key of another workspace.
    WrongWorkspace,
    /// A key bound to a workspace, and the question named none.
    WorkspaceRequired,
    /// Neither the key nor its group is among those let in.
    WrongGroup,
    /// A key at a door for people.
    KeyNotAccepted,
    /// The address is not among the key's.
    IpNotAllowed,
    /// A key with addresses, and the question named none.
    IpRequired,
    /// The role is not among those asked for.
    InsufficientRole,
    /// The scope is missing.
    InsufficientScope,
    /// More was asked for than a rate limit allows.
    RateLimited,
    /// The organization has used up its quota of the month.
    QuotaExceeded,
}

/// How much of a reason an outsider learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outward {
    /// 401: nothing but that the key is not valid here.
    Unauthorized,
    /// 403: the key is good, but not for this.
    Forbidden,
    /// 429: the key is good, but not now.
    TooMany,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::Missing,
        Self::NotFound,
        Self::Disabled,
        Self::Revoked,
        Self::Expired,
        Self::OrganizationInactive,
        Self::WrongOrganization,
        Self::WrongWorkspace,
        Self::WorkspaceRequired,
        Self::WrongGroup,
        Self::KeyNotAccepted,
        Self::IpNotAllowed,
        Self::IpRequired,
        Self::InsufficientRole,
        Self::InsufficientScope,
        Self::RateLimited,
        Self::QuotaExceeded,
    ];

    /// The code told to those who may know: the verify API's callers, the audit log, the console.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::NotFound => "NOT_FOUND",
            Self::Disabled => "DISABLED",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
            Self::OrganizationInactive => "ORGANIZATION_INACTIVE",
            Self::WrongOrganization => "WRONG_ORGANIZATION",
            Self::WrongWorkspace => "WRONG_WORKSPACE",
            Self::WorkspaceRequired => "WORKSPACE_REQUIRED",
            Self::WrongGroup => "WRONG_GROUP",
            Self::KeyNotAccepted => "KEY_NOT_ACCEPTED",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::IpRequired => "IP_REQUIRED",
            Self::InsufficientRole => "INSUFFICIENT_ROLE",
            Self::InsufficientScope => "INSUFFICIENT_SCOPE",
            Self::RateLimited => "RATE_LIMITED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
        }
    }

    /// The reason of a code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// What an outsider is told.
    pub fn outward(self) -> Outward {
        match self {
            Self::KeyNotAccepted
            | Self::IpNotAllowed
            | Self::IpRequired
            | Self::InsufficientRole
            | Self::InsufficientScope => Outward::Forbidden,
            Self::RateLimited | Self::QuotaExceeded => Outward::TooMany,
            _ => Outward::Unauthorized,
        }
    }
}

/// Decides whether the caller passes the guard now.
pub fn decide(guard: &Guard, caller: Caller<'_>, request: &Request<'_>, now: Timestamp) -> Decision {
    match check(guard, caller, request, now) {
        // A good credential at a public door brings no identity with it.
        Ok(_) if guard.public => Decision::Grant(Grant::Anonymous),
        Ok(grant) => Decision::Grant(grant),
        Err(reason) => Decision::Deny(reason),
    }
}

fn check(guard: &Guard, caller: Caller<'_>, request: &Request<'_>, now: Timestamp) -> Result<Grant, Reason> {
    match caller {
        Caller::Anonymous if guard.public => Ok(Grant::Anonymous),
        Caller::Anonymous => Err(Reason::Missing),
        Caller::Unknown => Err(Reason::NotFound),
        Caller::Key(key) => {
            known_here(guard, &key, request.place, now)?;
            accepts_keys(guard)?;
            from_allowed_address(&key, request.address)?;
            let role = Role::of_key(key.in_access_group);
            allowed(guard, role, [Some(key.scopes), key.narrowed_to], request.method)?;
            Ok(Grant::Key(role))
        }
        Caller::Session(session) => {
            if !guard.sessions {
                return Err(Reason::NotFound);
            }
            let role = member(guard, &session, request.place)?;
            allowed(guard, role, [Some(&role.scopes()), None], request.method)?;
            Ok(Grant::Session(role))
        }
    }
}

/// Each question that is asked of a key at a door, in order, with the reason to keep it out if the answer is no, and whether it is
/// yes: for whoever wants to know what would let it in. [`decide`] keeps out for the first that is no.
pub fn explain(guard: &Guard, key: &KeyFacts<'_>, request: &Request<'_>, now: Timestamp) -> Vec<(Reason, bool)> {
    let known = here(guard, key, request.place, now).map(|(fails, reason)| (reason, !fails));
    let role = Role::of_key(key.in_access_group);
    let of = |asked: Result<(), Reason>, reason| (reason, asked.is_ok());
    let addressed = from_allowed_address(key, request.address);
    let in_role = Guard { demand: None, ..guard.clone() };
    let in_scope = Guard { roles: None, ..guard.clone() };
    let scopes = [Some(key.scopes), key.narrowed_to];
    let rest = [
        of(accepts_keys(guard), Reason::KeyNotAccepted),
        of(addressed, addressed.err().unwrap_or(Reason::IpNotAllowed)),
        of(allowed(&in_role, role, scopes, request.method), Reason::InsufficientRole),
        of(allowed(&in_scope, role, scopes, request.method), Reason::InsufficientScope),
    ];
    known.into_iter().chain(rest).collect()
}

/// Everything that is answered with the one 401: known, alive, accepted here. All of it is looked at whatever fails, and the
/// first that does is picked without a branch, so that the time it takes does not tell an outsider which.
fn known_here(guard: &Guard, key: &KeyFacts<'_>, place: Place, now: Timestamp) -> Result<(), Reason> {
    let checks = here(guard, key, place, now);
    let failed = checks.iter().enumerate().fold(0_u32, |failed, (at, (fails, _))| failed | u32::from(*fails) << at);
    match checks.get(failed.trailing_zeros() as usize) {
        Some((_, reason)) => Err(*reason),
        None => Ok(()),
    }
}

/// What fails of that, in order, each with its reason.
#[expect(clippy::needless_bitwise_bool, reason = "a lazy operator may become a branch")]
fn here(guard: &Guard, key: &KeyFacts<'_>, place: Place, now: Timestamp) -> [(bool, Reason); 12] {
    let is_bound = key.workspace.is_some();
    let is_home = place == Place::Anywhere || key.workspace.map(Place::In) == Some(place);
    let is_unstated = place == Place::Unstated;
    let is_admitted = guard.admitted.as_ref().is_none_or(|admitted| admitted.includes(key.group, key.key));
    [
        (!key.secret_matches, Reason::NotFound),
        // The final states are told before the one that may be undone.
        (key.switch == Switch::Revoked, Reason::Revoked),
        (key.expires_at.has_come(now), Reason::Expired),
        (key.switch == Switch::Disabled, Reason::Disabled),
        (key.secret_expires_at.has_come(now), Reason::Expired),
        (key.organization_state != OrganizationState::Active, Reason::OrganizationInactive),
        (matches!(guard.audience, Audience::Own(own) if own != key.organization), Reason::WrongOrganization),
        ((guard.audience == Audience::Access) & !key.in_access_group, Reason::WrongGroup),
        (place == Place::Elsewhere, Reason::WrongWorkspace),
        (is_bound & is_unstated, Reason::WorkspaceRequired),
        (is_bound & !is_home, Reason::WrongWorkspace),
        (!is_admitted, Reason::WrongGroup),
    ]
}

fn accepts_keys(guard: &Guard) -> Result<(), Reason> {
    if guard.keys { Ok(()) } else { Err(Reason::KeyNotAccepted) }
}

fn from_allowed_address(key: &KeyFacts<'_>, address: Option<IpAddr>) -> Result<(), Reason> {
    match address {
        _ if key.ip_allowlist.is_unrestricted() => Ok(()),
        None => Err(Reason::IpRequired),
        Some(address) if key.ip_allowlist.admits(address) => Ok(()),
        Some(_) => Err(Reason::IpNotAllowed),
    }
}

fn member(guard: &Guard, session: &SessionFacts, place: Place) -> Result<Role, Reason> {
    if session.organization_state != OrganizationState::Active {
        return Err(Reason::OrganizationInactive);
    }
    if matches!(guard.audience, Audience::Own(organization) if organization != session.organization) {
        return Err(Reason::WrongOrganization);
    }
    let role = session.role.ok_or(Reason::WrongOrganization)?;
    if place == Place::Elsewhere {
        return Err(Reason::WrongWorkspace);
    }
    // A member counts as in every group, so any set will do but the one that deletions emptied.
    if guard.admitted.as_ref().is_some_and(Admitted::is_empty) { Err(Reason::WrongGroup) } else { Ok(role) }
}

/// Every set of scopes has to grant what is asked.
fn allowed(guard: &Guard, role: Role, scopes: [Option<&ScopeSet>; 2], method: &str) -> Result<(), Reason> {
    if guard.roles.as_ref().is_some_and(|roles| !roles.contains(&role)) {
        return Err(Reason::InsufficientRole);
    }
    let lacks = |demand: &Demand| scopes.into_iter().flatten().any(|scopes| !scopes.grants(&demand.scope(method)));
    if guard.demand.as_ref().is_some_and(lacks) {
        return Err(Reason::InsufficientScope);
    }
    Ok(())
}
