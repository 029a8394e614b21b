//! A proxy asks before it sends a request on: what it is answered, and what nobody can make it believe.

use std::net::{IpAddr, SocketAddr};

use keyrack_testkit::http::{Request, raw};
use keyrack_testkit::{Answer, Database, Http, Keyrack, both_databases};
use serde_json::{Value, json};

use crate::support::{Caller as _, IDENTITY, INVALID_API_KEY, KEYRACK, Key, expect_refusal};

const PROXIES: [&str; 6] = ["nginx", "haproxy", "caddy", "traefik", "apisix", "envoy"];
const HOST: &str = "api.example.com";
/// The address of the one proxy that is trusted.
const TRUSTED: &str = "127.0.0.2";

fn start(database: Database) -> Keyrack {
    let trusted = format!("{TRUSTED}/32");
    Keyrack::setup(KEYRACK, database).args(["--egress-allow", "127.0.0.1/32", "--trusted-proxies", &trusted]).start()
}

/// A proxy that asks from an address of its own.
struct Proxy {
    http: Http,
    name: &'static str,
}

impl Proxy {
    fn new(keyrack: &Keyrack, name: &'static str) -> Self {
        Self { http: Http::from_address(keyrack.url(), TRUSTED.parse::<IpAddr>().unwrap()), name }
    }

    /// Asks about a request, as this proxy would say it.
    fn asks(&self, method: &str, target: &str) -> Request {
        match self.name {
            "envoy" => self.http.request(method, &format!("/extauthz{target}")).header("host", HOST),
            _ => self.asks_at(&format!("/forward-auth/{}", self.name), method, target),
        }
    }

    fn asks_at(&self, path: &str, method: &str, target: &str) -> Request {
        let (uri, methods, host) = self.family();
        self.http.get(path).header(uri, target).header(methods, method).header(host, HOST)
    }

    /// What it calls the request's target, method and host.
    fn family(&self) -> (&'static str, &'static str, &'static str) {
        match self.name {
            "nginx" | "haproxy" => ("x-original-uri", "x-original-method", "x-original-host"),
            _ => ("x-forwarded-uri", "x-forwarded-method", "x-forwarded-host"),
        }
    }

    /// The status that this proxy is told where another is told what is so.
    fn told(&self, status: u16) -> u16 {
        if self.name == "nginx" && matches!(status, 400 | 404) { 403 } else { status }
    }
}

