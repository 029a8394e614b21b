//! Where settings come from, and which of several holds.

use std::fs;
use std::path::Path;

use keyrack_testkit::Program;
use serde_json::{Value, json};

use super::alone;

/// Each setting with its flag, its variable, and values for it, which differ in what stands for `#`.
const SETTINGS: [(&str, &str, &str, &str); 24] = [
    ("listen", "--listen", "KEYRACK_LISTEN", "127.0.0.1:#"),
    ("database", "--database", "KEYRACK_DATABASE", "sqlite:#.db"),
    ("tls.certificate", "--tls-certificate", "KEYRACK_TLS__CERTIFICATE", "#.pem"),
    ("tls.key", "--tls-key", "KEYRACK_TLS__KEY", "#.key"),
    ("plain_http", "--plain-http", "KEYRACK_PLAIN_HTTP", "anywhere#"),
    ("drain", "--drain", "KEYRACK_DRAIN", "#s"),
    ("keyfile", "--keyfile", "KEYRACK_KEYFILE", "#.keyfile"),
    ("master_key.days", "--master-key-days", "KEYRACK_MASTER_KEY__DAYS", "#"),
    ("trusted_proxies", "--trusted-proxies", "KEYRACK_TRUSTED_PROXIES", "10.0.0.#"),
    ("console_host", "--console-host", "KEYRACK_CONSOLE_HOST", "console#.test"),
    ("setup", "--setup", "KEYRACK_SETUP", "anywhere#"),
    ("public_url", "--public-url", "KEYRACK_PUBLIC_URL", "https://keys#.test"),
    ("mail.url", "--mail-url", "KEYRACK_MAIL__URL", "smtp://user:secret#@mail.test"),
    ("mail.from", "--mail-from", "KEYRACK_MAIL__FROM", "keys#@acme.test"),
    ("mail.ca", "--mail-ca", "KEYRACK_MAIL__CA", "#.pem"),
    ("failure_limit", "--failure-limit", "KEYRACK_FAILURE_LIMIT", "10#"),
    ("egress.allow", "--egress-allow", "KEYRACK_EGRESS__ALLOW", "10.0.0.#"),
    ("grpc.listen", "--grpc-listen", "KEYRACK_GRPC__LISTEN", "127.0.0.1:#"),
    ("metrics.listen", "--metrics-listen", "KEYRACK_METRICS__LISTEN", "127.0.0.1:#"),
    ("log.level", "--log-level", "KEYRACK_LOG__LEVEL", "keyrack=debug,x#"),
    ("log.format", "--log-format", "KEYRACK_LOG__FORMAT", "json#"),
    ("url", "--url", "KEYRACK_URL", "http://127.0.0.1:#"),
    ("key", "--key", "KEYRACK_KEY", "sk_live_secret#"),
    ("organization", "--organization", "KEYRACK_ORGANIZATION", "acme#"),
];

fn value(values: &str, who: &str) -> String {
    values.replace('#', who)
}

/// The setting as it is to be shown.
fn shown(key: &str, value: &str, source: &str) -> Value {
    json!({"value": if matches!(key, "key" | "mail.url") { "(set)" } else { value }, "source": source})
}

fn config(program: Program) -> Value {
    program.args(["config", "--json"]).run().success().json()
}

fn write_file(directory: &Path, name: &str) {
    let lines = SETTINGS.map(|(key, _, _, values)| format!("{key} = {:?}", value(values, "1")));
    fs::write(directory.join(name), lines.join("\n")).unwrap();
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let before = config(alone(directory.path()));
    assert_eq!(before.as_object().unwrap().len(), SETTINGS.len(), "the list above is whole: {before}");
    assert!(SETTINGS.iter().all(|(key, ..)| before[key]["source"] == "default"), "{before}");
    assert_eq!(before["listen"]["value"], "127.0.0.1:8000");
    assert_eq!(before["database"]["value"], "sqlite:keyrack.db");

    write_file(directory.path(), "keyrack.toml");
    for (key, flag, variable, values) in SETTINGS {
        let [in_file, in_variable, in_flag] = ["1", "2", "3"].map(|who| value(values, who));
        let got = config(alone(directory.path()));
        assert_eq!(got[key], shown(key, &in_file, "keyrack.toml"), "{key}");
        let got = config(alone(directory.path()).env(variable, &in_variable));
        assert_eq!(got[key], shown(key, &in_variable, "environment"), "{key}");
        // A flag may stand before the subcommand, or behind it.
        let got = config(alone(directory.path()).env(variable, &in_variable).args([flag, &in_flag]));
        assert_eq!(got[key], shown(key, &in_flag, "flag"), "{key}");
        let behind = alone(directory.path()).env(variable, &in_variable).args(["config", "--json", flag, &in_flag]);
        assert_eq!(behind.run().success().json()[key], shown(key, &in_flag, "flag"), "{key}");
    }
    let table = alone(directory.path()).arg("config").env("KEYRACK_LISTEN", "127.0.0.1:3").run().success().stdout;
    for word in ["SETTING", "FROM", "environment", "keyrack.toml", "(set)"] {
        assert!(table.contains(word), "{word}:\n{table}");
    }
    assert!(!table.contains("secret"), "{table}");
}

#[test]
fn the_file_is_keyrack_toml_here_or_the_one_that_is_named() {
    let directory = tempfile::tempdir().unwrap();
    write_file(directory.path(), "elsewhere.toml");
    assert_eq!(config(alone(directory.path()))["listen"]["source"], "default");
    let named = config(alone(directory.path()).args(["--config", "elsewhere.toml"]));
    assert_eq!(named["listen"]["value"], "127.0.0.1:1");
    let named = config(alone(directory.path()).env("KEYRACK_CONFIG", "elsewhere.toml"));
    assert_eq!(named["listen"]["value"], "127.0.0.1:1");
    let missing = alone(directory.path()).args(["config", "--config", "nowhere.toml"]).run().expect_code(1);
    assert!(missing.stderr.contains("cannot read nowhere.toml"), "{}", missing.stderr);
}

