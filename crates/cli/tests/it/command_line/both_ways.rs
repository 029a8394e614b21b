//! Over the database and over a running server: the same commands, the same answers, the same rules.

use keyrack_testkit::process::Finished;
use keyrack_testkit::{Database, Keyrack, both_databases};
use serde_json::{Value, json};

use super::remote;
use crate::support::{NOBODY, start, text};

/// A way to manage, and what tells its things from those of the other way.
struct Way<'k> {
    keyrack: &'k Keyrack,
    is_remote: bool,
}

impl Way<'_> {
    fn run(&self, words: &[&str], input: &str) -> Finished {
        let name = if self.is_remote { "remote" } else { "local" };
        let words = words.iter().map(|word| word.replace("WAY", name));
        let program = if self.is_remote {
            remote(self.keyrack)
        } else {
            let database = ["--database", &self.keyrack.database_url];
            self.keyrack.program().args(database).arg("--keyfile").arg(&self.keyrack.keyfile)
        };
        program.args(words).arg("--json").stdin(input).run()
    }

    fn json(&self, words: &[&str]) -> Value {
        self.run(words, "").success().json()
    }
}

/// An answer without what differs each time: ids, times, keys, and the name of the way.
fn alike(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(alike).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| alike_member(name, value)).collect(),
        Value::String(text) => json!(alike_text(&text)),
        other => other,
    }
}

fn alike_member(name: String, value: Value) -> (String, Value) {
    // When a key was last used is written down behind what was asked.
    let varies = ["display_prefix", "last4", "token", "sequence"].contains(&name.as_str()) && !value.is_null();
    let varies = varies || name == "last_used_at";
    (name, if varies { json!("(varies)") } else { alike(value) })
}

fn alike_text(text: &str) -> String {
    let is_time = text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    let is_id = text.len() == 36 && text.split('-').count() == 5;
    match text {
        _ if is_id => "(id)".to_owned(),
        "2100-01-01T00:00:00Z" => text.to_owned(),
        _ if is_time => "(time)".to_owned(),
        _ if text.starts_with("kk_") && text.len() > 40 => "(key)".to_owned(),
        _ => text.replace("remote", "WAY").replace("local", "WAY"),
    }
}

/// What each command answered, without what differs each time.
struct Told<'w> {
    way: &'w Way<'w>,
    answers: Vec<(String, Value)>,
}

impl Told<'_> {
    /// Runs a command that is to end with this code, and notes its answer.
    fn ends(&mut self, code: i32, words: &[&str], input: &str) -> Value {
        let answer = self.way.run(words, input).expect_code(code).json();
        self.answers.push((words[..2].join(" "), alike(answer.clone())));
        answer
    }

    fn run(&mut self, words: &[&str]) -> Value {
        self.ends(0, words, "")
    }
}

