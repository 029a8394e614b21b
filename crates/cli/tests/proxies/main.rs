//! Real proxies with the files of `deploy/`, which only change the addresses: what their callers and the service behind them see.
#![cfg(test)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyrack_testkit::http::Request;
use keyrack_testkit::process::Running;
use keyrack_testkit::{Answer, Database, Http, Keyrack, Program, Upstream};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEYRACK: &str = env!("CARGO_BIN_EXE_keyrack");
const IDENTITY: [&str; 9] = [
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
/// Each names `/admin` to somebody, and none of them is `/v1/...` to everybody.
const CROOKED: [&str; 13] = [
    "/v1/%2e%2e/admin",
    "/v1/../admin",
    "/v1//admin",
    "//admin",
    "/v1%2F..%2Fadmin",
    "/v1/..%2fadmin",
    "/v1/%5c..%5cadmin",
    "/v1/..;/admin",
    "/v1/%252e%252e/admin",
    "/v1/%61/../../admin",
    "/v1/./a",
    "/v1/a;/admin",
    "/v1/%00",
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
enum Kind {
    Nginx,
    Caddy,
    Haproxy,
    Envoy,
    EnvoyGrpc,
    /// The same, with a route that its configuration names.
    EnvoyNamed,
}

/// A proxy between callers and a service, with a keyrack that it asks.
struct Front {
    kind: Kind,
    keyrack: Keyrack,
    service: Upstream,
    http: Http,
    _proxy: Running,
    _directory: TempDir,
}

impl Front {
    /// `None` where the proxy is not installed.
    async fn start(kind: Kind) -> Option<Self> {
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

    async fn route(&self, path: &str, guard: Value) {
        // Nobody but the proxy sends anything on.
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let route = json!({"path": path, "guard": guard, "target": target});
        self.keyrack.owner().post("/api/routes").json(&route).send().await.expect_status(201);
    }

    /// A key; its id and text.
    async fn key(&self, key: Value) -> (String, String) {
        let made = self.keyrack.owner().post("/api/keys").json(&key).send().await.expect_status(201).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["key"]["id"]), text(&made["secret"]))
    }

    /// Fails if the service was reached.
    async fn expect_kept_out(&self, request: Request, statuses: &[u16]) -> Answer {
        let before = self.service.count();
        let answer = request.send().await;
        assert!(statuses.contains(&answer.status), "{:?}: {} {}", self.kind, answer.status, answer.text());
        assert_eq!(self.service.count(), before, "{:?} let it through", self.kind);
        assert!(IDENTITY[..8].iter().all(|name| answer.header(name).is_none()), "{:?}", answer.headers);
        answer
    }

    /// Fails unless the service was reached; what it has seen.
    async fn expect_let_in(&self, request: Request) -> Value {
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where a proxy is; `None` where it is not installed.
fn program(kind: Kind) -> Option<PathBuf> {
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
fn configured(
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

/// HAProxy goes on with a request whose script fails; the configuration must not.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_lets_nobody_pass() {
    let Some(program) = program(Kind::Haproxy) else { return };
    let keyrack = Keyrack::start(KEYRACK, Database::Sqlite);
    let (service, directory, port) = (Upstream::start().await, TempDir::new().unwrap(), free_port());
    let proxy = configured(Kind::Haproxy, program, directory.path(), &keyrack, &service, (port, 9));
    let proxy = proxy.env("KEYRACK_URL", "no address").start();
    let http = Http::new(format!("http://127.0.0.1:{port}"));
    let until = Instant::now() + Duration::from_secs(30);
    while http.get("/").try_send().await.is_err() {
        assert!(Instant::now() < until, "{}", proxy.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    http.get("/v1/a").header("x-consumer-id", "forged").send().await.expect_status(503);
    // A question with so many lines would be more than it can hold.
    let many = (0..98).fold(http.get("/v1/a"), |request, _| request.header("accept", "a"));
    many.send().await.expect_status(503);
    http.get("/v1/a").send().await.expect_status(503);
    assert_eq!(service.count(), 0);
}

/// What Envoy does over gRPC alone: the credential is taken off wherever it stood, and callers see how limits stand.
#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_one_answer_says_all() {
    let Some(front) = Front::start(Kind::EnvoyGrpc).await else { return };
    front.route("/query/*rest", json!({"scope": "a:read", "query_key": true})).await;
    front.route("/open", json!({"public": true})).await;
    let limits = json!([{"limit": 100, "window_seconds": 60}]);
    let (_, secret) = front.key(json!({"name": "k", "scopes": ["a:read"], "rate_limits": limits})).await;
    for (sent, arrives) in [
        (format!("?a=%26&api_key={secret}&b=%20"), "?a=%26&b=%20"),
        (format!("?apiKey={secret}"), ""),
        (format!("?x=%23z&api_key={secret}"), "?x=%23z"),
    ] {
        let seen = front.expect_let_in(front.http.get(&format!("/query/a{sent}"))).await;
        assert_eq!(seen["target"], format!("/query/a{arrives}"), "{sent}");
    }
    // Under a name that Envoy would not know for it, a key would go on to the service.
    front.expect_kept_out(front.http.get(&format!("/query/a?%61pi_key={secret}")), &[400]).await;
    let cookies = "a=1; __Host-keyrack_session=stolen; b=2";
    let seen = front.expect_let_in(front.http.get("/v1/a").bearer(&secret).header("cookie", cookies)).await;
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["cookie", "a=1; b=2"])), "{seen}");
    assert!(headers.iter().all(|header| header[0] != "x-api-key" && header[0] != "authorization"), "{seen}");
    let answer = front.http.get("/v1/a").bearer(&secret).send().await.expect_status(200);
    assert_eq!(answer.header("ratelimit-policy"), Some(r#""key-60s";q=100;w=60"#));
    // What is between a caller and a public service stays there.
    let foreign = front.http.get("/open").header("authorization", "Digest x").send().await.expect_status(200).json();
    assert!(foreign["headers"].as_array().unwrap().contains(&json!(["authorization", "Digest x"])), "{foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_the_configuration_may_name_the_route_that_decides() {
    let Some(front) = Front::start(Kind::EnvoyNamed).await else { return };
    let (_, reader) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
    let (_, named) = front.key(json!({"name": "named", "scopes": ["named:read"]})).await;
    front.expect_kept_out(front.http.get("/v1/a").bearer(&reader), &[404]).await;
    let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
    let route = json!({"name": "the one", "path": "/nowhere", "guard": {"scope": "named:read"}, "target": target});
    front.keyrack.owner().post("/api/routes").json(&route).send().await.expect_status(201);
    // Whatever the path, and whatever a route says that matches it.
    for path in ["/v1/a", "/else"] {
        front.expect_let_in(front.http.get(path).bearer(&named)).await;
        front.expect_kept_out(front.http.get(path).bearer(&reader), &[403]).await;
    }
}

macro_rules! with_each_proxy {
    ($(async fn $name:ident($front:ident: Front) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn run($front: Front) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn nginx() {
                if let Some(front) = Front::start(Kind::Nginx).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn caddy() {
                if let Some(front) = Front::start(Kind::Caddy).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn haproxy() {
                if let Some(front) = Front::start(Kind::Haproxy).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn envoy() {
                if let Some(front) = Front::start(Kind::Envoy).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn envoy_over_grpc() {
                if let Some(front) = Front::start(Kind::EnvoyGrpc).await { run(front).await; }
            }
        }
    )*};
}

with_each_proxy! {
    async fn callers_see_what_was_decided_and_the_service_who_calls(front: Front) {
        let (id, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        let (http, keyrack) = (&front.http, front.keyrack.owner());
        for request in [http.get("/v1/a?x=%20&y=%26").bearer(&secret), http.get("/v1/a?x=%20&y=%26").header("x-api-key", &secret)] {
            let seen = front.expect_let_in(request).await;
            assert_eq!(seen["target"], "/v1/a?x=%20&y=%26", "as it came");
            assert!(seen["headers"].as_array().unwrap().iter().any(|header| header[1] == *id), "{seen}");
        }
        let posted = http.post("/v1/a").bearer(&secret).body("some text").send().await.expect_status(200).json();
        assert_eq!((posted["method"].as_str(), posted["body"].as_str()), (Some("POST"), Some("some text")));

        let unknown = front.expect_kept_out(http.get("/v1/a"), &[401]).await;
        assert_eq!(unknown.header("www-authenticate"), Some(r#"Bearer realm="keyrack""#));
        assert_eq!(unknown.json()["error"], "invalid_api_key");
        front.expect_kept_out(http.post("/v1/a").body("some text").bearer("sk_live_wrong"), &[401]).await;
        front.expect_kept_out(http.get("/admin").bearer(&secret), &[403]).await;
        front.expect_kept_out(http.get("/else").bearer(&secret), &[403, 404]).await;

        let limits = json!([{"limit": 2, "window_seconds": 3600}]);
        let (_, limited) = front.key(json!({"name": "limited", "scopes": ["a:read"], "rate_limits": limits})).await;
        for _ in 0..2 {
            front.expect_let_in(http.get("/v1/a").bearer(&limited)).await;
        }
        let refused = front.expect_kept_out(http.get("/v1/a").bearer(&limited), &[429]).await;
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 3000);
        assert_eq!(refused.json()["error"], "rate_limit_exceeded");

        keyrack.post(&format!("/api/keys/{id}/revoke")).json(&json!({})).send().await.expect_status(200);
        front.expect_kept_out(http.get("/v1/a").bearer(&secret), &[401]).await;
    }

    async fn nobody_can_say_who_they_are_or_what_they_ask_for(front: Front) {
        let (_, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        let mut lies = front.http.get("/v1/a").bearer(&secret).header("connection", "close, X-Consumer-ID, x-keyrack-scopes");
        for name in IDENTITY {
            lies = lies.header(name, "forged").header(name.replace('-', "_"), "forged").header(name.replacen('-', "_", 1), "forged");
        }
        let seen = front.expect_let_in(lies).await;
        let connection = seen["headers"].as_array().unwrap().iter().filter(|header| header[0] == "connection");
        assert!(connection.clone().all(|header| !header[1].as_str().unwrap().to_lowercase().contains("x-")), "{seen}");
        // No tunnel but a WebSocket.
        let upgrade = front.http.get("/v1/a").bearer(&secret).header("connection", "Upgrade, HTTP2-Settings");
        let upgrade = upgrade.header("upgrade", "h2c").header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA");
        if let Ok(answer) = upgrade.try_send().await && answer.status == 200 {
            let seen = answer.json();
            assert!(seen["headers"].as_array().unwrap().iter().all(|header| header[0] != "upgrade"), "{seen}");
        }
        for family in [["x-original-uri", "x-original-method", "x-original-host"], ["x-forwarded-uri", "x-forwarded-method", "x-forwarded-host"]] {
            let lies = |target: &str, told: &str| {
                let request = front.http.get(target).bearer(&secret).header(family[0], told).header(family[1], "GET");
                request.header(family[2], "elsewhere.example").header(family[0].replace('-', "_"), told).header("x-forwarded-prefix", told)
            };
            front.expect_kept_out(lies("/admin", "/v1/a"), &[403]).await;
            front.expect_let_in(lies("/v1/a", "/admin")).await;
        }
        let query = format!("/admin?x-original-uri=/v1/a&uri=/v1/a&api_key={secret}");
        front.expect_kept_out(front.http.get(&query).bearer(&secret), &[403]).await;
        for twice in [
            front.http.get("/v1/a").header("x-api-key", &secret).header("x-api-key", &secret),
            front.http.get("/v1/a").header("x-api-key", format!("{secret},{secret}")),
            front.http.get("/v1/a").header("authorization", format!("Bearer {secret}")).header("authorization", format!("Bearer {secret}")),
        ] {
            front.expect_kept_out(twice, &[400, 401]).await;
        }
    }

    async fn no_path_leads_around_its_rule(front: Front) {
        let (_, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        for path in CROOKED {
            front.expect_kept_out(front.http.get(path).bearer(&secret), &[400, 403, 404]).await;
        }
    }

    async fn without_keyrack_nobody_passes(front: Front) {
        let mut front = front;
        let (_, secret) = front.key(json!({"name": "reader", "scopes": ["a:read"]})).await;
        front.expect_let_in(front.http.get("/v1/a").bearer(&secret)).await;
        let expected: &[u16] = if front.kind == Kind::Caddy { &[502, 503, 504] } else { &[503] };
        front.keyrack.serving().program.suspend();
        let begun = Instant::now();
        front.expect_kept_out(front.http.get("/v1/a").bearer(&secret), expected).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        front.keyrack.crash();
        front.expect_kept_out(front.http.get("/v1/a").bearer(&secret), expected).await;
    }
}