#[test]
fn lists_in_the_file_are_lists() {
    let directory = tempfile::tempdir().unwrap();
    let text = "failure_limit = 7\ntrusted_proxies = [\"10.0.0.1\", \"10.1.0.0/16\"]\n[egress]\nallow = []\n[log]\nlevel = \"warn\"\n";
    fs::write(directory.path().join("keyrack.toml"), text).unwrap();
    let got = config(alone(directory.path()));
    assert_eq!(got["trusted_proxies"]["value"], "10.0.0.1,10.1.0.0/16");
    assert_eq!(got["egress.allow"], json!({"value": "", "source": "keyrack.toml"}));
    assert_eq!(got["log.level"]["value"], "warn");
    assert_eq!(got["failure_limit"]["value"], "7");
}

#[test]
fn a_misspelt_setting_or_one_of_another_kind_is_refused_and_named() {
    for (text, named) in [
        ("listn = \"127.0.0.1:1\"", "listn"),
        ("Listen = \"127.0.0.1:1\"", "Listen"),
        ("[log]\nlevle = \"info\"", "log.levle"),
        ("[logs]\nlevel = \"info\"", "logs"),
        ("log = \"info\"", "log"),
        ("[egress]\nallow = [1]", "egress.allow"),
        ("[listen]\nport = 1", "listen"),
        ("listen = 8000", "listen"),
        ("trusted_proxies = true", "trusted_proxies"),
        ("failure_limit = 1.5", "failure_limit"),
        ("listen = ", "TOML"),
        ("\"\" = 1", "setting"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("keyrack.toml"), text).unwrap();
        for command in ["config", "serve", "doctor"] {
            let run = alone(directory.path()).arg(command).run().expect_code(1);
            assert!(run.stderr.contains(named), "{text}: {}", run.stderr);
            assert!(run.stdout.is_empty(), "{text}: {}", run.stdout);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    alone(directory.path()).args(["config", "--listn", "127.0.0.1:1"]).run().expect_code(2);
}

#[test]
fn a_value_that_cannot_be_used_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    for (flag, value, named) in [
        ("--listen", "8000", "listen"),
        ("--listen", "localhost:8000", "listen"),
        ("--listen", "127.0.0.1:99999", "listen"),
        ("--listen", "0.0.0.0:0", "--plain-http anywhere"),
        ("--listen", "[::]:0", "--plain-http anywhere"),
        ("--grpc-listen", "0.0.0.0:0", "--plain-http anywhere"),
        ("--plain-http", "everywhere", "plain_http"),
        ("--tls-certificate", "no.pem", "tls.key"),
        ("--drain", "soon", "drain"),
        ("--grpc-listen", "x", "grpc.listen"),
        ("--metrics-listen", "x", "metrics.listen"),
        ("--trusted-proxies", "localhost", "trusted_proxies"),
        ("--egress-allow", "10.0.0.0/8,10.0.0.1/8", "egress.allow"),
        ("--log-level", "info,keyrack=loud", "log.level"),
        ("--log-level", "inof", "log.level"),
        ("--log-format", "xml", "log.format"),
        ("--database", "mysql://x", "sqlite: or postgres://"),
        ("--database", "sqlite::memory:", "memory"),
        ("--database", "sqlite:k.db?mode=rwc", "SQLite"),
        ("--database", "", "sqlite: or postgres://"),
    ] {
        let listen = if flag == "--listen" { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let run = alone(directory.path()).arg("serve").args(listen).args([flag, value]).run().expect_code(1);
        assert!(run.stderr.contains(named), "{flag} {value}: {}", run.stderr);
        assert!(!run.stdout.contains("listens"), "{flag} {value}: {}", run.stdout);
        let made: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(made.is_empty(), "{flag} {value} made {made:?}");
        // The doctor sees the same.
        let told = alone(directory.path()).args(["doctor", flag, value]).run().expect_code(1);
        assert!(told.stdout.contains(named) || value.starts_with("sqlite:"), "{flag} {value}: {}", told.stdout);
    }
}

#[test]
fn the_password_of_a_database_is_shown_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let nobody_there = "postgres://keyrack:hunter2222@127.0.0.1:1/keyrack";
    let no_url = "postgres://keyrack:hunter2222@127.0.0.1:nonsense/keyrack";
    let mut running = Vec::new();
    for url in [
        nobody_there,
        no_url,
        "postgres://keyrack@127.0.0.1:1/keyrack?password=hunter2222",
        "postgres://keyrack@127.0.0.1:1/keyrack?sslmode=disable&password=hunter2222",
        "postgres://keyrack@127.0.0.1:1/keyrack?pass%77ord=hunter2222",
        "postgres://keyrack:hunt@er2222@127.0.0.1:1/keyrack",
    ] {
        let mut all = vec![vec!["config"], vec!["config", "--json"]];
        if [nobody_there, no_url].contains(&url) {
            all.extend([vec!["doctor"], vec!["keys", "list"], vec!["serve", "--listen", "127.0.0.1:0"]]);
        }
        for words in all {
            let program = alone(directory.path()).args(&words).args(["--database", url]).start();
            running.push((url, words, program));
        }
    }
    // Side by side, since who cannot reach a database tries for a while.
    for (url, words, mut program) in running {
        let status = program.wait();
        let said = format!("{}{}", program.stdout(), program.stderr());
        assert_eq!(status.success(), words[0] == "config", "{words:?}: {said}");
        assert!(!said.contains("er2222"), "{url} {words:?}: {said}");
    }
}
