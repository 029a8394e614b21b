//! No secret is found where it does not belong: not in a log of the finest grain, in no format; not in the metrics, the
//! audit log, a list, or a file of the database. Only the answer that hands it over, and whoever holds it, have it.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use keyrack_testkit::{Database, Http, Keyrack, Upstream, both_databases};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::support::{KEYRACK, Person, World, free_port, text, wait_for};

/// In the text of everything secret that can be chosen.
const CANARY: &str = "c4n4ry-4mong-th3-s3cr3ts";

/// Everything that must not be found, by what it is.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 16, "{what} is too short to search for");
        self.0.push((what.to_owned(), secret.to_owned()));
    }

    /// A key: neither its text nor the SHA-256 of it, from which one who has a list of keys could tell which are in use.
    fn add_key(&mut self, what: &str, secret: &str) {
        self.add(what, secret);
        let hash = digest(&SHA256, secret.as_bytes());
        self.add(&format!("the SHA-256 of {what}"), &HEXLOWER.encode(hash.as_ref()));
        self.add(&format!("the SHA-256 of {what} in base64"), &BASE64.encode(hash.as_ref()));
    }

    /// Fails if one of them is in this, as it stands or in hexadecimal digits.
    fn expect_none_in(&self, place: &str, bytes: &[u8]) {
        let bytes = String::from_utf8_lossy(bytes);
        for (what, secret) in &self.0 {
            let hex = HEXLOWER.encode(secret.as_bytes());
            assert!(!bytes.contains(secret) && !bytes.contains(&hex), "{what} is in {place}: {secret}");
        }
        assert!(!bytes.contains(CANARY), "the canary is in {place}");
    }
}

/// Everything that lies in the database, with each file beside it.
async fn stored(keyrack: &Keyrack) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    if keyrack.database_url.starts_with("postgres") {
        let mut connection = PgConnection::connect(&keyrack.database_url).await.unwrap();
        let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        for table in tables {
            let rows = AssertSqlSafe(format!(r#"SELECT t::text FROM "{table}" t"#));
            let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut connection).await.unwrap();
            found.push((format!("table {table}"), rows.join("\n").into_bytes()));
        }
        assert!(found.len() > 10, "{} tables", found.len());
        return found;
    }
    found.extend(files(keyrack));
    let ends: Vec<&str> =
        [".db", "-wal", ".lock"].into_iter().filter(|end| found.iter().any(|(n, _)| n.ends_with(end))).collect();
    assert_eq!(ends, [".db", "-wal", ".lock"], "the database and what lies beside it");
    found
}

