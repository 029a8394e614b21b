//! A proxy with its file of `deploy/`, between callers and a service, and a keyrack that it asks.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyrack_testkit::http::Request;
use keyrack_testkit::process::Running;
use keyrack_testkit::{Answer, Database, Http, Keyrack, Program, Upstream};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const KEYRACK: &str = env!("CARGO_BIN_EXE_keyrack");
/// What the service is told of its caller.
pub(crate) const IDENTITY: [&str; 9] = [
    "x-consumer-id",
    "x-consumer-username",
    "x-consumer-groups",
    "x-credential-identifier",
    "x-keyrack-key-name",
    "x-keyrack-workspace",
    "x-keyrack-scopes",
    "x-keyrack-role",
    "x-request-id",
];
/// Where Envoy's files send on what may pass, and what they say there of the route that decides.
const SENT_ON: &str = "route: { cluster: service }";
const NAMED: &str = r#"
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings:
                                context_extensions: { keyrack.organization: acme, keyrack.route: the one }"#;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Nginx,
    Caddy,
    Haproxy,
    Envoy,
    EnvoyGrpc,
    /// The same, with a route that its configuration names.
    EnvoyNamed,
}

/// A proxy between callers and a service, with a keyrack that it asks.
pub(crate) struct Front {
    pub(crate) kind: Kind,
    pub(crate) keyrack: Keyrack,
    pub(crate) service: Upstream,
    pub(crate) http: Http,
    _proxy: Running,
    _directory: TempDir,
}

impl Front {
    /// `None` where the proxy is not installed.
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        let program = program(kind)?;
        let grpc = free_port();
        let listen = format!("127.0.0.1:{grpc}");
        let arguments = ["--trusted-proxies", "127.0.0.1/32", "--grpc-listen", &listen];
        let keyrack = Keyrack::setup(KEYRACK, Database::Sqlite).args(arguments).start();
        let service = Upstream::start().await;
        let (directory, port) = (TempDir::new().unwrap(), free_port());
        let proxy = configured(kind, program, directory.path(), &keyrack, &service, (port, grpc)).start();
        let http = Http::new(format!("http://127.0.0.1:{port}"));
        let until = Instant::now() + Duration::from_secs(30);
        while http.get("/").try_send().await.is_err() {
            assert!(Instant::now() < until, "{kind:?} does not answer\n{}\n{}", proxy.stdout(), proxy.stderr());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let front = Self { kind, keyrack, service, http, _proxy: proxy, _directory: directory };
        front.route("/v1/*rest", json!({"scope": "a:read"})).await;
        front.route("/admin", json!({"scope": "admin:read"})).await;
        Some(front)
    }

    pub(crate) async fn route(&self, path: &str, guard: Value) {
        // Nobody but the proxy sends anything on.
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let route = json!({"path": path, "guard": guard, "target": target});
        self.keyrack.owner().post("/api/routes").json(&route).send().await.expect_status(201);
    }

