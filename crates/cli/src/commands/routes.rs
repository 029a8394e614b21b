//! `keyrack routes`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use keyrack_client::wire::{
    Cors, CreateRoute, Guard, Role, Route, RouteCalls, RouteMetrics, ScriptVersion, Target, UpdateRoute, UsageBy,
};
use uuid::Uuid;

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::{output, serve};

/// What to do with routes.
#[derive(Subcommand)]
pub(crate) enum Routes {
    /// Make a route
    Create(Box<Create>),
    /// Put a script behind a route; the route is made if there is none of its name
    Deploy(Box<Deploy>),
    /// List what the script of a route said before
    Versions {
        /// Its name or id
        route: String,
    },
    /// Put an earlier version of a route's script into use again
    Rollback {
        /// Its name or id
        route: String,
        /// Which, as `versions` lists them
        #[arg(value_name = "VERSION")]
        number: i64,
    },
    /// Show how many calls a route let in, and how long they took
    Metrics {
        /// Its name or id
        route: String,
        /// minute, hour or day
        #[arg(long, default_value = "hour")]
        by: UsageBy,
        /// Since when, such as 2026-12-01T00:00:00Z; an hour, a day or 30 days back if missing
        #[arg(long)]
        from: Option<Timestamp>,
        /// Up to when; now if missing
        #[arg(long)]
        until: Option<Timestamp>,
    },
    /// List routes
    List,
    /// Open a route
    Enable {
        /// Its name or id
        route: String,
    },
    /// Close a route: it answers 404
    Disable {
        /// Its name or id
        route: String,
    },
    /// Delete a route
    Delete {
        /// Its name or id
        route: String,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Its path, with :name for a segment and a final *rest
    path: String,
    /// The service behind it, such as http://127.0.0.1:9000
    upstream: String,
    /// Its name; the path if missing
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args)]
pub(crate) struct Deploy {
    /// The file with the script: an ES module whose default export answers requests. - for standard input
    file: PathBuf,
    /// The route's name; the name of the file without .js if missing
    #[arg(long)]
    name: Option<String>,
    /// The route's path; needed to make it
    #[arg(long)]
    path: Option<String>,
    #[command(flatten)]
    door: Door,
}

/// Whom a route lets in, and where it is.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
struct Door {
    /// The host it answers on
    #[arg(long)]
    host: Option<String>,
    /// A method it takes; may be given several times
    #[arg(long = "method", value_name = "METHOD")]
    methods: Option<Vec<String>>,
    /// Let anybody in
    #[arg(long)]
    public: bool,
    /// Let in keys of this group; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Option<Vec<String>>,
    /// Let in this key, by id; may be given several times
    #[arg(long = "for-key", value_name = "ID")]
    keys: Option<Vec<String>>,
    /// Ask for this scope
    #[arg(long)]
    scope: Option<String>,
    /// Ask for read or write on this resource, by method
    #[arg(long, conflicts_with = "scope")]
    resource: Option<String>,
    /// Let in callers that count as this role; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Option<Vec<Role>>,
    /// The workspace of the door
    #[arg(long)]
    workspace: Option<String>,
    /// Take keys of every organization
    #[arg(long)]
    any_organization: bool,
    /// Take a key in the query
    #[arg(long)]
    query_key: bool,
    /// Let signed-in people in too
    #[arg(long)]
    sessions: bool,
    /// Let web pages from here call it (CORS), such as https://app.example.com, or * for anywhere; may be given several times
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<String>,
}

impl Door {
    /// Whether something was said of whom it lets in.
    fn says_whom(&self) -> bool {
        let flags = self.public || self.any_organization || self.query_key || self.sessions;
        let lists = self.groups.is_some() || self.keys.is_some() || self.roles.is_some();
        flags || lists || self.scope.is_some() || self.resource.is_some() || self.workspace.is_some()
    }

    fn route(self, path: String, name: Option<String>, target: Target) -> CreateRoute {
        let guard = self.guard();
        CreateRoute {
            name,
            host: self.host,
            path,
            methods: self.methods,
            enabled: None,
            guard,
            target,
            cors: cors(self.cors_origins),
        }
    }

    fn guard(&self) -> Guard {
        Guard {
            public: self.public.then_some(true),
            organizations: self.any_organization.then(|| "any".to_owned()),
            groups: self.groups.clone(),
            keys: self.keys.clone(),
            scope: self.scope.clone(),
            resource: self.resource.clone(),
            roles: self.roles.clone(),
            workspace: self.workspace.clone(),
            sessions: self.sessions.then_some(true),
            query_key: self.query_key.then_some(true),
        }
    }
}

fn cors(origins: Vec<String>) -> Option<Cors> {
    (!origins.is_empty()).then(|| Cors { origins, ..Cors::default() })
}

