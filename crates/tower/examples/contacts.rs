//! A service with keys in front of its routes.
//!
//! `cargo run -p keyrack-tower --example contacts` decides in process, over a database that is thrown away at the end;
//! with `--remote http://127.0.0.1:8000 --key KEY` it asks a running keyrack. It prints what to try.
#![expect(clippy::print_stdout, reason = "it says what to try")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::{any, get};
use clap::Parser;
use keyrack_core::token::MasterKey;
use keyrack_core::{OrganizationId, Pepper};
use keyrack_engine::{
    Clock as _, Context, Engine, EngineRole, NewGroup, NewInstance, NewKey, OsRandom, Parts, Random, Store, SystemClock,
};
use keyrack_tower::{Grant, Keyrack, RequireKey, Role, SetupError};
use tokio::net::TcpListener;

/// A service with keys in front of its routes
#[derive(Parser)]
struct Options {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The keyrack to ask; without one, this process decides by itself
    #[arg(long, requires = "key")]
    remote: Option<String>,
    /// The key to ask it with: one with the scope keyrack.verification:read
    #[arg(long)]
    key: Option<String>,
}

/// What each route asks.
fn contacts(keyrack: &Keyrack) -> Result<Router, SetupError> {
    let anybody = keyrack.require(RequireKey::public())?;
    let any_key = keyrack.require(RequireKey::any())?;
    let readers = keyrack.require(RequireKey::scope("contacts:read"))?;
    // GET needs contacts:read, PUT and DELETE need contacts:write.
    let contact = keyrack.require(RequireKey::resource("contacts"))?;
    // Takes ten units of the caller's limits and quota.
    let partners = keyrack.require(RequireKey::scope("contacts:read").groups(["partners"]).cost(10))?;
    let admins = keyrack.require(RequireKey::any().roles([Role::Admin]))?;
    Ok(Router::new()
        .route("/", get(async || "contacts: a service with keys\n").layer(anybody))
        .route("/me", get(me).layer(any_key))
        .route("/contacts", get(list).layer(readers))
        .route("/contacts/{id}", any(one).layer(contact))
        .route("/export", get(async |grant: Grant| format!("everything, for {}\n", grant.group.name)).layer(partners))
        .route("/admin", get(async |grant: Grant| format!("hello, {}\n", grant.key.name)).layer(admins)))
}

async fn me(grant: Grant) -> String {
    serde_json::to_string_pretty(&grant).unwrap_or_default()
}

async fn list(grant: Grant) -> String {
    let may_write = grant.may("contacts:write");
    format!("the contacts of {}; may write: {may_write}\n", grant.organization.slug)
}

async fn one(grant: Grant, Path(id): Path<String>) -> String {
    format!("contact {id} of {}\n", grant.organization.slug)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { listen, remote, key } = Options::parse();
    let listener = TcpListener::bind(listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    if let Some((remote, key)) = remote.zip(key) {
        println!("asks {remote}; try: curl -H \"X-API-Key: $KEY\" {url}/contacts");
        return serve(listener, contacts(&Keyrack::remote(&remote, &key)?)?).await;
    }
    let folder = tempfile::tempdir()?;
    let (engine, acme) = throw_away(&format!("sqlite:{}", folder.path().join("keyrack.db").display())).await?;
    say_what_to_try(&engine, acme, &url).await?;
    let app = contacts(&Keyrack::in_process(Arc::clone(&engine), acme))?;
    // Whoever decides has to be kept running: it learns of changes, and writes down what was counted.
    let seat = engine.take_seat("contacts").await?;
    let running = tokio::spawn(Arc::clone(&engine).run(seat, async {
        let _ = tokio::signal::ctrl_c().await;
    }));
    serve(listener, app).await?;
    running.await?;
    engine.close().await;
    Ok(())
}

/// Keys that are restricted to addresses need the address that a request comes from: hence `ConnectInfo`.
async fn serve(listener: TcpListener, app: Router) -> Result<(), Box<dyn Error>> {
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(axum::serve(listener, app).with_graceful_shutdown(stop).await?)
}

/// An engine over a new database, with the organization `acme`. A service that stays keeps its pepper and its master key, apart
/// from the database.
async fn throw_away(database: &str) -> Result<(Arc<Engine>, OrganizationId), Box<dyn Error>> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom::default()));
    let secret = || (random.as_ref() as &dyn Random).bytes::<32>();
    let parts = Parts {
        store: Store::open(database, clock.now()).await?,
        peppers: vec![Pepper::new(1, &secret()?)],
        master_keys: vec![MasterKey::new(1, &secret()?)],
        keyfile: None,
        master_key_days: None,
        clock,
        random,
    };
    let engine = Engine::start(parts, EngineRole::Server).await?;
    let new = NewInstance {
        slug: "acme".to_owned(),
        name: None,
        tier: None,
        owner_email: "owner@acme.test".to_owned(),
        owner_password: "a password for examples only".to_owned(),
        with_management_key: false,
    };
    let made = engine.initialize(new).await?.ok_or("there is an organization already")?;
    Ok((engine, made.organization))
}

/// Makes some keys, and shows lines to paste.
async fn say_what_to_try(engine: &Arc<Engine>, acme: OrganizationId, url: &str) -> Result<(), Box<dyn Error>> {
    let host = Context::host(acme);
    let partners = NewGroup { name: "partners".to_owned(), ..NewGroup::default() };
    engine.create_group(&host, partners).await?;
    let key = async |name: &str, group: &str, scope: &str| -> Result<String, Box<dyn Error>> {
        let new = NewKey {
            name: Some(name.to_owned()),
            group: Some(group.to_owned()),
            scopes: Some(vec![scope.to_owned()]),
            ..NewKey::default()
        };
        let secret = engine.create_key(&host, new).await?.secret.ok_or("a new key has a text")?;
        Ok(secret.expose().to_owned())
    };
    let reader = key("reader", "default", "contacts:read").await?;
    let partner = key("partner", "partners", "contacts:read").await?;
    let admin = key("admin", "management", "contacts:admin").await?;
    println!("# nobody needs a key here");
    println!("curl -i {url}/");
    println!("# who am I, and what has my organization used");
    println!("curl -i -H 'X-API-Key: {reader}' {url}/me");
    println!("# a scope: yes; without a key: 401");
    println!("curl -i -H 'Authorization: Bearer {reader}' {url}/contacts");
    println!("curl -i {url}/contacts");
    println!("# a resource: GET reads, DELETE writes, which this key may not: 403");
    println!("curl -i -H 'X-API-Key: {reader}' {url}/contacts/7");
    println!("curl -i -H 'X-API-Key: {reader}' -X DELETE {url}/contacts/7");
    println!("curl -i -H 'X-API-Key: {admin}' -X DELETE {url}/contacts/7");
    println!("# a group: a key of no partner is unknown here: 401; a partner pays ten units");
    println!("curl -i -H 'X-API-Key: {reader}' {url}/export");
    println!("curl -i -H 'X-API-Key: {partner}' {url}/export");
    println!("# a role: keys of an access group count as admins");
    println!("curl -i -H 'X-API-Key: {reader}' {url}/admin");
    println!("curl -i -H 'X-API-Key: {admin}' {url}/admin");
    println!("\n{url} (Ctrl-C ends it, and its database goes)");
    Ok(())
}