    /// A key; its id and text.
    pub(crate) async fn key(&self, key: Value) -> (String, String) {
        let made = self.keyrack.owner().post("/api/keys").json(&key).send().await.expect_status(201).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["key"]["id"]), text(&made["secret"]))
    }

    /// Fails if the service was reached.
    pub(crate) async fn expect_kept_out(&self, request: Request, statuses: &[u16]) -> Answer {
        let before = self.service.count();
        let answer = request.send().await;
        assert!(statuses.contains(&answer.status), "{:?}: {} {}", self.kind, answer.status, answer.text());
        assert_eq!(self.service.count(), before, "{:?} let it through", self.kind);
        assert!(IDENTITY[..8].iter().all(|name| answer.header(name).is_none()), "{:?}", answer.headers);
        answer
    }

    /// Fails unless the service was reached; what it has seen.
    pub(crate) async fn expect_let_in(&self, request: Request) -> Value {
        let seen = request.send().await.expect_status(200).json();
        let values = |name: &str| {
            let headers = seen["headers"].as_array().unwrap().iter();
            let of_name = headers.filter(|header| header[0].as_str().unwrap().replace('_', "-") == name);
            of_name.map(|header| header[1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for name in IDENTITY {
            let told = values(name);
            assert!(
                told.len() == 1 && told[0] != "forged" && !told[0].is_empty(),
                "{:?}: {name} is {told:?}",
                self.kind
            );
        }
        for secret in ["x-api-key", "authorization"] {
            assert!(values(secret).iter().all(String::is_empty), "{:?} sends {secret} on", self.kind);
        }
        seen
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where a proxy is; `None` where it is not installed.
pub(crate) fn program(kind: Kind) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = match kind {
        Kind::Nginx => vec![PathBuf::from("/usr/sbin/nginx"), PathBuf::from("/usr/bin/nginx")],
        Kind::Haproxy => vec![PathBuf::from("/usr/sbin/haproxy"), PathBuf::from("/usr/bin/haproxy")],
        Kind::Caddy => vec![root.join("target/tools/proxies/bin/caddy")],
        Kind::Envoy | Kind::EnvoyGrpc | Kind::EnvoyNamed => vec![root.join("target/tools/proxies/bin/envoy")],
    };
    let found = places.into_iter().find(|place| place.exists());
    let must_run = std::env::var_os("KEYRACK_TEST_REQUIRE_ALL").is_some();
    assert!(found.is_some() || !must_run, "{kind:?} is not installed; ./test installs it");
    if found.is_none() {
        eprintln!("{kind:?} is not installed, so nothing is shown of it");
    }
    found
}

/// The proxy with its file of `deploy/`, at other addresses.
pub(crate) fn configured(
    kind: Kind,
    program: PathBuf,
    folder: &Path,
    keyrack: &Keyrack,
    service: &Upstream,
    (port, grpc): (u16, u16),
) -> Program {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let keyrack = keyrack.url().strip_prefix("http://").unwrap().to_owned();
    let (_, keyrack_port) = keyrack.rsplit_once(':').unwrap();
    let service = service.address();
    let place = |file: &str, name: &str, also: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        let text = text.replace("127.0.0.1:8000", &keyrack).replace("127.0.0.1:9000", &service.to_string());
        std::fs::write(at(name), also(text)).unwrap();
        at(name)
    };
    match kind {
        Kind::Nginx => {
            place("nginx/keyrack.conf", "keyrack.conf", &|text| {
                text.replace("listen 8080", &format!("listen 127.0.0.1:{port}"))
            });
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|what| format!("{what}_temp_path {};", at(what)))
                .join(" ");
            let (pid, include) = (at("nginx.pid"), at("keyrack.conf"));
            let main = format!(
                "daemon off; master_process off; pid {pid}; error_log stderr; events {{}} \
                 http {{ access_log off; {temporary} include {include}; }}"
            );
            std::fs::write(at("nginx.conf"), main).unwrap();
            Program::new(program).args(["-p", folder.to_str().unwrap(), "-c", &at("nginx.conf"), "-e", "stderr"])
        }
        Kind::Caddy => {
            let listens = format!("{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{port} {{\n\tbind 127.0.0.1");
            let file = place("caddy/Caddyfile", "Caddyfile", &|text| text.replace(":8080 {", &listens));
            Program::new(program).args(["run", "--adapter", "caddyfile", "--config", &file]).env("HOME", folder)
        }
        Kind::Haproxy => {
            let lua = place("haproxy/keyrack.lua", "keyrack.lua", &|text| text);
            let file = place("haproxy/haproxy.cfg", "haproxy.cfg", &|text| {
                text.replace("/etc/haproxy/keyrack.lua", &lua).replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
            });
            Program::new(program).args(["-db", "-f", &file])
        }
        Kind::Envoy | Kind::EnvoyGrpc | Kind::EnvoyNamed => {
            let port_of = |before: &str, port: &str| (format!("port_value: {before} "), format!("port_value: {port} "));
            let ports = [
                port_of("8080", &port.to_string()),
                port_of("8000", keyrack_port),
                port_of("8001", &grpc.to_string()),
                port_of("9000", &service.port().to_string()),
            ];
            let from = if kind == Kind::Envoy { "envoy/http.yaml" } else { "envoy/grpc.yaml" };
            let file = place(from, "envoy.yaml", &|text| {
                let text = ports.iter().fold(text, |text, (before, after)| text.replace(before, after));
                if kind == Kind::EnvoyNamed { text.replace(SENT_ON, &format!("{SENT_ON}{NAMED}")) } else { text }
            });
            Program::new(program).args(["-c", &file, "--disable-hot-restart", "--concurrency", "1", "-l", "warning"])
        }
    }
}