/// How requests get to the service.
#[derive(Args)]
struct Sending {
    /// Cut this off the beginning of the path before it is appended to the service's address
    #[arg(long, value_name = "PATH")]
    strip_prefix: Option<String>,
    /// Send the service this header; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Send the service this header with the caller's own secret of this name; may be given several times
    #[arg(long = "secret-header", value_name = "NAME: SECRET", value_parser = header)]
    secret_headers: Vec<(String, String)>,
    /// The largest body of a request
    #[arg(long, value_name = "BYTES")]
    max_body: Option<u64>,
    /// How long the service may take to begin its answer; 60 if missing
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// How long the service may be silent in the middle of an answer; 300 if missing
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u32>,
    /// Speak HTTP/2 to the service without asking first
    #[arg(long)]
    http2: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("must be NAME: VALUE")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// Does it.
pub(crate) async fn run(command: Routes, json: bool, settings: &Settings) -> anyhow::Result<()> {
    let client = connect::client(settings, Needs::default()).await?;
    match command {
        Routes::Create(create) => show(vec![client.create_route(&wanted(*create)).await?], json),
        Routes::Deploy(wanted) => show(vec![deploy(&client, *wanted).await?], json),
        Routes::Versions { route } => versions(&client, &route, json).await,
        Routes::Rollback { route, number } => show(vec![roll_back(&client, &route, number).await?], json),
        Routes::Metrics { route, by, from, until } => {
            let metrics = client.route_metrics(find(&client, &route).await?, by, (from, until)).await?;
            if json {
                return output::json(&metrics);
            }
            show_metrics(&metrics);
            Ok(())
        }
        Routes::List => show(client.list_routes().await?.data, json),
        Routes::Enable { route } => switch(&client, &route, true, json).await,
        Routes::Disable { route } => switch(&client, &route, false, json).await,
        Routes::Delete { route } => {
            let id = find(&client, &route).await?;
            client.delete_route(id).await?;
            if json {
                return output::json(&serde_json::json!({ "deleted": id }));
            }
            serve::announce(&format!("deleted {route}"));
            Ok(())
        }
    }
}

fn wanted(c: Create) -> CreateRoute {
    let target = Target::Upstream {
        url: c.upstream,
        strip_prefix: c.sending.strip_prefix,
        headers: c.sending.headers.into_iter().collect(),
        secret_headers: c.sending.secret_headers.into_iter().collect(),
        max_body_bytes: c.sending.max_body,
        timeout_seconds: c.sending.timeout,
        idle_timeout_seconds: c.sending.idle_timeout,
        http2: c.sending.http2,
    };
    c.door.route(c.path, c.name, target)
}

/// Puts a script behind the route of its name, which is made if it is not there.
async fn deploy(client: &Client, deploy: Deploy) -> anyhow::Result<Route> {
    let Deploy { file, name, path, door } = deploy;
    let source = read(&file)?;
    let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-");
    let name = name.or(stem.map(str::to_owned)).context("give the route a name: --name")?;
    let routes = client.list_routes().await?.data;
    let mut named = routes.into_iter().filter(|route| route.name == name || route.id.to_string() == name);
    let Some(route) = named.next() else {
        let path = path.with_context(|| format!("there is no route {name}; give a path to make it: --path"))?;
        return Ok(client.create_route(&door.route(path, Some(name), Target::Script { source })).await?);
    };
    if named.next().is_some() {
        bail!("several routes are called {name}; give an id: --name");
    }
    if door.host.is_some() {
        bail!("the host of a route stays what it is; make another route");
    }
    let patch = UpdateRoute {
        path,
        methods: door.methods.clone(),
        guard: door.says_whom().then(|| door.guard()),
        target: Some(Target::Script { source }),
        cors: cors(door.cors_origins).map(Some),
        ..UpdateRoute::default()
    };
    Ok(client.update_route(route.id, &patch).await?)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

async fn versions(client: &Client, route: &str, json: bool) -> anyhow::Result<()> {
    let versions = client.list_script_versions(find(client, route).await?).await?.data;
    if json {
        return output::json(&versions);
    }
    let row = |v: ScriptVersion| [v.version.to_string(), v.created_at.to_string(), v.bytes.to_string()];
    output::table(["version", "since", "bytes"], versions.into_iter().map(row));
    Ok(())
}

async fn roll_back(client: &Client, route: &str, version: i64) -> anyhow::Result<Route> {
    let id = find(client, route).await?;
    let source = client.get_script_version(id, version).await?.source.context("the server left the script out")?;
    let patch = UpdateRoute { target: Some(Target::Script { source }), ..UpdateRoute::default() };
    Ok(client.update_route(id, &patch).await?)
}

fn show_metrics(metrics: &RouteMetrics) {
    let row = |at: String, of: &RouteCalls| {
        let shown = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        [at, of.calls.to_string(), of.failures.to_string(), shown(of.mean_ms), shown(of.max_ms)]
    };
    let times = metrics.times.iter().filter(|time| time.calls.calls > 0);
    let rows = times.map(|time| row(time.start.to_string(), &time.calls));
    let all = std::iter::once(row("all".to_owned(), &metrics.total));
    output::table([metrics.by.as_str(), "calls", "failed", "mean ms", "max ms"], rows.chain(all));
}

pub(crate) type Client = keyrack_client::Client<connect::Connection>;

async fn switch(client: &Client, route: &str, enabled: bool, json: bool) -> anyhow::Result<()> {
    let id = find(client, route).await?;
    let patch = UpdateRoute { enabled: Some(enabled), ..UpdateRoute::default() };
    show(vec![client.update_route(id, &patch).await?], json)
}

pub(crate) async fn find(client: &Client, name_or_id: &str) -> anyhow::Result<Uuid> {
    let routes = client.list_routes().await?.data;
    let found = routes.into_iter().find(|r| r.name == name_or_id || r.id.to_string() == name_or_id);
    found.map(|r| r.id).with_context(|| format!("there is no route {name_or_id}"))
}

fn show(routes: Vec<Route>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&routes);
    }
    let row = |r: Route| {
        let target = match r.target {
            Target::Upstream { url, .. } => url,
            Target::Script { .. } => "a script".to_owned(),
        };
        let place = format!("{}{}", r.host.unwrap_or_default(), r.path);
        let open = if r.enabled { "open" } else { "closed" }.to_owned();
        let guard = serde_json::json!(r.guard).to_string();
        [r.id.to_string(), r.name, place, r.methods.join(" "), open, guard, target]
    };
    output::table(["id", "name", "path", "methods", "state", "guard", "target"], routes.into_iter().map(row));
    Ok(())
}
