//! Scripts behind routes: what a call costs beside a service behind a route, and what it is to others when scripts never end.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::bail;
use keyrack_bench::instance::Server;
use keyrack_testkit::Http;

use crate::Options;
use crate::doors;
use crate::filled::Filled;
use crate::load::{self, Kind};

/// What is behind the routes that are made for a run: the smallest script, one that looks at its caller and its secret, and one
/// that never ends.
const SCRIPTS: [(&str, &str); 3] = [
    ("plain", "export default () => new Response('as small as an answer can be')"),
    (
        "telling",
        "export default async (request, ctx) => Response.json({ key: ctx.authenticatedKey.id, group: ctx.authenticatedKeyGroup, \
         database: (await ctx.getSecret('DATABASE_URL'))?.length, agent: request.headers.get('user-agent') })",
    ),
    ("endless", "export default () => { for (;;) {} }"),
];
/// How many call what never ends at the same time, on each of two routes: together they have every process that there is.
const HANDS: u64 = 40;

/// Prints what calls cost, and what verifying takes beside scripts that never end.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let service = doors::service(folder.path())?;
    let settings = ["--egress-allow", "127.0.0.1/32"];
    let keyrack = filled.instance.serve_with("0", &settings)?;
    let made = make(options, filled, &keyrack, &service, folder.path());
    let measured = made.and_then(|()| {
        calls(options, filled, &keyrack, folder.path())?;
        endless(options, filled, &keyrack, folder.path())
    });
    for name in names() {
        delete(options, filled, &keyrack, &name)?;
    }
    measured
}

fn names() -> Vec<String> {
    let scripts = SCRIPTS.iter().map(|(name, _)| *name);
    scripts.chain(["endless too", "service"]).map(|name| format!("bench of scripts: {name}")).collect()
}

fn command(options: &Options, filled: &Filled, server: &Server) -> Command {
    let mut command = Command::new(&options.keyrack);
    command.args(["--url", &server.url]).env("KEYRACK_KEY", &filled.instance.management_key).stdout(Stdio::null());
    command
}

fn make(options: &Options, filled: &Filled, server: &Server, service: &Server, folder: &Path) -> anyhow::Result<()> {
    let names = names();
    for name in &names {
        // One may be left of a run that was broken off.
        let mut left = command(options, filled, server);
        left.args(["routes", "delete", name]).stderr(Stdio::null()).status()?;
    }
    let scope = ["--scope", "contacts:read"];
    let sources = SCRIPTS.iter().chain(&SCRIPTS[2..]);
    for (at, (name, (_, source))) in names.iter().zip(sources).enumerate() {
        let file = folder.join(format!("{at}.js"));
        std::fs::write(&file, source)?;
        let mut deploy = command(options, filled, server);
        deploy.args(["routes", "deploy", "--name", name, "--path", &format!("/run/{at}")]).args(scope).arg(&file);
        done(&mut deploy)?;
    }
    let mut create = command(options, filled, server);
    create.args(["routes", "create", "/bench/scripts/*rest", &service.url, "--name", &names[4]]).args(scope);
    done(&mut create)
}

fn delete(options: &Options, filled: &Filled, server: &Server, name: &str) -> anyhow::Result<()> {
    done(command(options, filled, server).args(["routes", "delete", name]))
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    if !command.status()?.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}

/// One caller after the other, and many at once, in turn.
fn calls(options: &Options, filled: &Filled, server: &Server, folder: &Path) -> anyhow::Result<()> {
    let script = asks(folder, filled)?;
    let lines = [("service", "/bench/scripts/a"), ("plain script", "/run/0"), ("telling script", "/run/1")];
    println!("scripts: {} keys, {}; the server and its scripts on one processor", filled.size, filled.kind);
    println!("{:>16} {:>12} {:>9} {:>9} {:>9}", "behind the route", "connections", "req/s", "p50", "p99");
    for connections in [1, 16] {
        for _ in 0..options.rounds {
            for (name, path) in lines {
                let figures = load::run(options, connections, &[server], &format!("{}{path}", server.url), &script)?;
                println!("{name:>16} {connections:>12} {:>9.0} {:>9} {:>9}", figures.rate, figures.p50, figures.p99);
            }
        }
    }
    Ok(())
}

fn asks(folder: &Path, filled: &Filled) -> anyhow::Result<PathBuf> {
    let mut lua = String::new();
    write!(
        lua,
        "local headers = {{ [\"X-API-Key\"] = \"{}\" }}\nfunction request()\nreturn wrk.format(\"GET\", nil, headers)\nend\n",
        keyrack_bench::text(filled.size / 2).expose()
    )?;
    let path = folder.join("asks.lua");
    std::fs::write(&path, lua)?;
    Ok(path)
}

/// Verifying alone, and beside scripts that never end.
fn endless(options: &Options, filled: &Filled, server: &Server, folder: &Path) -> anyhow::Result<()> {
    let script = load::script(folder, Kind::Good, filled)?;
    let url = format!("{}/api/verify", server.url);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for _ in 0..options.rounds {
        let alone = load::run(options, options.connections, &[server], &url, &script)?;
        let over = Arc::new(AtomicBool::new(false));
        let ended: Arc<AtomicU64> = Arc::default();
        let mut hands = Vec::new();
        for hand in 0..HANDS * 2 {
            let http = Http::new(&server.url).with_bearer(keyrack_bench::text(hand % filled.size).expose());
            hands.push(runtime.spawn(call(http, 2 + hand % 2, Arc::clone(&over), Arc::clone(&ended))));
        }
        let beside = load::run(options, options.connections, &[server], &url, &script)?;
        over.store(true, Ordering::Relaxed);
        for hand in hands {
            runtime.block_on(hand)?;
        }
        println!(
            "endless scripts: {:.0} verified a second (p50 {}, p99 {}) alone, {:.0} (p50 {}, p99 {}) beside {} calls that were ended",
            alone.rate,
            alone.p50,
            alone.p99,
            beside.rate,
            beside.p50,
            beside.p99,
            ended.load(Ordering::Relaxed),
        );
    }
    Ok(())
}

/// Calls a script that never ends until it is over.
async fn call(http: Http, route: u64, over: Arc<AtomicBool>, ended: Arc<AtomicU64>) {
    while !over.load(Ordering::Relaxed) {
        let answer = http.get(&format!("/run/{route}")).send().await;
        if answer.status == 504 {
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}