both_databases! {
    /// In the form for people.
    async fn no_secret_is_found_in_logs_for_people_metrics_audit_or_database(database: Database) {
        walk(database, "pretty").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_in_logs_for_programs_either() {
    walk(Database::Sqlite, "json").await;
}

async fn walk(database: Database, format: &str) {
    let metrics = format!("127.0.0.1:{}", free_port());
    let setup = Keyrack::setup(KEYRACK, database).args(["--egress-allow", "127.0.0.1/32", "--log-level", "trace"]);
    let keyrack = setup.args(["--log-format", format, "--metrics-listen", &metrics]).start();
    let mut secrets = Secrets::default();
    let keyfile = std::fs::read_to_string(&keyrack.keyfile).unwrap();
    let keys = keyfile.lines().filter_map(|line| line.strip_prefix("key = \"")?.strip_suffix('"'));
    for key in keys {
        secrets.add("what is in the key file", key);
        secrets.add("what is in the key file, decoded", &HEXLOWER.encode(&BASE64.decode(key.as_bytes()).unwrap()));
    }
    assert_eq!(secrets.0.len(), 4, "a pepper and a master key");
    let world = World::around(keyrack).await;
    secrets.add("the owner's password", &world.keyrack.owner_password);
    for tenant in [&world.acme, &world.beta] {
        secrets.add_key("a manager's key", &tenant.manager_key);
        secrets.add_key("a key", &tenant.secret);
    }
    let upstream = Upstream::start().await;
    people(&world, &mut secrets).await;
    let known = keys_of_all_kinds(&world, &mut secrets).await;
    doors(&world, &upstream, &known).await;
    secrets_of_callers(&world, &upstream, &mut secrets).await;
    mistakes(&world, &known).await;
    over_http2(&world, &known).await;
    if database == Database::Sqlite {
        a_database_that_is_away(&world, &mut secrets).await;
    }
    on_the_command_line(&world, &known);

    let lists = [
        "/api/keys?limit=200",
        "/api/audit?limit=200",
        "/api/members",
        "/api/groups",
        "/api/routes",
        "/api/secrets",
        "/api/session",
    ];
    for path in lists {
        let answer = world.acme.manager.get(path).send().await.expect_status(200);
        secrets.expect_none_in(path, &answer.body);
    }
    let counted = Http::new(format!("http://{metrics}")).get("/metrics").send().await.expect_status(200);
    assert!(counted.text().contains("keyrack_decisions_total"), "{}", counted.text());
    secrets.expect_none_in("the metrics", &counted.body);
    let stored = stored(&world.keyrack).await;
    assert!(
        stored.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains("of default")),
        "keys by their names"
    );
    for (place, bytes) in stored {
        secrets.expect_none_in(&place, &bytes);
    }
    let mut keyrack = world.keyrack;
    assert!(keyrack.stop().success());
    let output = keyrack.output();
    assert!(output.contains("TRACE") && output.contains("h2::"), "the log is of the finest grain");
    assert!(!output.contains("panicked"), "{output}");
    secrets.expect_none_in("what it printed", output.as_bytes());
    for (place, bytes) in files(&keyrack) {
        secrets.expect_none_in(&place, &bytes);
    }
    let letters = letters(&keyrack);
    assert!(letters.iter().any(|letter| letter.contains("To: grace@acme.test")), "{letters:?}");
    // An invitation is in the letter to whom it invites, and what lets in nobody else.
    secrets.0.retain(|(what, _)| what != "an invitation");
    for letter in letters {
        secrets.expect_none_in("a letter", letter.as_bytes());
    }
}

/// The files where it works, but for the one that holds its own keys.
fn files(keyrack: &Keyrack) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(keyrack.directory()).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file() && *path != keyrack.keyfile)
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect()
}

/// The letters that were written into its folder, with lines as long as they were before.
fn letters(keyrack: &Keyrack) -> Vec<String> {
    let outbox = std::fs::read_dir(keyrack.directory()).unwrap().map(|entry| entry.unwrap().path());
    let outbox = outbox.filter(|path| path.extension().is_some_and(|end| end == "outbox"));
    let letters = outbox.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    letters.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap().replace("=\r\n", "")).collect()
}

/// Passwords, sessions and invitations.
async fn people(world: &World, secrets: &mut Secrets) {
    let (http, manager) = (world.keyrack.http(), &world.acme.manager);
    let owner = Person::sign_in(&http, &world.keyrack.owner_email, &world.keyrack.owner_password).await;
    secrets.add("a session", owner.cookie.split_once('=').unwrap().1);
    for path in ["/api/session", "/api/organizations"] {
        owner.ask("GET", path).send().await.expect_status(200);
    }
    owner.ask("POST", "/api/keys").header("origin", "https://elsewhere.test").send().await.expect_status(403);
    owner.ask("DELETE", "/api/session").send().await.expect_status(204);
    owner.ask("GET", "/api/session").send().await.expect_status(401);

    let password = format!("{CANARY} of ada");
    secrets.add("ada's password", &password);
    let ada = json!({"email": "ada@acme.test", "role": "member", "password": password});
    manager.post("/api/members").json(&ada).send().await.expect_status(201);
    let invited = manager.post("/api/members").json(&json!({"email": "grace@acme.test", "role": "admin"})).send().await;
    let token = text(&invited.expect_status(201).json()["invitation"]["token"]);
    secrets.add("an invitation", &token);
    let short = json!({"token": token, "password": CANARY[..14]});
    http.post("/api/members/accept").json(&short).send().await.expect_status(400);
    let password = format!("{CANARY} of grace");
    secrets.add("grace's password", &password);
    let yes = json!({"token": token, "password": password});
    http.post("/api/members/accept").json(&yes).send().await.expect_status(201);
    http.post("/api/members/accept").json(&yes).send().await.expect_status(404);
    Person::sign_in(&http, "grace@acme.test", &password).await;
    let wrong = json!({"email": "grace@acme.test", "password": format!("{CANARY} and wrong")});
    http.post("/api/session").json(&wrong).send().await.expect_status(401);
}