/// Fails unless this lets a request through and tells who it is of: nothing but headers, and all of them.
#[track_caller]
fn expect_allowed(answer: Answer, key: Option<&Key>) -> Answer {
    let answer = answer.expect_status(200);
    assert_eq!((answer.text().as_str(), answer.header("content-length")), ("", Some("0")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for name in IDENTITY {
        assert_eq!(answer.headers_named(name).len(), 1, "{name}");
    }
    assert_eq!(answer.header("x-credential-identifier"), Some(key.map_or("-", |key| &*key.id)));
    answer
}

/// Fails unless this keeps a request out with this status, and tells nobody who it is of.
#[track_caller]
fn expect_kept_out(answer: Answer, proxy: &Proxy, status: u16) -> Answer {
    let answer = answer.expect_status(proxy.told(status));
    assert!(IDENTITY.iter().all(|name| answer.header(name).is_none()), "{:?}", answer.headers);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.text().is_empty(), proxy.name == "nginx", "{}", answer.text());
    answer
}

/// Nobody is behind these routes: a proxy sends the requests on.
async fn route(keyrack: &Keyrack, path: &str, guard: Value) -> String {
    keyrack.owner().make_route(path, guard, "http://127.0.0.1:9").await
}

both_databases! {
    async fn each_proxy_is_told_what_it_understands(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        owner.make("/api/workspaces", json!({"slug": "web"})).await;
        route(&keyrack, "/v1/*rest", json!({"resource": "contacts", "workspace": "web"})).await;
        route(&keyrack, "/open", json!({"public": true})).await;
        let reader = json!({"name": "reader", "workspace": "web", "scopes": ["contacts:read"]});
        let reader = owner.make_key(reader).await;
        let stranger = owner.make_key(json!({"name": "stranger", "scopes": ["other:read"]})).await;
        for name in PROXIES {
            let proxy = Proxy::new(&keyrack, name);
            let answer = expect_allowed(proxy.asks("GET", "/v1/a?x=%20").bearer(&reader.secret).send().await, Some(&reader));
            let told = ["x-consumer-username", "x-consumer-groups", "x-keyrack-workspace", "x-keyrack-scopes", "x-keyrack-role"];
            assert_eq!(told.map(|name| answer.header(name).unwrap()), ["acme", "default", "web", "contacts:read", "member"]);
            assert_eq!(answer.header("x-consumer-id"), Some(&*keyrack.organization_id));

            let unknown = expect_kept_out(proxy.asks("GET", "/v1/a").send().await, &proxy, 401);
            assert_eq!(unknown.header("www-authenticate"), Some(r#"Bearer realm="keyrack""#));
            if name != "nginx" {
                assert_eq!(unknown.text(), INVALID_API_KEY);
            }
            expect_kept_out(proxy.asks("POST", "/v1/a").bearer(&reader.secret).send().await, &proxy, 403);
            expect_kept_out(proxy.asks("GET", "/admin").bearer(&reader.secret).send().await, &proxy, 404);
            expect_allowed(proxy.asks("GET", "/open").send().await, None);
            // There a key opens nothing, and a wrong one closes the door.
            expect_allowed(proxy.asks("GET", "/open").bearer(&stranger.secret).send().await, None);
            expect_kept_out(proxy.asks("GET", "/open").bearer("sk_live_wrong").send().await, &proxy, 401);

            let limits = json!([{"limit": 1, "window_seconds": 3600}]);
            let limited = json!({"name": format!("limited by {name}"), "workspace": "web", "scopes": ["contacts:read"], "rate_limits": limits});
            let limited = owner.make_key(limited).await;
            let answer = expect_allowed(proxy.asks("GET", "/v1/a").bearer(&limited.secret).send().await, Some(&limited));
            assert_eq!(answer.header("ratelimit-policy"), Some(r#""key-3600s";q=1;w=3600"#));
            let answer = expect_kept_out(proxy.asks("GET", "/v1/a").bearer(&limited.secret).send().await, &proxy, 429);
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 3000, "{:?}", answer.headers);
        }
        owner.revoke(&reader).await;
        for name in PROXIES {
            let proxy = Proxy::new(&keyrack, name);
            expect_kept_out(proxy.asks("GET", "/v1/a").bearer(&reader.secret).send().await, &proxy, 401);
        }
    }

    async fn whoever_is_no_trusted_proxy_finds_nothing_here(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        route(&keyrack, "/open", json!({"public": true})).await;
        for path in ["/forward-auth/nginx", "/forward-auth/caddy", "/forward-auth/nginx/guard/acme/open", "/extauthz/open"] {
            for request in [keyrack.http().get(path), owner.get(path).header("x-forwarded-for", TRUSTED)] {
                let request = request.header("x-original-uri", "/open").header("x-original-method", "GET");
                let request = request.header("x-forwarded-uri", "/open").header("x-forwarded-method", "GET");
                let answer = request.header("x-original-host", HOST).header("x-forwarded-host", HOST).send().await;
                expect_refusal(answer, 404, "not_found");
            }
        }
        let proxy = Proxy::new(&keyrack, "nginx");
        for path in ["/forward-auth", "/forward-auth/", "/forward-auth/unknown", "/forward-auth/nginx/else", "/forward-auth/nginx/guard/acme",
            "/forward-auth/nginx/guard/acme/open/more", "/extauthzopen"] {
            expect_refusal(proxy.asks_at(path, "GET", "/open").send().await, 404, "not_found");
        }
    }

    async fn nothing_but_the_headers_of_the_profile_says_what_is_asked(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        route(&keyrack, "/admin", json!({"scope": "admin:read"})).await;
        route(&keyrack, "/open", json!({"public": true})).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["other:read"]})).await;
        for name in PROXIES {
            let proxy = Proxy::new(&keyrack, name);
            // What a caller brings along under other names, or in the query of the question, changes nothing.
            let mut lies = proxy.asks("GET", "/admin?api_key=x&x-original-uri=/open").bearer(&key.secret);
            for (uri, method) in [("x-original-uri", "x-original-method"), ("x-forwarded-uri", "x-forwarded-method")] {
                let (own, ..) = proxy.family();
                if name == "envoy" || uri != own {
                    lies = lies.header(uri, "/open").header(method, "GET");
                }
                lies = lies.header(uri.replace('-', "_"), "/open").header(uri.replacen('-', "_", 1), "/open");
            }
            for other in ["x-rewrite-url", "x-original-url", "x-forwarded-prefix", "x-http-method-override"] {
                lies = lies.header(other, "/open");
            }
            expect_kept_out(lies.send().await, &proxy, 403);
            if name == "envoy" {
                continue;
            }
            let path = format!("/forward-auth/{name}?uri=/open&x-original-uri=/open&scope=other:read");
            expect_kept_out(proxy.asks_at(&path, "GET", "/admin").bearer(&key.secret).send().await, &proxy, 403);
            // Two values, one of them the caller's: neither is believed.
            let (uri, method, host) = proxy.family();
            for (header, value) in [(uri, "/open"), (method, "GET"), (host, "other.example.com")] {
                expect_kept_out(proxy.asks("GET", "/open").header(header, value).send().await, &proxy, 400);
            }
            // A proxy that says nothing is not set up, and what its caller says is no substitute.
            for told in [&[uri, method][..], &[uri, host], &[method, host], &[]] {
                let mut request = proxy.http.get(&format!("/forward-auth/{name}"));
                for header in told {
                    request = request.header(*header, if *header == uri { "/open" } else if *header == method { "GET" } else { HOST });
                }
                expect_kept_out(request.send().await, &proxy, 400);
            }
        }
    }

    async fn a_path_that_two_could_read_differently_is_refused(database: Database) {
        let keyrack = start(database);
        route(&keyrack, "/v1/*rest", json!({"public": true})).await;
        for name in PROXIES {
            let proxy = Proxy::new(&keyrack, name);
            for path in ["/v1/%2e%2e/admin", "/v1/../admin", "/v1//admin", "//v1/admin", "/v1%2Fadmin", "/v1/..%2fadmin", "/v1/%5c..%5cadmin",
                "/v1/a;x=1", "/v1/%00", "/v1/%61dmin", "/v1/%252e%252e/admin", "/v1/%zz", "/v1/.", "/v1/a/./b"] {
                expect_kept_out(proxy.asks("GET", path).send().await, &proxy, 400);
            }
            if name != "envoy" {
                for path in ["/v1/a\\b", "/v1/a#/admin", "/v1/a\tb", "", "v1/a", "http://api.example.com/v1/a", "*"] {
                    expect_kept_out(proxy.asks("GET", path).send().await, &proxy, 400);
                }
            }
            expect_kept_out(proxy.asks("GET", "/V1/a").send().await, &proxy, 404);
            expect_allowed(proxy.asks("GET", "/v1/a?/../%2e%2e//;").send().await, None);
        }
    }

    async fn a_host_is_the_same_however_it_is_written(database: Database) {
        let keyrack = start(database);
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let route = json!({"path": "/*rest", "host": "secret.test", "guard": {"scope": "a:read"}, "target": target});
        keyrack.owner().make("/api/routes", route).await;
        self::route(&keyrack, "/*rest", json!({"public": true})).await;
        for name in PROXIES.into_iter().filter(|name| *name != "envoy") {
            let proxy = Proxy::new(&keyrack, name);
            let (uri, method, host) = proxy.family();
            for (asked, status) in [("api.test", 200), ("secret.test", 401), ("SECRET.test:8080", 401), ("secret.test.", 401),
                ("secret.test.:80", 401), ("secret.test@api.test", 400), ("api.test@secret.test", 400), ("secret.test,api.test", 400), ("", 400)] {
                let request = proxy.http.get(&format!("/forward-auth/{name}")).header(uri, "/a").header(method, "GET");
                assert_eq!(request.header(host, asked).send().await.status, proxy.told(status), "{name}: {asked}");
            }
        }
    }

    async fn a_question_may_name_the_route_that_decides(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        owner.make("/api/workspaces", json!({"slug": "web"})).await;
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let make = async |name: &str, path: &str, guard: Value| {
            owner.make("/api/routes", json!({"name": name, "path": path, "guard": guard, "target": target})).await
        };
        let reading = make("reading", "/guards/reading", json!({"resource": "contacts"})).await;
        make("of a workspace", "/:workspace/*rest", json!({"scope": "contacts:read"})).await;
        make("twin", "/twins/one", json!({"public": true})).await;
        make("twin", "/twins/two", json!({"public": true})).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["contacts:read"]})).await;
        let bound = owner.make_key(json!({"name": "b", "scopes": ["contacts:read"], "workspace": "web"})).await;
        for name in PROXIES.into_iter().filter(|name| *name != "envoy") {
            let proxy = Proxy::new(&keyrack, name);
            let named = |route: &str| format!("/forward-auth/{name}/guard/acme/{route}");
            for route in ["reading", reading["id"].as_str().unwrap()] {
                expect_allowed(proxy.asks_at(&named(route), "GET", "/any").bearer(&key.secret).send().await, Some(&key));
                expect_kept_out(proxy.asks_at(&named(route), "DELETE", "/any").bearer(&key.secret).send().await, &proxy, 403);
            }
            // It takes the methods that it takes by its path.
            expect_kept_out(proxy.asks_at(&named("reading"), "CONNECT", "/any").bearer(&key.secret).send().await, &proxy, 404);
            for route in ["nothing", "twin", "READING"] {
                expect_kept_out(proxy.asks_at(&named(route), "GET", "/any").bearer(&key.secret).send().await, &proxy, 404);
            }
            // Its pattern says in which workspace a request is, so one that it does not match is in none that a key has.
            for (target, key, status) in [("/web/x", &bound, 200), ("/other/x", &bound, 401), ("/web", &bound, 401), ("/web/x", &key, 200), ("/web", &key, 401)] {
                let path = named("of%20a%20workspace");
                let answer = proxy.asks_at(&path, "GET", target).bearer(&key.secret).send().await;
                assert_eq!(answer.status, status, "{target}");
            }
        }
        owner.change(&format!("/api/routes/{}", reading["id"].as_str().unwrap()), json!({"enabled": false})).await;
        let proxy = Proxy::new(&keyrack, "caddy");
        let answer = proxy.asks_at("/forward-auth/caddy/guard/acme/reading", "GET", "/any").bearer(&key.secret).send().await;
        expect_kept_out(answer, &proxy, 404);
    }

    async fn credentials_are_read_as_at_every_door(database: Database) {
        let keyrack = start(database);
        let owner = keyrack.owner();
        route(&keyrack, "/v1/a", json!({"scope": "a:read"})).await;
        route(&keyrack, "/v1/q", json!({"scope": "a:read", "query_key": true})).await;
        let key = owner.make_key(json!({"name": "k", "scopes": ["a:read"]})).await;
        let at_home = owner.make_key(json!({"name": "h", "scopes": ["a:read"], "ip_allowlist": ["203.0.113.0/24"]})).await;
        let secret = &key.secret;
        for name in PROXIES {
            let proxy = Proxy::new(&keyrack, name);
            expect_allowed(proxy.asks("GET", "/v1/a").header("x-api-key", secret).bearer("another").send().await, Some(&key));
            for twice in [
                proxy.asks("GET", "/v1/a").header("x-api-key", secret).header("x-api-key", secret),
                proxy.asks("GET", "/v1/a").header("x-api-key", format!("{secret},{secret}")),
                proxy.asks("GET", "/v1/a").header("authorization", format!("Bearer {secret}, Bearer {secret}")),
            ] {
                expect_kept_out(twice.send().await, &proxy, 401);
            }
            let query = format!("?api_key={secret}");
            expect_allowed(proxy.asks("GET", &format!("/v1/q{query}")).send().await, Some(&key));
            expect_kept_out(proxy.asks("GET", &format!("/v1/a{query}")).send().await, &proxy, 401);
            if name != "envoy" {
                // Not from the query of the question, which may be the caller's too.
                let path = format!("/forward-auth/{name}{query}");
                expect_kept_out(proxy.asks_at(&path, "GET", "/v1/q").send().await, &proxy, 401);
            }
            // The caller's address is what the proxy says, and of that the last that no proxy of ours has added.
            for (hops, status) in [("203.0.113.7", 200), ("203.0.113.7, 198.51.100.1", 403), ("198.51.100.1, 203.0.113.7", 200)] {
                let answer = proxy.asks("GET", "/v1/a").header("x-forwarded-for", hops).bearer(&at_home.secret).send().await;
                assert_eq!(answer.status, status, "{hops}");
            }
        }
    }

    /// Browsers ask without a key whether a page may call. The service answers them, if the route lets the page in.
    async fn what_browsers_ask_passes_where_the_route_says_so(database: Database) {
        let keyrack = start(database);
        let (owner, page) = (keyrack.owner(), "https://app.example.com");
        let target = json!({"kind": "upstream", "url": "http://127.0.0.1:9"});
        let cors = json!({"origins": [page]});
        let wanted = json!({"path": "/v1/pages", "guard": {"resource": "a"}, "target": target, "cors": cors});
        owner.make("/api/routes", wanted).await;
        route(&keyrack, "/v1/closed", json!({"resource": "a"})).await;
        for name in PROXIES {
            let proxy = Proxy::new(&keyrack, name);
            let asks = |method, target, origin| {
                proxy.asks(method, target).header("origin", origin).header("access-control-request-method", "POST")
            };
            let answer = expect_allowed(asks("OPTIONS", "/v1/pages", page).send().await, None);
            assert!(answer.header("ratelimit").is_none(), "it is not counted");
            expect_kept_out(asks("OPTIONS", "/v1/pages", "https://evil.example").send().await, &proxy, 403);
            expect_kept_out(asks("OPTIONS", "/v1/closed", page).send().await, &proxy, 404);
            // Any other request with the same headers needs its key.
            expect_kept_out(asks("POST", "/v1/pages", page).send().await, &proxy, 401);
            expect_kept_out(proxy.asks("OPTIONS", "/v1/pages").send().await, &proxy, 404);
        }
    }

    async fn what_a_proxy_announces_and_never_sends_is_not_waited_for(database: Database) {
        let trusted = Keyrack::setup(KEYRACK, database).args(["--trusted-proxies", "127.0.0.1/32"]).start();
        route(&trusted, "/open", json!({"public": true})).await;
        let address: SocketAddr = trusted.url().strip_prefix("http://").unwrap().parse().unwrap();
        let question = |body: &str| {
            format!("GET /forward-auth/nginx HTTP/1.1\r\nHost: keyrack\r\nX-Original-URI: /open\r\nX-Original-Method: POST\r\n\
                X-Original-Host: a.test\r\n{body}\r\n")
        };
        let count = |answer: &[u8], line: &str| String::from_utf8_lossy(answer).matches(line).count();
        // nginx does that where its configuration does not tell it otherwise, and then sends its next question.
        for body in ["Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"] {
            let answer = raw(address, question(body)).await;
            assert_eq!((count(&answer, "HTTP/1.1 200 OK"), count(&answer, "connection: close")), (1, 1));
            let answer = raw(address, question(body) + &question("Connection: close\r\n")).await;
            assert_eq!((count(&answer, "HTTP/1.1 "), count(&answer, "HTTP/1.1 200 OK")), (1, 1), "the second is no body");
        }
        // Without one, a connection serves for many questions.
        let many = question("").repeat(50) + &question("Connection: close\r\n");
        assert_eq!(count(&raw(address, many).await, "HTTP/1.1 200 OK"), 51);
    }
}
