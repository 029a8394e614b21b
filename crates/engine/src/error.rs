//! What a use case can answer instead of a result.

use keyrack_store::{Conflict, StoreError};

/// Why a use case was not done. Nothing of it was done then, except where the text says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or it is another organization's.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A value cannot be taken.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(FieldError),
    /// What is asked for does not fit the state things are in.
    #[error("{message}")]
    Conflict {
        /// A stable word for it.
        code: &'static str,
        /// What stands in the way.
        message: String,
        /// The things that stand in the way, by name.
        details: Vec<String>,
    },
    /// The actor may not do this.
    #[error("{message}")]
    Forbidden {
        /// A stable word for it.
        code: &'static str,
        /// What is missing.
        message: String,
    },
    /// The credential is no longer good.
    #[error("the credential is not valid")]
    Unauthorized,
    /// The idempotency key was used for another request.
    #[error("the Idempotency-Key was used for a different request")]
    IdempotencyMismatch,
    /// A bounded queue is full. Trying later helps.
    #[error("there is too much to do at this moment; try again in a while")]
    Overloaded,
    /// The database cannot be used now. Trying later helps.
    #[error("{0}")]
    Unavailable(&'static str, #[source] Option<StoreError>),
    /// The change is committed, but a serving process has not been seen to apply it.
    #[error("the change is committed, but the running server was not seen to apply it within 5 seconds")]
    NotYetSeen,
    /// A fault of ours.
    #[error("{0}")]
    Internal(&'static str, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The database cannot be opened as it is.
    #[error("{0}")]
    Refused(String),
}

/// A value that cannot be taken, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// The field, as it is called in JSON; `scopes[2]` for one of a list.
    pub field: String,
    /// What it must be.
    pub message: String,
}

impl Error {
    /// A field that cannot be taken.
    pub fn invalid(field: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Invalid(FieldError { field: field.into(), message: message.to_string() })
    }

    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into(), details: Vec::new() }
    }

    /// Something that needs the password again.
    pub(crate) fn step_up_required() -> Self {
        Self::forbidden("step_up_required", "enter your password again first (POST /api/session/step-up)")
    }

    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::Forbidden { code, message: message.into() }
    }

    pub(crate) fn internal(what: &'static str) -> Self {
        Self::Internal(what, None)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(conflict) => taken(conflict),
            StoreError::Unavailable(_) => Self::Unavailable("the database is not available", Some(error)),
            StoreError::Url(_) | StoreError::Claimed(_) | StoreError::TooNew { .. } | StoreError::File(..) => {
                Self::Refused(error.to_string())
            }
            other => Self::Internal("the database refused a statement", Some(Box::new(other))),
        }
    }
}

impl From<crate::clock::NoRandomness> for Error {
    fn from(error: crate::clock::NoRandomness) -> Self {
        Self::Internal("no randomness", Some(Box::new(error)))
    }
}

fn taken(conflict: Conflict) -> Error {
    let (code, message) = match conflict {
        Conflict::OrganizationSlug => ("slug_taken", "an organization has, or once had, this slug"),
        Conflict::WorkspaceSlug => ("slug_taken", "a workspace of the organization has this slug"),
        Conflict::GroupName => ("name_taken", "a group of the organization has this name"),
        Conflict::KeyName => ("name_taken", "a key of the group has this name; a revoked or deleted key would free it"),
        Conflict::KeyDigest => ("key_known", "this key is known already, or once was"),
        Conflict::SecretName => ("name_taken", "there is a secret of this name in this scope; change that one"),
        Conflict::UserEmail => ("email_taken", "a user has this e-mail address"),
        Conflict::Membership => ("already_member", "this person is a member already"),
        Conflict::Idempotency => ("idempotency_in_flight", "a request with this Idempotency-Key is being worked on"),
        Conflict::Other => ("conflict", "the value is taken"),
    };
    Error::conflict(code, message)
}