/// Keys that were made, rotated, imported and remembered slowly; one of each.
async fn keys_of_all_kinds(world: &World, secrets: &mut Secrets) -> Vec<String> {
    let manager = &world.acme.manager;
    let slow = json!({"name": "slow", "hash_profile": "bcrypt"});
    manager.post("/api/groups").json(&slow).send().await.expect_status(201);
    let plain = json!({"name": "plain", "key_format": {"prefix": "", "body": "hex"}});
    manager.post("/api/groups").json(&plain).send().await.expect_status(201);
    let mut known = vec![world.acme.secret.clone()];
    for group in ["default", "slow", "plain"] {
        let new = json!({"name": format!("of {group}"), "group": group, "metadata": {"note": "seen"}});
        let request = manager.post("/api/keys").header("idempotency-key", group);
        let made = request.json(&new).send().await.expect_status(201).json();
        secrets.add_key("a key that was made", &text(&made["secret"]));
        known.push(text(&made["secret"]));
        let again = manager.post("/api/keys").header("idempotency-key", group).json(&new).send().await;
        assert_eq!(again.expect_status(201).json()["secret"], Value::Null);
        let path = format!("/api/keys/{}", text(&made["key"]["id"]));
        let rotated = manager.post(&format!("{path}/rotate")).json(&json!({"overlap_seconds": 60})).send().await;
        let rotated = text(&rotated.expect_status(200).json()["secret"]);
        secrets.add_key("a key after its rotation", &rotated);
        known.push(rotated);
        manager.request("PATCH", &path).json(&json!({"description": "changed"})).send().await.expect_status(200);
        manager.get(&format!("{path}/secrets")).send().await.expect_status(200);
        manager.request("DELETE", &format!("{path}/secrets/1")).send().await.expect_status(204);
    }
    let imported = |group: &str| format!("imported.{CANARY}.into.{group}");
    for group in ["default", "slow", "plain"] {
        secrets.add_key("a key that was imported", &imported(group));
        known.push(imported(group));
        let keys = json!({"keys": [{"name": "imported", "key": imported(group), "group": group}]});
        manager.post("/api/keys/import").json(&keys).send().await.expect_status(201);
        manager.post("/api/keys/import").json(&keys).send().await.expect_status(409);
    }
    // Not its hash either: what is stored of it has been keyed.
    let unseen = format!("known.by.its.hash.{CANARY}");
    secrets.add_key("a key that was imported by its hash", &unseen);
    let hash = HEXLOWER.encode(digest(&SHA256, unseen.as_bytes()).as_ref());
    let keys = json!({"keys": [{"name": "hashed", "sha256": hash}]});
    manager.post("/api/keys/import").json(&keys).send().await.expect_status(201);
    manager.post("/api/keys/import").json(&keys).send().await.expect_status(409);
    known.push(unseen);
    let ended = json!({"name": "ended", "group": "plain"});
    let ended = manager.post("/api/keys").json(&ended).send().await.expect_status(201).json();
    secrets.add_key("a key that was revoked", &text(&ended["secret"]));
    let path = format!("/api/keys/{}", text(&ended["key"]["id"]));
    let why = json!({"reason": "no longer needed"});
    manager.post(&format!("{path}/revoke")).json(&why).send().await.expect_status(200);
    manager.request("DELETE", &path).send().await.expect_status(204);
    known.push(text(&ended["secret"]));
    known
}