/// Uses every subcommand that manages, so that in the end nothing is left to be in the way of the other way.
fn walk(way: &Way<'_>) -> Vec<(String, Value)> {
    let mut told = Told { way, answers: Vec::new() };
    told.run(&["workspaces", "create", "sales", "--name", "Sales"]);
    told.run(&["workspaces", "list"]);
    let looks = ["--prefix", "kk_", "--body", "hex", "--default-scope", "a:read", "--description", "d"];
    told.run(&[&["groups", "create", "robots"][..], &looks].concat());
    told.run(&["groups", "rename", "robots", "machines"]);
    told.run(&["groups", "list"]);
    keys(&mut told);
    told.run(&["users", "add", "invited@acme.test", "--role", "admin"]);
    told.ends(0, &["users", "add", "WAY@acme.test", "--name", "Ada", "--password-stdin"], "fifteen letters\n");
    told.run(&["users", "role", "WAY@acme.test", "admin"]);
    told.run(&["users", "list"]);
    told.run(&["users", "remove", "WAY@acme.test"]);
    let asks = [
        "--group",
        "machines",
        "--resource",
        "a",
        "--role",
        "member",
        "--workspace",
        "sales",
        "--sessions",
        "--query-key",
    ];
    let door = ["routes", "create", "/door/:id", "http://127.0.0.1:9/x", "--name", "door", "--method", "GET"];
    told.run(&[&door[..], &asks].concat());
    for words in [
        &["routes", "list"][..],
        &["routes", "disable", "door"],
        &["routes", "enable", "door"],
        &["routes", "delete", "door"],
        &["routes", "create", "/any", "http://127.0.0.1:9", "--any-organization"],
        &["routes", "create", "/public", "http://127.0.0.1:9", "--public", "--host", "a.test"],
        &["routes", "delete", "/any"],
        &["routes", "delete", "/public"],
        &["organizations", "create", "of-WAY", "--tier", "pro", "--owner-email", "owner@acme.test", "--name", "O"],
        &["organizations", "update", "of-WAY", "--name", "P", "--state", "deleted"],
        &["organizations", "update", "acme", "--tier", "free", "--rate-limit", "9/1s", "--quota-used", "7"],
        &["organizations", "quota", "acme"],
        &["organizations", "update", "acme", "--tier", "enterprise", "--no-rate-limits", "--quota-used", "0"],
        &["tiers", "set", "pro", "none"],
        &["tiers", "set", "pro", "100000"],
        &["tiers", "list"],
        &["usage", "--from", "2020-01-01T00:00:00Z", "--until", "2020-01-01T01:00:00Z"],
        &[
            "usage",
            "--group",
            "machines",
            "--by",
            "day",
            "--from",
            "2020-01-01T00:00:00Z",
            "--until",
            "2020-01-02T00:00:00Z",
        ],
        &["groups", "limit", "machines", "--rate-limit", "100/1m"],
        &["groups", "limit", "machines"],
        &["groups", "delete", "machines", "--revoke-keys"],
        &["workspaces", "delete", "sales"],
    ] {
        told.run(words);
    }
    told.answers
}

