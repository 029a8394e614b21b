//! `keyrack demo`: a throw-away instance with something in it, and what to try.

mod upstream;

use std::process::ExitCode;

use anyhow::Context as _;
use keyrack_core::Body;
use keyrack_engine::{Context, Engine, GuardText, NewGroup, NewInstance, NewKey, NewRoute, NewSecret, Script, Target};
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::serve::{Server, Signals, announce};
use crate::{exit, logging};

/// Serves the demo until Ctrl-C; nothing of it is left behind.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let quiet =
        if settings.is_set("log.level") { settings.clone() } else { settings.clone().with("log.level", "warn") };
    logging::start(&quiet)?;
    let folder = tempfile::tempdir().context("there is no place for temporary files")?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let settings = quiet
        .with("database", &format!("sqlite:{}", at("demo.db")))
        .with("keyfile", &at("demo.keyfile"))
        .with("egress.allow", "127.0.0.1/32");
    let mut signals = Signals::new()?;
    let (server, upstream, seeded) = tokio::select! {
        prepared = prepare(&settings) => prepared?,
        _ = signals.next() => return Ok(ExitCode::from(exit::DONE)),
    };
    announce(&seeded.tell(&format!("http://{}", server.address)));
    let stop = async {
        signals.next().await;
    };
    server.run(stop).await?;
    upstream.abort();
    announce("\nThe demo is over; nothing of it is left.");
    Ok(ExitCode::from(exit::DONE))
}

async fn prepare(settings: &Settings) -> anyhow::Result<(Server, JoinHandle<()>, Seeded)> {
    let server = Server::start(settings).await;
    let server = server.context("the demo cannot start (another address? --listen 127.0.0.1:8001)")?;
    let (upstream, upstream_task) = upstream::start().await?;
    let seeded = seed(&server.engine, &format!("http://{upstream}")).await?;
    Ok((server, upstream_task, seeded))
}

/// What the demo holds, for printing. These keys die with it.
struct Seeded {
    password: String,
    management: String,
    form: String,
    form_id: String,
    dashboard: String,
    dashboard_id: String,
    sales: String,
    embeddings: String,
    analytics: String,
    mobile: String,
}

async fn seed(engine: &Engine, upstream: &str) -> anyhow::Result<Seeded> {
    let owner_password = data_encoding::BASE32_NOPAD.encode(&engine.random_bits()?);
    let owner_email = "ada@acme.example".to_owned();
    let password = owner_password.clone();
    let new = NewInstance {
        slug: "acme".to_owned(),
        name: Some("Acme".to_owned()),
        tier: None,
        owner_email,
        owner_password,
        with_management_key: true,
    };
    let made = engine.initialize(new).await?.context("the demo's database is not empty")?;
    let ctx = Context::host(made.organization);
    engine.create_workspace(&ctx, "sales", Some("Sales")).await?;
    engine.create_workspace(&ctx, "inventory", Some("Inventory")).await?;
    let groups = [
        ("embeddings", Some("sk_"), Body::Hex),
        ("analytics", Some(""), Body::Base64url),
        ("mobile", Some(""), Body::Base64url),
    ];
    for (name, prefix, body) in groups {
        let key_format = Some((prefix.map(str::to_owned), body));
        engine.create_group(&ctx, NewGroup { name: name.to_owned(), key_format, ..NewGroup::default() }).await?;
    }
    let script = |source: &str| Target::Script(Script { source: source.to_owned() });
    let callers = Some(vec!["analytics".to_owned(), "mobile".to_owned()]);
    for (path, guard, target) in [
        (
            "/contacts",
            GuardText { resource: Some("contacts".to_owned()), ..GuardText::default() },
            Target::upstream(upstream),
        ),
        (
            "/v1/embeddings",
            GuardText { organizations: Some("any".to_owned()), ..GuardText::default() },
            script(include_str!("embeddings.js")),
        ),
        ("/run/report", GuardText { groups: callers, ..GuardText::default() }, script(include_str!("report.js"))),
        (
            "/sales/forecast",
            GuardText { workspace: Some("sales".to_owned()), ..GuardText::default() },
            Target::upstream(upstream),
        ),
        ("/status", GuardText { public: true, ..GuardText::default() }, Target::upstream(upstream)),
    ] {
        let (name, path) = (path.trim_start_matches('/').to_owned(), path.to_owned());
        engine
            .create_route(
                &ctx,
                NewRoute { name, host: None, path, methods: None, disabled: false, guard, target, cors: None },
            )
            .await?;
    }
    for (value, scope, owner) in [
        ("postgres://app@db.acme.example/production", "global", None),
        ("postgres://reader@db.acme.example/production", "group", Some("analytics")),
    ] {
        let new = NewSecret {
            name: "DATABASE_URL".to_owned(),
            value: value.to_owned().into(),
            scope: scope.to_owned(),
            owner: owner.map(str::to_owned),
            comment: None,
        };
        engine.create_secret(&ctx, new).await?;
    }
    let key = async |name: &str, group: Option<&str>, workspace: Option<&str>, scopes: &[&str]| -> anyhow::Result<_> {
        let new = NewKey {
            name: Some(name.to_owned()),
            group: group.map(str::to_owned),
            workspace: workspace.map(str::to_owned),
            scopes: Some(scopes.iter().map(ToString::to_string).collect()),
            ..NewKey::default()
        };
        let created = engine.create_key(&ctx, new).await?;
        let secret = created.secret.context("a new key has no text")?.expose().to_owned();
        Ok((created.key.key.id.to_string(), secret))
    };
    let (form_id, form) = key("Website form", None, None, &["contacts:write"]).await?;
    let (dashboard_id, dashboard) = key("Dashboard", None, None, &["contacts:read"]).await?;
    let (_, sales) = key("Sales sync", None, Some("sales"), &["*:read", "*:write"]).await?;
    let (_, embeddings) = key("Embeddings", Some("embeddings"), None, &["embeddings:write"]).await?;
    let (_, analytics) = key("Nightly report", Some("analytics"), None, &["reports:read"]).await?;
    let (_, mobile) = key("Phone app", Some("mobile"), None, &["reports:read"]).await?;
    let management = made.management_key.context("there is no management key")?.expose().to_owned();
    Ok(Seeded { password, management, form, form_id, dashboard, dashboard_id, sales, embeddings, analytics, mobile })
}