/// Secrets that are handed to services and to scripts; those that scripts write into their log, fail with or send somewhere too.
async fn secrets_of_callers(world: &World, upstream: &Upstream, secrets: &mut Secrets) {
    let manager = &world.acme.manager;
    for (name, scope, owner) in [("MAIN", "global", None), ("OF_GROUP", "group", Some("default"))] {
        let value = format!("postgres://{CANARY}:{name}@db");
        secrets.add("a secret", &value);
        let new = json!({"name": name, "value": value, "scope": scope, "owner": owner});
        let made = manager.post("/api/secrets").json(&new).send().await.expect_status(201).json();
        manager.get(&format!("/api/secrets/{}?values=true", text(&made["id"]))).send().await;
        let again = json!({"value": format!("{value}/again")});
        let path = format!("/api/secrets/{}", text(&made["id"]));
        manager.request("PATCH", &path).json(&again).send().await.expect_status(200);
    }
    let told = json!({"kind": "upstream", "url": upstream.url(), "secret_headers": {"x-main": "MAIN", "x-of-group": "OF_GROUP"}});
    let source = r#"
        export default async function (request, ctx) {
            const [main, own] = [await ctx.getSecret("MAIN"), await ctx.getSecret("OF_GROUP")];
            console.log("opened", { main, own }, await ctx.getCompleteSecret("MAIN"));
            const answer = await fetch(ctx.query.to, { method: "POST", headers: { "x-main": main }, body: own }).catch(String);
            console.warn(String(answer), answer?.status);
            if (ctx.query.fail) throw new Error(`failed at ${main} with ${own}`);
            return new Response(String(main.length));
        }"#;
    let script = json!({"kind": "script", "source": source});
    let mut doors = Vec::new();
    for (path, target) in [("/told", told), ("/run/tells", script)] {
        let door = json!({"path": path, "guard": {"groups": ["default"]}, "target": target});
        doors.push(text(&manager.post("/api/routes").json(&door).send().await.expect_status(201).json()["id"]));
    }
    let new = json!({"name": "for scripts", "scopes": ["*:read", "*:write"]});
    let key = text(&manager.post("/api/keys").json(&new).send().await.expect_status(201).json()["secret"]);
    secrets.add_key("a key for scripts", &key);
    let http = world.keyrack.http().with_bearer(&key);
    let seen = http.get("/told").send().await.expect_status(200);
    assert!(seen.text().contains(CANARY), "the service says what it was told");
    for (to, more, status) in
        [(upstream.url(), "", 200), ("http://127.0.0.1:9".to_owned(), "", 200), (upstream.url(), "&fail=1", 500)]
    {
        http.get(&format!("/run/tells?to={to}{more}")).send().await.expect_status(status);
    }
    let log = wait_for("the log of the script", async || {
        let log = manager.get(&format!("/api/routes/{}/logs?limit=200", doors[1])).send().await.expect_status(200);
        (log.json()["data"].as_array().unwrap().len() == 9).then_some(log)
    });
    let log = log.await;
    assert!(log.text().contains("[secret MAIN]") && log.text().contains("[secret OF_GROUP]"), "{}", log.text());
    secrets.expect_none_in("the log of a script", &log.body);
}

/// Every carrier, at every kind of door, with good keys and with others.
async fn doors(world: &World, upstream: &Upstream, known: &[String]) {
    let (http, manager) = (world.keyrack.http(), &world.acme.manager);
    for (path, guard, url) in [
        ("/queried", json!({"resource": "contacts", "query_key": true}), upstream.url()),
        ("/plain", json!({"scope": "nothing:admin"}), upstream.url()),
        ("/public", json!({"public": true}), upstream.url()),
        ("/broken", json!({"resource": "contacts", "query_key": true}), "http://127.0.0.1:9".to_owned()),
        ("/refused", json!({"resource": "contacts"}), "http://192.168.255.255".to_owned()),
    ] {
        let door = json!({"path": path, "guard": guard, "target": {"kind": "upstream", "url": url}});
        manager.post("/api/routes").json(&door).send().await.expect_status(201);
    }
    for key in known {
        let basic = format!("Basic {}", BASE64.encode(format!(":{key}").as_bytes()));
        let named = format!("Basic {}", BASE64.encode(format!("ada:{key}").as_bytes()));
        for path in
            ["/queried", "/plain", "/public", "/broken", "/refused", "/nothing", "/api/session", "/api/keys", "/docs"]
        {
            for (name, value) in [
                ("x-api-key", key.as_str()),
                ("authorization", key),
                ("authorization", &format!("Bearer {key}")),
                ("authorization", &basic),
                ("authorization", &named),
                ("authorization", &format!("Digest {key}")),
                ("cookie", &format!("__Host-keyrack_session={key}; other={key}")),
                ("x-forwarded-for", key),
                ("accept", key),
                ("user-agent", key),
                ("idempotency-key", key),
                ("keyrack-organization", key),
            ] {
                http.get(path).header(name, value).send().await;
            }
            for query in
                [format!("api_key={key}"), format!("apiKey={key}&x=1"), format!("key={key}"), format!("api_key={key}x")]
            {
                http.get(&format!("{path}?{query}")).send().await;
            }
            http.get(&format!("{path}/{key}")).send().await;
            http.post(path).bearer(key).json(&json!({"key": key})).send().await;
        }
    }
    assert!(upstream.count() > 0, "some of it went through");
}