fn keys(told: &mut Told<'_>) {
    let bound = ["--environment", "test", "--group", "machines", "--workspace", "sales"];
    let may =
        ["--scope", "a:read", "--scope", "b:write", "--expires-at", "2100-01-01T00:00:00Z", "--allow-ip", "10.0.0.0/8"];
    let named = ["keys", "create", "--name", "K", "--description", "d", "--metadata", r#"{"a":[1]}"#];
    let made = told.run(&[&named[..], &bound, &may].concat());
    let (id, old) = (text(&made["key"]["id"]), text(&made["secret"]));
    told.run(&["keys", "create", "--name", "plain", "--group", "machines", "--disabled"]);
    told.run(&["keys", "show", &id]);
    told.run(&["usage", "--by", "minute", "--from", "2020-01-01T00:00:00Z", "--until", "2020-01-01T00:09:00Z", &id]);
    let which =
        ["--group", "machines", "--name", "K", "--status", "active", "--workspace", "sales", "--sort", "last_used_at"];
    told.run(&[&["keys", "list"][..], &which].concat());
    told.run(&["keys", "limit", &id, "--rate-limit", "10/1s", "--rate-limit", "1000/1h"]);
    told.run(&["keys", "disable", &id]);
    told.run(&["keys", "enable", &id]);
    let new = text(&told.run(&["keys", "rotate", &id, "--overlap", "0"])["secret"]);
    let asked =
        ["--ip", "10.1.1.1", "--workspace", "sales", "--scope", "a:read", "--group", "machines", "--role", "member"];
    told.ends(0, &[&["verify", "-"][..], &asked].concat(), &format!("{new}\n"));
    told.run(&["keys", "limit", &id]);
    told.ends(0, &[&["verify", "-", "--cost", "2"][..], &asked].concat(), &format!("{new}\n"));
    for key in [&*old, &new, "nothing"] {
        told.ends(3, &["verify", "-"], key);
    }
    told.run(&["keys", "revoke", &id, "--reason", "over"]);
    told.run(&["keys", "list", "--group", "machines", "--status", "revoked"]);
    told.run(&["keys", "delete", &id]);
}

both_databases! {
    /// What only differs by its way is the same.
    async fn every_subcommand_answers_the_same_over_the_database_and_over_a_server(database: Database) {
        let keyrack = start(database);
        let [local, remote] = [false, true].map(|is_remote| Way { keyrack: &keyrack, is_remote });
        let (by_local, by_remote) = (walk(&local), walk(&remote));
        assert_eq!(by_local.len(), by_remote.len());
        for (one, other) in by_local.iter().zip(&by_remote) {
            assert_eq!(one, other);
        }
        // What both look at is the very same.
        for words in [&["audit", "--limit", "200"][..], &["organizations", "list"], &["keys", "list"], &["groups", "list"], &["users", "list"]] {
            let (one, other) = (local.json(words), remote.json(words));
            let used = |mut value: Value| {
                for row in value.as_array_mut().unwrap() {
                    row.as_object_mut().unwrap().remove("last_used_at");
                }
                value
            };
            assert_eq!(used(one), used(other), "{words:?}");
        }
        // The audit log tells who did it: the host, or the key.
        let audit = local.json(&["audit", "--limit", "200"]);
        let by = |kind: &str| audit.as_array().unwrap().iter().filter(|e| e["kind"] == "key.revoked" && e["actor"]["kind"] == kind).count();
        assert_eq!((by("system"), by("api_key")), (1, 1));
    }
}

#[test]
fn what_is_refused_is_refused_on_both_ways_with_the_same_words_and_1() {
    let keyrack = start(Database::Sqlite);
    let [local, remote] = [false, true].map(|is_remote| Way { keyrack: &keyrack, is_remote });
    let owner = keyrack.user_id.clone();
    for words in [
        &["keys", "show", NOBODY][..],
        &["keys", "revoke", NOBODY],
        &["keys", "rotate", NOBODY],
        &["keys", "delete", NOBODY],
        &["keys", "create", "--name", "x", "--scope", "nonsense"],
        &["keys", "create", "--name", "x", "--group", "nobody"],
        &["keys", "create", "--name", "x", "--expires-at", "2020-01-01T00:00:00Z"],
        &["keys", "create"],
        &["keys", "list", "--group", "nobody"],
        &["keys", "list", "--unused-for", "long"],
        &["groups", "create", "Upper"],
        &["groups", "rename", "nobody", "x"],
        &["groups", "delete", "management"],
        &["workspaces", "create", "Upper"],
        &["workspaces", "delete", "nowhere"],
        &["organizations", "create", "acme", "--owner-email", "owner@acme.test"],
        &["organizations", "create", "new", "--owner-email", "nobody@acme.test"],
        &["organizations", "update", "nowhere", "--name", "x"],
        &["users", "add", "nonsense"],
        &["users", "role", "nobody@acme.test", "admin"],
        &["users", "remove", &owner],
        &["routes", "create", "/api", "http://x", "--public"],
        &["routes", "create", "/x", "http://x"],
        &["routes", "delete", "nowhere"],
        &["secrets", "set", "A"],
        &["secrets", "get", "NOWHERE"],
        &["secrets", "list", "--route", "nowhere"],
        &["secrets", "delete", "NOWHERE", "--group", "management"],
        &["verify", "x", "--scope", "nonsense"],
        &["verify", "x", "--ip", "nonsense"],
    ] {
        let [one, other] = [&local, &remote].map(|way| way.run(words, "").expect_code(1));
        // Over the database the host looks for the key itself, and whoever owns it.
        let said = |run: &Finished| {
            run.stderr.lines().next().unwrap_or_default().replace(&format!("there is no key {NOBODY}"), "key not found")
        };
        if words == ["users", "remove", owner.as_str()] {
            assert!(
                said(&one).contains("at least one owner") && said(&other).contains("take no key"),
                "{} {}",
                one.stderr,
                other.stderr
            );
        } else {
            assert_eq!(said(&one), said(&other), "{words:?}");
        }
        for run in [&one, &other] {
            assert!(
                run.stderr.starts_with("error: ") && run.stdout.is_empty(),
                "{words:?}: {} {}",
                run.stdout,
                run.stderr
            );
        }
    }
}

#[test]
fn a_server_that_cannot_be_used_is_told_apart_from_one_that_refuses() {
    let keyrack = start(Database::Sqlite);
    let list =
        |url: &str, key: &str| keyrack.program().args(["keys", "list", "--url", url]).env("KEYRACK_KEY", key).run();
    let nobody = "http://127.0.0.1:9";
    for (url, key, words) in [
        (nobody, "x", &["cannot reach http://127.0.0.1:9"][..]),
        ("nonsense", "x", &["nonsense", "https://"]),
        ("http://127.0.0.1:9/path", "x", &["https://"]),
        ("http://nowhere.invalid", "x", &["cannot reach"]),
        (&keyrack.url(), "wrong", &["Invalid API key"]),
        (&keyrack.url(), "a\nb", &["characters that no key has"]),
        (&format!("{}/", keyrack.url()), "wrong", &["Invalid API key"]),
    ] {
        let run = list(url, key);
        assert_eq!(run.status.code(), Some(1), "{url}: {}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{url} {key}: {}", run.stderr);
        }
    }
    let no_key = keyrack.program().args(["keys", "list", "--url", nobody]).run().expect_code(1);
    assert!(no_key.stderr.contains("KEYRACK_KEY"), "{}", no_key.stderr);
    let both = keyrack.command("keys").args(["list", "--url", nobody, "--key", "x"]).run().expect_code(1);
    assert!(both.stderr.contains("either --url or --database"), "{}", both.stderr);
    let init = keyrack.program().args(["init", "--url", nobody, "--organization", "x", "--owner-email", "a@b.test"]);
    let init = init.arg("--owner-password-stdin").stdin("fifteen letters\n").run().expect_code(1);
    assert!(init.stderr.contains("takes no --url"), "{}", init.stderr);
    // Over the database one says which organization, by slug or id; without, it is the first.
    for organization in ["acme", &keyrack.organization_id] {
        keyrack.command("keys").args(["list", "--organization", organization]).run().success();
    }
    let unknown = keyrack.command("keys").args(["list", "--organization", "nowhere"]).run().expect_code(1);
    assert!(unknown.stderr.contains("there is no organization nowhere"), "{}", unknown.stderr);
}