impl Seeded {
    fn tell(&self, url: &str) -> String {
        let Self { password, management, form, form_id, dashboard, dashboard_id, sales, embeddings, analytics, mobile } =
            self;
        format!(
            r#"keyrack listens on {url}
Console:       {url}/login         ada@acme.example, {password}
API reference: {url}/docs          Ctrl-C ends the demo

Paste this into another terminal:

  URL={url}
  MANAGE={management}
  FORM={form}
  DASHBOARD={dashboard}
  SALES={sales}
  EMBEDDINGS={embeddings}
  ANALYTICS={analytics}
  MOBILE={mobile}

A service behind a door. FORM may write contacts and nothing else, DASHBOARD may read them.

  201  curl -i $URL/contacts -H "Authorization: Bearer $FORM" -H 'Content-Type: application/json' -d '{{"name":"Grace"}}'
  403  curl -i $URL/contacts -H "Authorization: Bearer $FORM"
  200  curl -i $URL/contacts -H "X-API-Key: $DASHBOARD"
  401  curl -i $URL/contacts

A script behind a door, and a secret of which each caller is given their own: DATABASE_URL is another one for analytics.

  200  curl -i $URL/run/report -u ":$ANALYTICS"
  200  curl -i $URL/run/report -H "X-API-Key: $MOBILE"
  401  curl -i $URL/run/report -H "X-API-Key: $DASHBOARD"

Doors for a workspace, and for anybody's keys. Groups choose how their keys look. (Another script: hashed n-grams, no model.)

  200  curl -i $URL/sales/forecast -H "X-API-Key: $SALES"
  200  curl -i $URL/v1/embeddings -H "X-API-Key: $EMBEDDINGS" -H 'Content-Type: application/json' -d '{{"input":"hello"}}'

Ask about a key from your own code.

  200  curl -i $URL/api/verify -H "X-API-Key: $MANAGE" -H 'Content-Type: application/json' -d "{{\"key\":\"$DASHBOARD\",\"scope\":\"contacts:read\"}}"

Rotate without a failed request: the old key works on for a minute beside the new one.

  200  curl -i $URL/api/keys/{dashboard_id}/rotate -H "X-API-Key: $MANAGE" -H 'Content-Type: application/json' -d '{{"overlap_seconds":60}}'
  200  curl -i $URL/contacts -H "X-API-Key: $DASHBOARD"

Revoke: when this has answered, the very next request is refused.

  200  curl -i -X POST $URL/api/keys/{form_id}/revoke -H "X-API-Key: $MANAGE"
  401  curl -i $URL/contacts -H "Authorization: Bearer $FORM" -H 'Content-Type: application/json' -d '{{"name":"Eve"}}'
"#
        )
    }
}
