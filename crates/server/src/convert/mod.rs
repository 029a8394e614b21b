//! Between the engine's types and those on the wire.

mod notifications;
mod routes;
mod usage;

use keyrack_client::wire;
use keyrack_core::usage::Span;
use keyrack_core::{
    Body, Environment, KeyStatus, OrganizationState, RateLimit, RateLimits, Role, SecretScope, SessionId, Tier,
};
use keyrack_engine::{
    Event, HashProfile, ImportKey, KeyGroup, KeyPatch, KeySecret, KeyView, LogKind, Member, NewKey, NodeView,
    Organization, QuotaStanding, QuotaUse, Receipt, Secret, Session, Standing, UserAccount, WindowStanding, Witness,
    Workspace,
};

pub(crate) use notifications::notification;
pub(crate) use routes::{cors, guard_text, route, route_log, route_metrics, script_version, target};
pub(crate) use usage::{usage, usage_latency};

/// Words that both sides know, matched one by one so that a new one cannot be forgotten.
macro_rules! same_words {
    ($($ours:ident <-> $wire:ident { $($word:ident),* })*) => {
        $(
            impl Wire for $ours {
                type Wire = wire::$wire;
                fn wire(self) -> wire::$wire {
                    match self { $($ours::$word => wire::$wire::$word),* }
                }
                fn from_wire(word: wire::$wire) -> Self {
                    match word { $(wire::$wire::$word => $ours::$word),* }
                }
            }
        )*
    };
}

/// A word with a counterpart on the wire.
pub(crate) trait Wire: Sized {
    /// The counterpart.
    type Wire;
    /// To the counterpart.
    fn wire(self) -> Self::Wire;
    /// From the counterpart.
    fn from_wire(word: Self::Wire) -> Self;
}

same_words! {
    Environment <-> Environment { Live, Test }
    KeyStatus <-> KeyStatus { Active, Disabled, Revoked, Expired }
    Role <-> Role { Member, Admin, Owner }
    Tier <-> Tier { Free, Pro, Enterprise }
    OrganizationState <-> OrganizationState { Active, Suspended, Deleted }
    Body <-> KeyBody { Base62, Hex, Base64url }
    HashProfile <-> HashProfile { HmacSha256, Bcrypt }
    Span <-> UsageBy { Minute, Hour, Day }
    LogKind <-> RouteLogKind { Line, Answered, Failed, Rejected }
}

/// A key for the wire.
pub(crate) fn key(view: KeyView) -> wire::ApiKey {
    let k = view.key;
    wire::ApiKey {
        id: k.id.0,
        name: k.name,
        description: k.description,
        environment: k.environment.wire(),
        group: view.group,
        group_id: k.group.0,
        workspace: view.workspace,
        workspace_id: k.workspace.map(|w| w.0),
        scopes: k.scopes.to_strings(),
        role: view.role.wire(),
        status: view.status.wire(),
        enabled: k.switch == keyrack_core::status::Switch::Active,
        display_prefix: k.display_prefix,
        last4: k.last4,
        ip_allowlist: k.ip_allowlist.to_strings(),
        rate_limits: rate_limits(&k.rate_limits),
        metadata: object(k.metadata),
        imported: k.imported,
        created_at: k.created_at,
        created_by: k.created_by.map(|u| u.0),
        updated_at: k.updated_at,
        expires_at: k.expires_at,
        revoked_at: k.revoked_at,
        revoke_reason: k.revoke_reason,
        last_used_at: k.last_used_at,
    }
}

/// Rate limits for the wire.
pub(crate) fn rate_limits(limits: &RateLimits) -> Option<Vec<wire::RateLimit>> {
    let limit =
        |limit: RateLimit| wire::RateLimit { limit: limit.limit().into(), window_seconds: limit.seconds().into() };
    (!limits.is_unrestricted()).then(|| limits.iter().map(limit).collect())
}

/// Rate limits from the wire, as units and seconds.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map")]
pub(crate) fn limit_pairs(limits: Vec<wire::RateLimit>) -> Vec<(i64, i64)> {
    limits.iter().map(|limit| (limit.limit, limit.window_seconds)).collect()
}