/// Requests that go wrong with a key in them.
async fn mistakes(world: &World, known: &[String]) {
    let (http, manager) = (world.keyrack.http(), &world.acme.manager);
    for key in known {
        let bodies = [
            format!("{{\"key\":\"{key}\""),
            format!("{{\"key\":\"{key}\",}}"),
            format!("{{\"key\":[\"{key}\"]}}"),
            format!("{{\"{key}\":1}}"),
            key.clone(),
            format!("{{\"key\":\"{key}\",\"key\":\"{key}\"}}"),
            json!({"key": key, "scope": key}).to_string(),
            json!({"key": key, "ip": key}).to_string(),
            json!({"key": key, "roles": [key]}).to_string(),
            json!({"keys": [{"key": key, "name": key, "group": key}]}).to_string(),
            json!({"keys": [{"key": format!("{key} "), "name": "x"}]}).to_string(),
            json!({"email": key, "password": key}).to_string(),
            json!({"token": key, "password": key}).to_string(),
            format!("token={key}"),
        ];
        for path in [
            "/api/verify",
            "/api/verify/batch",
            "/api/introspect",
            "/api/keys/import",
            "/api/session",
            "/api/members/accept",
        ] {
            for body in &bodies {
                for media in ["application/json", "application/x-www-form-urlencoded"] {
                    for client in [manager, &http] {
                        let request = client.post(path).header("content-type", media).body(body.clone());
                        let answer = request.send().await;
                        // The canary is chosen so that it is no name, and nothing is made by mistake.
                        assert!(answer.status != 201 && answer.status < 500, "{path} {body}: {}", answer.text());
                    }
                }
            }
        }
        for path in [
            format!("/api/keys?api_key={key}"),
            format!("/api/keys?{key}=1"),
            format!("/api/keys?cursor={key}"),
            format!("/api/keys?status={key}"),
            format!("/api/keys/{key}"),
            format!("/api/keys/{key}/rotate"),
            format!("/api/audit?kind={key}&actor={key}"),
            format!("/{key}"),
            format!("//{key}"),
            format!("/o/{key}/x"),
        ] {
            manager.get(&path).send().await;
            http.get(&path).send().await;
        }
        manager.request("DELETE", &format!("/api/keys/{key}")).send().await.expect_status(404);
    }
}

/// The same carriers over the other HTTP, whose library has a log of its own.
async fn over_http2(world: &World, known: &[String]) {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    for key in known {
        for (path, name) in [("/queried", "x-api-key"), ("/api/keys", "authorization"), ("/api/session", "cookie")] {
            let url = format!("{}{path}?api_key={key}", world.keyrack.url());
            let request = http::Request::get(url).header(name, key).body(Full::default()).unwrap();
            let answer = client.request(request).await.unwrap();
            assert_eq!(answer.version(), http::Version::HTTP_2);
        }
    }
}

/// A change that fails because of the database, and says so in the log.
async fn a_database_that_is_away(world: &World, secrets: &mut Secrets) {
    let mut other = SqliteConnection::connect(&world.keyrack.database_url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let key = format!("imported.{CANARY}.too.late");
    secrets.add_key("a key that could not be imported", &key);
    let keys = json!({"keys": [{"name": "late", "key": key}]});
    let import = world.acme.manager.post("/api/keys/import").json(&keys);
    let made = world.acme.manager.post("/api/keys").json(&json!({"name": "late"}));
    let (imported, made) = tokio::join!(import.send(), made.send());
    assert_eq!((imported.status, made.status), (503, 503), "{}", imported.text());
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    // The log says why.
    world.keyrack.serving().program.wait_error_line(|line| line.contains("the database is not available"));
}

/// What the command line says about lines that it cannot read.
fn on_the_command_line(world: &World, known: &[String]) {
    let key = known.last().unwrap();
    for line in
        [format!("{{\"key\":\"{key}\""), format!("{{\"{key}\":1}}"), format!("{{\"key\":[\"{key}\"]}}"), key.clone()]
    {
        let run =
            world.keyrack.command("keys").args(["import", "-"]).stdin(line).deadline(Duration::from_secs(30)).run();
        let run = run.expect_code(1);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("line 1") && !said.contains(key.as_str()), "{said}");
    }
    let verified = world.keyrack.command("verify").arg("-").stdin(format!("{key}\n")).run();
    assert!(!format!("{}{}", verified.stdout, verified.stderr).contains(key.as_str()));
}
