//! Routes, to the wire and from it.

use keyrack_client::wire;
use keyrack_core::Role;
use keyrack_engine::{
    Cors, GuardText, Route, RouteLog, RouteMetric, RouteMetrics, Script, ScriptVersion, Target, Upstream,
};

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
    match t {
        wire::Target::Upstream {
            url,
            strip_prefix,
            headers,
            secret_headers,
            max_body_bytes,
            timeout_seconds,
            idle_timeout_seconds,
            http2,
        } => Target::Upstream(Upstream {
            url,
            strip_prefix,
            headers,
            secret_headers,
            max_body_bytes,
            timeout_seconds,
            idle_timeout_seconds,
            http2,
        }),
        wire::Target::Script { source } => Target::Script(Script { source }),
    }
}

fn shown_target(t: Target) -> wire::Target {
    match t {
        Target::Upstream(Upstream {
            url,
            strip_prefix,
            headers,
            secret_headers,
            max_body_bytes,
            timeout_seconds,
            idle_timeout_seconds,
            http2,
        }) => wire::Target::Upstream {
            url,
            strip_prefix,
            headers,
            secret_headers,
            max_body_bytes,
            timeout_seconds,
            idle_timeout_seconds,
            http2,
        },
        Target::Script(Script { source }) => wire::Target::Script { source },
    }
}

/// A version of a script for the wire, without what it says.
pub(crate) fn script_version(v: &ScriptVersion) -> wire::ScriptVersion {
    let bytes = u64::try_from(v.source.len()).unwrap_or(u64::MAX);
    wire::ScriptVersion { version: v.version, bytes, created_at: v.created_at, source: None }
}

/// What was counted of a route, for the wire.
pub(crate) fn route_metrics(m: &RouteMetrics) -> wire::RouteMetrics {
    let time = |of: &RouteMetric| wire::RouteTime { start: of.start, calls: calls(of) };
    wire::RouteMetrics {
        from: m.from,
        until: m.to,
        by: m.by.wire(),
        total: calls(&m.total),
        times: m.times.iter().map(time).collect(),
    }
}

fn calls(of: &RouteMetric) -> wire::RouteCalls {
    let milliseconds = |micros: i64| std::time::Duration::from_micros(micros.unsigned_abs()).as_secs_f64() * 1e3;
    wire::RouteCalls {
        calls: of.calls.unsigned_abs(),
        failures: of.failures.unsigned_abs(),
        mean_ms: of.mean().map(milliseconds),
        max_ms: (of.calls > 0).then(|| milliseconds(of.longest)),
    }
}

/// A line of a route's log for the wire.
pub(crate) fn route_log(l: RouteLog) -> wire::RouteLog {
    wire::RouteLog {
        id: l.id.0,
        at: l.at,
        request_id: l.request,
        kind: l.kind.wire(),
        level: match l.level {
            0 => wire::RouteLogLevel::Debug,
            1 => wire::RouteLogLevel::Info,
            2 => wire::RouteLogLevel::Warn,
            _ => wire::RouteLogLevel::Error,
        },
        message: l.message,
        method: l.method,
        status: l.status,
        milliseconds: l
            .micros
            .map(|micros| std::time::Duration::from_micros(micros.unsigned_abs()).as_secs_f64() * 1e3),
        key: l.key.map(|(id, name)| wire::RouteLogKey { id: id.0, name }),
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
