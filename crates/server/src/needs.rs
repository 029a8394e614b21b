//! What an endpoint needs of its caller.

use keyrack_core::guard::{Audience, Demand};
use keyrack_core::{Action, Guard, Scope};

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anybody: no credential is looked at.
    Nothing,
    /// Any live key or session, in whichever organization.
    Anyone,
    /// A session; keys are refused.
    Session,
    /// A session, or a key of an access group, with this scope over one of Keyrack's own resources.
    Manage(&'static str, Action),
    /// Any key (of whatever group) or session with this scope.
    Scope(&'static str, Action),
    /// A session or a key of an access group; what it may do on the instance is for the use case to say.
    Access,
    /// An instance admin: a session, or a key of an access group with `keyrack.instance:admin`.
    Instance,
}

impl Needs {
    /// The scope that is asked for.
    pub fn scope(self) -> Option<Scope> {
        match self {
            Self::Manage(resource, action) | Self::Scope(resource, action) => Some(Scope::keyrack(resource, action)),
            _ => None,
        }
    }

    /// The guard of the endpoint; `None` where no credential is looked at.
    pub fn guard(self) -> Option<Guard> {
        let audience = match self {
            Self::Nothing => return None,
            Self::Anyone | Self::Session | Self::Scope(..) => Audience::Any,
            Self::Manage(..) | Self::Access | Self::Instance => Audience::Access,
        };
        Some(Guard {
            sessions: true,
            keys: self != Self::Session,
            demand: self.scope().map(Demand::Scope),
            ..Guard::new(audience)
        })
    }

    /// In words, for the document.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Nothing => "no credential".to_owned(),
            Self::Anyone => "any live key or session".to_owned(),
            Self::Session => "a session".to_owned(),
            Self::Access => "a session, or a key of an access group".to_owned(),
            Self::Instance => {
                "an instance admin: a session, or a key of an access group with keyrack.instance:admin".to_owned()
            }
            Self::Manage(..) => format!("a session or a key of an access group, with {}", self.scope_text()),
            Self::Scope(..) => format!("a session or any key, with {}", self.scope_text()),
        }
    }

    fn scope_text(self) -> String {
        self.scope().map(|s| s.to_string()).unwrap_or_default()
    }
}