#[test]
fn answers_for_people_are_tables_and_show_a_key_once() {
    let keyrack = start(Database::Sqlite);
    let run = |words: &[&str]| keyrack.command(words[0]).args(&words[1..]).run().success().stdout;
    let made = run(&["keys", "create", "--name", "Ada's laptop", "--scope", "contacts:read"]);
    let key = made.lines().find(|line| line.starts_with("sk_live_")).expect("the key on a line of its own").to_owned();
    assert!(made.contains("shown this once"), "{made}");
    let list = run(&["keys", "list"]);
    for word in ["ID", "LAST USED", "Ada's laptop", "contacts:read", &key[..16], &key[key.len() - 4..]] {
        assert!(list.contains(word), "{word}:\n{list}");
    }
    let id = list.lines().find(|line| line.contains("Ada's laptop")).unwrap().split_whitespace().next().unwrap();
    for words in
        [&["keys", "show", id][..], &["keys", "list"], &["audit"], &["groups", "list"], &["keys", "revoke", id]]
    {
        assert!(!run(words).contains(&key), "{words:?}");
    }
    assert_eq!(run(&["workspaces", "list"]).trim(), "none");
    let verified = keyrack.command("verify").arg("-").stdin(format!("{key}\n")).run().expect_code(3);
    assert!(verified.stdout.contains("REVOKED"), "{}", verified.stdout);
}
