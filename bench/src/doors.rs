//! What doors cost: the gateway beside plain nginx, and beside nginx that asks about each request, all before the same service.
//!
//! What answers for a line has one processor, the service and `wrk` the other. nginx asks with the file of `deploy/`.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use keyrack_bench::instance::Server;

use crate::Options;
use crate::filled::Filled;
use crate::load::{Figures, run};

/// The most different keys that are asked with.
const ASKED: u64 = 100_000;
/// The name of the route that is made for a run.
const ROUTE: &str = "bench of doors";
/// The temporary folders of nginx, which it must be able to make.
const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// Who is asked for the service, and what answers for it.
struct Line<'s> {
    name: &'static str,
    url: String,
    servers: Vec<&'s Server>,
    script: &'s Path,
}

/// Prints what each door costs. Ratios are to plain nginx of the same round; the line is that of the median.
pub(crate) fn measure(options: &Options, filled: &Filled) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let service = service(folder.path())?;
    let settings = ["--egress-allow", "127.0.0.1/32", "--trusted-proxies", "127.0.0.1/32"];
    let keyrack = filled.instance.serve_with("0", &settings)?;
    let plain = nginx(folder.path(), "0", "plain", |port| {
        format!(
            "upstream service {{ server {}; keepalive 64; }} server {{ listen 127.0.0.1:{port}; location / {{ \
             proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
            address(&service)
        )
    })?;
    let deployed = std::fs::read_to_string("deploy/nginx/keyrack.conf").context("run it in the project's folder")?;
    let asking = nginx(folder.path(), "0", "asking", |port| {
        let text = deployed.replace("127.0.0.1:8000", address(&keyrack)).replace("127.0.0.1:9000", address(&service));
        text.replace("listen 8080", &format!("listen 127.0.0.1:{port}"))
    })?;
    make_route(options, filled, &keyrack, &service)?;
    let (caller, proxy) = (script(folder.path(), filled, false)?, script(folder.path(), filled, true)?);
    let line = |name, server: &Server, path: &str, servers, script| Line {
        name,
        url: format!("{}{path}", server.url),
        servers,
        script,
    };
    let lines = [
        line("nginx", &plain, "/bench/a", vec![&plain], &caller),
        line("the service itself", &service, "/bench/a", vec![&service], &caller),
        line("gateway", &keyrack, "/bench/a", vec![&keyrack], &caller),
        line("nginx + auth_request", &asking, "/bench/a", vec![&asking, &keyrack], &caller),
        line("/forward-auth/nginx", &keyrack, "/forward-auth/nginx", vec![&keyrack], &proxy),
    ];
    let measured = rounds(options, &lines);
    delete_route(options, filled, &keyrack)?;
    print(filled, &lines, measured?);
    Ok(())
}

/// A service that answers as little as can be, on the processor of `wrk`.
pub(crate) fn service(folder: &Path) -> anyhow::Result<Server> {
    nginx(folder, "1", "service", |port| {
        format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"as small as an answer can be\"; }} }}")
    })
}

/// For each round what each line shows: with all connections, and with one.
fn rounds(options: &Options, lines: &[Line<'_>]) -> anyhow::Result<Vec<Vec<(Figures, Figures)>>> {
    let round = || {
        let runs = lines.iter().map(|line| {
            let run = |connections| run(options, connections, &line.servers, &line.url, line.script);
            Ok((run(options.connections)?, run(1)?))
        });
        runs.collect()
    };
    (0..options.rounds).map(|_| round()).collect()
}

fn print(filled: &Filled, lines: &[Line<'_>], mut rounds: Vec<Vec<(Figures, Figures)>>) {
    println!("doors: {} keys; the last two columns of one caller at a time", filled.size);
    println!("{:>22} {:>9} {:>8} {:>7} {:>9} {:>9}", "door", "req/s", "us cpu", "ratio", "p50", "p99");
    for (at, line) in lines.iter().enumerate() {
        let ratio = |round: &[(Figures, Figures)]| round[at].0.rate / round[0].0.rate;
        rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        let round = &rounds[rounds.len() / 2];
        let (Figures { rate, cpu, .. }, Figures { p50, p99, .. }) = &round[at];
        println!("{:>22} {rate:>9.0} {cpu:>8.2} {:>7.2} {p50:>9} {p99:>9}", line.name, ratio(round));
    }
}

fn address(server: &Server) -> &str {
    server.url.trim_start_matches("http://")
}

/// Starts nginx with what these lines say within `http`, told the port that they listen on.
fn nginx(folder: &Path, processor: &str, name: &str, lines: impl FnOnce(u16) -> String) -> anyhow::Result<Server> {
    let folder = folder.join(name);
    std::fs::create_dir(&folder)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let temporary = TEMPORARY.map(|what| format!("{what}_temp_path {}/{what};", folder.display())).join(" ");
    let text = format!(
        "daemon off; master_process off; pid {}/pid; error_log stderr crit; worker_rlimit_nofile 4096; events {{ worker_connections 2048; }} \
         http {{ access_log off; keepalive_requests 1000000000; {temporary}\n{}\n}}",
        folder.display(),
        lines(port)
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text)?;
    let mut command = Command::new("taskset");
    command.args(["-c", processor, "nginx", "-e", "stderr", "-c"]).arg(&file);
    Server::listening(&mut command, port).context("nginx is needed (Debian package nginx-light)")
}

fn command(options: &Options, filled: &Filled, server: &Server, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(&options.keyrack);
    command.args(words).args(["--url", &server.url]).env("KEYRACK_KEY", &filled.instance.management_key);
    if !command.stdout(Stdio::null()).status()?.success() {
        bail!("keyrack {} failed", words.join(" "));
    }
    Ok(())
}

fn make_route(options: &Options, filled: &Filled, server: &Server, service: &Server) -> anyhow::Result<()> {
    // One may be left of a run that was broken off.
    let _ = delete_route(options, filled, server);
    let words = ["routes", "create", "/bench/*rest", &service.url, "--name", ROUTE, "--scope", "contacts:read"];
    command(options, filled, server, &words)
}

fn delete_route(options: &Options, filled: &Filled, server: &Server) -> anyhow::Result<()> {
    command(options, filled, server, &["routes", "delete", ROUTE])
}

/// Writes what `wrk` sends: a good key with each request, and as a proxy also what is asked about.
fn script(folder: &Path, filled: &Filled, as_proxy: bool) -> anyhow::Result<PathBuf> {
    let mut lua = String::from("local keys = {\n");
    for number in 0..filled.size.min(ASKED) {
        writeln!(lua, "\"{}\",", keyrack_bench::text(number * 7919 % filled.size).expose())?;
    }
    let told = if as_proxy {
        "[\"X-Original-URI\"] = \"/bench/a\", [\"X-Original-Method\"] = \"GET\", [\"X-Original-Host\"] = \"127.0.0.1\", \
         [\"X-Forwarded-For\"] = \"127.0.0.1\""
    } else {
        ""
    };
    write!(
        lua,
        "}}\nlocal n = #keys\nlocal headers = {{ {told} }}\nfunction request()\nheaders[\"X-API-Key\"] = keys[math.random(n)]\n\
         return wrk.format(\"GET\", nil, headers)\nend\n"
    )?;
    let path = folder.join(if as_proxy { "proxy.lua" } else { "caller.lua" });
    std::fs::write(&path, lua)?;
    Ok(path)
}