/// How limits stand for the wire; `None` if there are none.
pub(crate) fn limits(standing: &Standing) -> Option<wire::Limits> {
    let rate = |window: &WindowStanding| wire::RateStanding {
        of: window.of.as_str().into(),
        limit: window.limit.limit(),
        window_seconds: window.limit.seconds(),
        remaining: window.remaining,
        reset_seconds: window.reset_seconds(),
    };
    let quota = |quota: QuotaStanding| wire::QuotaStanding {
        limit: quota.limit,
        remaining: quota.remaining,
        resets_at: quota.resets_at,
    };
    let is_limited = standing.quota.is_some() || !standing.windows.is_empty();
    is_limited.then(|| wire::Limits {
        quota: standing.quota.map(quota),
        rate_limits: standing.windows.iter().map(rate).collect(),
        retry_after_seconds: standing.retry_after_seconds(),
    })
}

/// What has been used of a quota for the wire.
pub(crate) fn quota(quota: QuotaUse, tier: Tier) -> wire::Quota {
    wire::Quota {
        month: quota.month.to_string(),
        tier: tier.wire(),
        monthly_limit: quota.limit,
        used: quota.used,
        remaining: quota.limit.map(|limit| limit.saturating_sub(quota.used)),
        resets_at: quota.resets_at,
    }
}

