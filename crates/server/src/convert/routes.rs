//! Routes, to the wire and from it.

use keyrack_client::wire;
use keyrack_core::Role;
use keyrack_engine::{Cors, GuardText, Route, Target, Upstream};

use super::Wire as _;

/// A guard from the wire.
pub(crate) fn guard_text(g: wire::Guard) -> GuardText {
    GuardText {
        public: g.public.unwrap_or(false),
        organizations: g.organizations,
        groups: g.groups,
        keys: g.keys,
        scope: g.scope,
        resource: g.resource,
        roles: g.roles.map(|roles| roles.into_iter().map(Role::from_wire).collect()),
        workspace: g.workspace,
        sessions: g.sessions.unwrap_or(false),
        query_key: g.query_key.unwrap_or(false),
    }
}

fn guard(g: GuardText) -> wire::Guard {
    wire::Guard {
        public: g.public.then_some(true),
        organizations: g.organizations,
        groups: g.groups,
        keys: g.keys,
        scope: g.scope,
        resource: g.resource,
        roles: g.roles.map(|roles| roles.into_iter().map(Role::wire).collect()),
        workspace: g.workspace,
        sessions: g.sessions.then_some(true),
        query_key: g.query_key.then_some(true),
    }
}

/// A target from the wire.
pub(crate) fn target(t: wire::Target) -> Target {
    let wire::Target::Upstream {
        url,
        strip_prefix,
        headers,
        secret_headers,
        max_body_bytes,
        timeout_seconds,
        idle_timeout_seconds,
        http2,
    } = t;
    Target::Upstream(Upstream {
        url,
        strip_prefix,
        headers,
        secret_headers,
        max_body_bytes,
        timeout_seconds,
        idle_timeout_seconds,
        http2,
    })
}

fn shown_target(t: Target) -> wire::Target {
    let Target::Upstream(Upstream {
        url,
        strip_prefix,
        headers,
        secret_headers,
        max_body_bytes,
        timeout_seconds,
        idle_timeout_seconds,
        http2,
    }) = t;
    wire::Target::Upstream {
        url,
        strip_prefix,
        headers,
        secret_headers,
        max_body_bytes,
        timeout_seconds,
        idle_timeout_seconds,
        http2,
    }
}

/// From the wire: which web pages may call.
pub(crate) fn cors(c: wire::Cors) -> Cors {
    let wire::Cors { origins, headers, expose, max_age_seconds, credentials } = c;
    Cors { origins, headers, expose, max_age_seconds, credentials }
}

fn shown_cors(c: Cors) -> wire::Cors {
    let Cors { origins, headers, expose, max_age_seconds, credentials } = c;
    wire::Cors { origins, headers, expose, max_age_seconds, credentials }
}

/// A route for the wire, with the guard as people wrote it. `None` if it cannot be read.
pub(crate) fn route(r: Route, shown: GuardText) -> Option<wire::Route> {
    let cors: Option<Cors> = r.cors.map(serde_json::from_value).transpose().ok()?;
    Some(wire::Route {
        id: r.id.0,
        name: r.name,
        host: r.host,
        path: r.path,
        methods: r.methods,
        enabled: r.enabled,
        guard: guard(shown),
        target: shown_target(serde_json::from_value(r.target).ok()?),
        cors: cors.map(shown_cors),
        created_at: r.created_at,
        updated_at: r.updated_at,
    })
}
