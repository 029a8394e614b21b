//! What an endpoint needs of its caller.

use std::collections::BTreeSet;

use keyrack_core::guard::{Audience, Demand};
use keyrack_core::{Action, Guard, Role, Scope};
use serde_json::{Value, json};

use crate::load::Lane;

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody: no credential is looked at.
    Nothing,
    /// Any live key or session, in whichever organization.
    Anyone,
    /// Any live key, in whichever organization; sessions and tokens are not looked at.
    Key,
    /// A session; keys are refused.
    Session,
    /// A session of an owner who has entered the password again lately; keys are refused.
    Owner,
    /// A session, or a key of an access group, with this scope over one of Keyrack's own resources; and what it is about.
    Manage(&'static str, Action, Reach),
    /// Any key (of whatever group) or session with this scope.
    Scope(&'static str, Action),
    /// A session or a key of an access group; what it shows depends on who asks.
    Access,
    /// An instance admin: a session, or a key of an access group with `keyrack.instance:admin`.
    Instance,
}

/// What an endpoint is about: it says what a key that is bound to a workspace is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The organization as a whole: such a key is refused.
    Organization,
    /// What may belong to a workspace: such a key is shown its own, and the rest is not there.
    Workspace,
}

impl Needs {
    /// The scope that is asked for.
    pub fn scope(self) -> Option<Scope> {
        match self {
            Self::Manage(resource, action, _) | Self::Scope(resource, action) => Some(Scope::keyrack(resource, action)),
            Self::Instance => Some(keyrack_engine::instance_scope()),
            Self::Nothing | Self::Anyone | Self::Key | Self::Session | Self::Owner | Self::Access => None,
        }
    }

    /// The guard of the endpoint; `None` where no credential is looked at.
    pub fn guard(self) -> Option<Guard> {
        let audience = match self {
            Self::Nothing => return None,
            Self::Anyone | Self::Key | Self::Session | Self::Owner | Self::Scope(..) => Audience::Any,
            Self::Manage(..) | Self::Access | Self::Instance => Audience::Access,
        };
        // An instance admin who is signed in has no such scope: whether they are one stands in their account.
        let demand = self.scope().filter(|_| self != Self::Instance).map(Demand::Scope);
        let roles = (self == Self::Owner).then(|| BTreeSet::from([Role::Owner]));
        let keys = !matches!(self, Self::Session | Self::Owner);
        Some(Guard { sessions: self != Self::Key, keys, demand, roles, ..Guard::new(audience) })
    }

    /// What a request takes.
    pub(crate) fn lane(self) -> Lane {
        match self {
            Self::Key | Self::Scope(..) => Lane::Memory,
            Self::Anyone
            | Self::Nothing
            | Self::Session
            | Self::Owner
            | Self::Manage(..)
            | Self::Access
            | Self::Instance => Lane::Database,
        }
    }

    /// Whether a person is let in who is no member of the organization.
    pub(crate) fn takes_strangers(self) -> bool {
        matches!(self, Self::Anyone | Self::Access | Self::Instance | Self::Session)
    }

    /// Whether a token may be presented instead of its key: where nothing is changed.
    pub(crate) fn takes_tokens(self) -> bool {
        match self {
            Self::Anyone | Self::Access | Self::Scope(..) => true,
            Self::Manage(_, action, _) => action == Action::Read,
            Self::Nothing | Self::Key | Self::Session | Self::Owner | Self::Instance => false,
        }
    }

    /// Whether a key is refused that is bound to a workspace.
    pub(crate) fn is_for_whole_organization(self) -> bool {
        matches!(self, Self::Manage(_, _, Reach::Organization) | Self::Access | Self::Instance)
    }

    /// For the document, in one object, since several extensions would stand in another order each time.
    pub(crate) fn describe(self) -> Value {
        let keys = match self {
            Self::Nothing | Self::Session | Self::Owner => "none",
            Self::Anyone | Self::Key | Self::Scope(..) => "any",
            Self::Manage(..) | Self::Access | Self::Instance => "access",
        };
        let sessions = match self {
            Self::Nothing | Self::Key => "none",
            Self::Anyone | Self::Session | Self::Access => "any",
            Self::Manage(..) | Self::Scope(..) => "members",
            Self::Owner => "owners",
            Self::Instance => "instance_admins",
        };
        let workspace_keys = match self {
            Self::Anyone | Self::Key | Self::Scope(..) => "all",
            Self::Manage(_, _, Reach::Workspace) => "own_rows",
            _ => "none",
        };
        let scope = self.scope().map(|scope| scope.to_string());
        json!({
            "in_words": self.in_words(),
            "keys": keys,
            "scope": scope,
            "sessions": sessions,
            "tokens": self.takes_tokens(),
            "workspace_keys": workspace_keys,
        })
    }

    fn in_words(self) -> String {
        let scope = self.scope().map(|scope| scope.to_string()).unwrap_or_default();
        match self {
            Self::Nothing => "no credential".to_owned(),
            Self::Anyone => "any live key or session".to_owned(),
            Self::Key => "any live key itself, not a token of it".to_owned(),
            Self::Session => "a session".to_owned(),
            Self::Owner => "a session of an owner who has entered the password again lately".to_owned(),
            Self::Access => "a session, or a key of an access group that is bound to no workspace".to_owned(),
            Self::Instance => format!("an instance admin: a session, or a key of an access group with {scope}"),
            Self::Manage(_, _, Reach::Workspace) => {
                format!(
                    "a session or a key of an access group, with {scope}; a key bound to a workspace sees what is there"
                )
            }
            Self::Manage(_, _, Reach::Organization) => {
                format!("a session, or a key of an access group that is bound to no workspace, with {scope}")
            }
            Self::Scope(..) => format!("a session or any key, with {scope}"),
        }
    }
}
