//! `keyrack routes`

use anyhow::Context as _;
use clap::{Args, Subcommand};
use keyrack_client::wire::{Cors, CreateRoute, Guard, Role, Route, Target, UpdateRoute};
use uuid::Uuid;

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::{output, serve};

/// What to do with routes.
#[derive(Subcommand)]
pub(crate) enum Routes {
    /// Make a route
    Create(Box<Create>),
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
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(crate) struct Create {
    /// Its path, with :name for a segment and a final *rest
    path: String,
    /// The service behind it, such as http://127.0.0.1:9000
    upstream: String,
    /// Its name; the path if missing
    #[arg(long)]
    name: Option<String>,
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
    #[command(flatten)]
    sending: Sending,
    /// Let web pages from here call it (CORS), such as https://app.example.com, or * for anywhere; may be given several times
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<String>,
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
    let guard = Guard {
        public: c.public.then_some(true),
        organizations: c.any_organization.then(|| "any".to_owned()),
        groups: c.groups,
        keys: c.keys,
        scope: c.scope,
        resource: c.resource,
        roles: c.roles,
        workspace: c.workspace,
        sessions: c.sessions.then_some(true),
        query_key: c.query_key.then_some(true),
    };
    CreateRoute {
        name: c.name,
        host: c.host,
        path: c.path,
        methods: c.methods,
        enabled: None,
        guard,
        target: Target::Upstream {
            url: c.upstream,
            strip_prefix: c.sending.strip_prefix,
            headers: c.sending.headers.into_iter().collect(),
            secret_headers: c.sending.secret_headers.into_iter().collect(),
            max_body_bytes: c.sending.max_body,
            timeout_seconds: c.sending.timeout,
            idle_timeout_seconds: c.sending.idle_timeout,
            http2: c.sending.http2,
        },
        cors: (!c.cors_origins.is_empty()).then(|| Cors { origins: c.cors_origins, ..Cors::default() }),
    }
}

type Client = keyrack_client::Client<connect::Connection>;

async fn switch(client: &Client, route: &str, enabled: bool, json: bool) -> anyhow::Result<()> {
    let id = find(client, route).await?;
    let patch = UpdateRoute { enabled: Some(enabled), ..UpdateRoute::default() };
    show(vec![client.update_route(id, &patch).await?], json)
}

async fn find(client: &Client, name_or_id: &str) -> anyhow::Result<Uuid> {
    let routes = client.list_routes().await?.data;
    let found = routes.into_iter().find(|r| r.name == name_or_id || r.id.to_string() == name_or_id);
    found.map(|r| r.id).with_context(|| format!("there is no route {name_or_id}"))
}

fn show(routes: Vec<Route>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&routes);
    }
    let row = |r: Route| {
        let Target::Upstream { url, .. } = r.target;
        let place = format!("{}{}", r.host.unwrap_or_default(), r.path);
        let open = if r.enabled { "open" } else { "closed" }.to_owned();
        let guard = serde_json::json!(r.guard).to_string();
        [r.id.to_string(), r.name, place, r.methods.join(" "), open, guard, url]
    };
    output::table(["id", "name", "path", "methods", "state", "guard", "upstream"], routes.into_iter().map(row));
    Ok(())
}