/// A JSON object; anything else is never stored.
pub(crate) fn object(value: Option<serde_json::Value>) -> Option<serde_json::Map<String, serde_json::Value>> {
    match value {
        Some(serde_json::Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// What a key is to be.
pub(crate) fn new_key(k: wire::CreateKey) -> NewKey {
    NewKey {
        name: k.name,
        description: k.description,
        environment: k.environment.map(Environment::from_wire).unwrap_or_default(),
        group: k.group,
        workspace: k.workspace,
        scopes: k.scopes,
        level: k.level.map(|l| l.to_string()),
        expires_at: k.expires_at,
        never_expires: k.never_expires,
        disabled: k.enabled == Some(false),
        ip_allowlist: k.ip_allowlist,
        rate_limits: k.rate_limits.map(limit_pairs),
        metadata: k.metadata.map(serde_json::Value::Object),
    }
}

/// A key to be imported.
pub(crate) fn import_key(k: wire::ImportKey) -> ImportKey {
    let text = k.key.map(keyrack_core::PlainKey::new);
    let new = NewKey {
        name: k.name,
        description: k.description,
        environment: k.environment.map(Environment::from_wire).unwrap_or_default(),
        group: k.group,
        workspace: k.workspace,
        scopes: k.scopes,
        level: k.level.map(|l| l.to_string()),
        expires_at: k.expires_at,
        never_expires: None,
        disabled: k.enabled == Some(false),
        ip_allowlist: k.ip_allowlist,
        rate_limits: k.rate_limits.map(limit_pairs),
        metadata: k.metadata.map(serde_json::Value::Object),
    };
    ImportKey { new, text, sha256: k.sha256 }
}

/// What of a key is to change.
pub(crate) fn key_patch(p: wire::UpdateKey) -> KeyPatch {
    KeyPatch {
        name: p.name,
        description: p.description,
        scopes: p.scopes,
        level: p.level.map(|l| l.to_string()),
        enabled: p.enabled,
        expires_at: p.expires_at,
        ip_allowlist: p.ip_allowlist,
        rate_limits: p.rate_limits.map(|limits| limits.map(limit_pairs)),
        metadata: p.metadata.map(|m| m.map(serde_json::Value::Object)),
        if_unchanged_since: None,
    }
}

/// A secret for the wire.
pub(crate) fn secret(s: KeySecret) -> wire::KeySecret {
    wire::KeySecret {
        version: s.version,
        display_prefix: s.display_prefix,
        last4: s.last4,
        created_at: s.created_at,
        expires_at: s.expires_at,
        last_used_at: s.last_used_at,
    }
}

/// A named value for the wire, without the value.
pub(crate) fn scoped_secret(s: Secret) -> wire::Secret {
    wire::Secret {
        id: s.id.0,
        name: s.name,
        scope: match s.scope {
            SecretScope::Global => wire::SecretScope::Global,
            SecretScope::Route(_) => wire::SecretScope::Route,
            SecretScope::Group(_) => wire::SecretScope::Group,
            SecretScope::Key(_) => wire::SecretScope::Key,
        },
        owner: s.scope.owner(),
        owner_name: s.owner_name,
        comment: s.comment,
        size_bytes: s.size,
        value: None,
        created_at: s.created_at,
        updated_at: s.updated_at,
    }
}

/// A process that serves for the wire.
pub(crate) fn node(view: NodeView) -> wire::Node {
    wire::Node {
        id: view.node.id.0,
        name: view.node.name,
        version: view.node.version,
        started_at: view.node.started_at,
        silent_for_ms: i64::try_from(view.node.silent_for.as_millis()).unwrap_or(i64::MAX),
        lag: view.lag,
        live: view.is_live,
    }
}

/// A receipt for the wire.
pub(crate) fn receipt(receipt: Receipt) -> wire::Receipt {
    let node =
        |witness: Witness| wire::ReceiptNode { id: witness.id.0, name: witness.name, applied: witness.has_applied };
    wire::Receipt {
        sequence: receipt.sequence,
        effective_at: receipt.effective_at,
        nodes: receipt.nodes.into_iter().map(node).collect(),
    }
}

/// An organization for the wire.
pub(crate) fn organization(o: Organization) -> wire::Organization {
    wire::Organization {
        id: o.id.0,
        slug: o.slug,
        name: o.name,
        tier: o.tier.wire(),
        state: o.state.wire(),
        rate_limits: rate_limits(&o.rate_limits),
        created_at: o.created_at,
        updated_at: o.updated_at,
    }
}

/// A workspace for the wire.
pub(crate) fn workspace(w: Workspace) -> wire::Workspace {
    wire::Workspace { id: w.id.0, slug: w.slug, name: w.name, created_at: w.created_at, updated_at: w.updated_at }
}

/// A group for the wire.
pub(crate) fn group(g: KeyGroup, is_access_group: bool) -> wire::Group {
    wire::Group {
        id: g.id.0,
        name: g.name,
        description: g.description,
        key_format: wire::KeyFormat {
            prefix: g.key_format.prefix().map(str::to_owned),
            body: g.key_format.body().wire(),
        },
        hash_profile: g.hash_profile.wire(),
        default_scopes: g.default_scopes.to_strings(),
        rate_limits: rate_limits(&g.rate_limits),
        recoverable: g.recoverable,
        is_access_group,
        created_at: g.created_at,
        updated_at: g.updated_at,
    }
}

/// The two parts of a key format.
pub(crate) fn key_format(format: wire::KeyFormat) -> (Option<String>, Body) {
    (format.prefix, Body::from_wire(format.body))
}

/// A member for the wire.
pub(crate) fn member(m: Member) -> wire::Member {
    wire::Member { user_id: m.user.0, email: m.email, name: m.name, role: m.role.wire(), created_at: m.created_at }
}

/// A person for the wire.
pub(crate) fn user(u: UserAccount) -> wire::User {
    wire::User { id: u.id.0, email: u.email, name: u.name }
}

/// A session for the wire, as that of `current` sees it.
pub(crate) fn session(s: Session, current: SessionId) -> wire::Session {
    wire::Session {
        id: s.id.0,
        is_current: s.id == current,
        created_at: s.created_at,
        expires_at: s.expires_at,
        address: s.address,
        user_agent: s.user_agent,
    }
}

/// An event for the wire.
pub(crate) fn event(e: Event) -> wire::AuditEvent {
    let actor = wire::AuditParty { kind: e.actor_kind.as_str().to_owned(), id: e.actor_id, name: e.actor_name };
    let subject = wire::AuditParty { kind: e.subject_kind.as_str().to_owned(), id: e.subject_id, name: e.subject_name };
    wire::AuditEvent {
        sequence: e.seq,
        id: e.id.0,
        at: e.at,
        kind: e.kind,
        actor,
        subject,
        data: e.data,
        request_id: e.request_id,
    }
}
