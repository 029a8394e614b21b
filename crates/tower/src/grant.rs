//! Who was let in.

use std::ops::Deref;
use std::sync::Arc;

use compact_str::CompactString;
use keyrack_core::standing::QuotaStanding;
use keyrack_core::{GroupId, KeyId, OrganizationId, Role, Tier, Timestamp, WorkspaceId};
use serde::{Serialize, Serializer};

/// Who was let in: a key and where it belongs (see [`Granted`] for what is known of it). No person stands behind it.
///
/// [`KeyLayer`](crate::KeyLayer) puts it into the extensions of each request that a key let in; on axum it is an extractor.
/// `Option<Grant>` is for handlers that stand behind public routes too. Clones are the same one, and cost nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant(Arc<Granted>);

impl Grant {
    pub(crate) fn new(granted: Granted) -> Self {
        Self(Arc::new(granted))
    }
}

impl Deref for Grant {
    type Target = Granted;

    fn deref(&self) -> &Granted {
        &self.0
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Granted::serialize(self, serializer)
    }
}

/// What is known of whoever was let in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Granted {
    /// The organization of the key, which its requests are counted for.
    pub organization: Organization,
    /// The workspace that the key is bound to; `None` for the whole organization.
    pub workspace: Option<Workspace>,
    /// The key.
    pub key: Key,
    /// Its group.
    pub group: Group,
    /// What it may do, such as `contacts:read`; of a token as much as the token may. See [`Granted::may`].
    pub scopes: Vec<CompactString>,
}

/// An organization that was let in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its slug.
    pub slug: CompactString,
    /// What it may use.
    pub billing: Billing,
}

/// What an organization may use, as it stood when the request was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Billing {
    /// What it pays for.
    pub tier: Tier,
    /// Units of a month; `None` for no limit.
    pub monthly_limit: Option<u64>,
    /// Units used this month, this request included; over several nodes at most so many. `None` without a limit: what is used
    /// then is not held in memory, and stands in `GET /api/session`.
    pub used: Option<u64>,
    /// When the next month begins; `None` without a limit.
    pub resets_at: Option<Timestamp>,
}

/// A workspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its slug.
    pub slug: CompactString,
}

/// A key, of which nobody keeps the text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: CompactString,
    /// What it counts as: an admin if its group is an access group, and else a member.
    pub role: Role,
    /// Until when it, or the secret that was presented, works; `None` for no end.
    pub expires_at: Option<Timestamp>,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: CompactString,
}

impl Granted {
    /// Whether the key may do this too, such as `contacts:write`; false for what is no scope.
    pub fn may(&self, scope: &str) -> bool {
        let granted = self.scopes.iter().filter_map(|granted| granted.parse().ok());
        scope.parse().is_ok_and(|scope| keyrack_core::ScopeSet::of(granted).grants(&scope))
    }
}

impl Billing {
    pub(crate) fn of(tier: Tier, quota: Option<QuotaStanding>) -> Self {
        Self {
            tier,
            monthly_limit: quota.map(|quota| quota.limit),
            used: quota.map(|quota| quota.limit.saturating_sub(quota.remaining)),
            resets_at: quota.map(|quota| quota.resets_at),
        }
    }
}

/// A handler asked for a [`Grant`] where none is: no [`KeyLayer`](crate::KeyLayer) stands in front of it, or a public one. The
/// answer is 500, for it is the service that is made wrong.
#[cfg(feature = "axum")]
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no key stands behind this request: put a layer of RequireKey in front of the route, or take Option<Grant>")]
pub struct NoGrant;

#[cfg(feature = "axum")]
mod extractor {
    use std::convert::Infallible;

    use axum::extract::{FromRequestParts, OptionalFromRequestParts};
    use axum::response::{IntoResponse, Response};
    use http::StatusCode;
    use http::request::Parts;

    use super::{Grant, NoGrant};

    impl<S: Send + Sync> FromRequestParts<S> for Grant {
        type Rejection = NoGrant;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoGrant> {
            parts.extensions.get().cloned().ok_or(NoGrant)
        }
    }

    impl<S: Send + Sync> OptionalFromRequestParts<S> for Grant {
        type Rejection = Infallible;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
            Ok(parts.extensions.get().cloned())
        }
    }

    impl IntoResponse for NoGrant {
        fn into_response(self) -> Response {
            tracing::error!("{self}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
