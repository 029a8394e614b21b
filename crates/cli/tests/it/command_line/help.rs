//! The help, completions, and what is said about wrong usage.

use std::collections::BTreeSet;

use keyrack_testkit::Program;

use super::alone;
use crate::support::KEYRACK;

/// Names and words of the inside, which nobody who uses the program knows.
const INNER: [&str; 16] = [
    "keyrack_", "keyrack-", "wiring", "struct", "enum", "Option<", "Vec<", "serde", "clap", "tokio", "axum", "sqlx",
    "anyhow", "tracing", "TODO", "_id>",
];

/// The names of the subcommands that a help lists.
fn listed(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The help of every subcommand, with the words that lead to it.
fn helps() -> Vec<(Vec<String>, String)> {
    let mut found: Vec<(Vec<String>, String)> = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(words) = waiting.pop() {
        let help = Program::new(KEYRACK).args(&words).arg("--help").run().success().stdout;
        waiting.extend(listed(&help).into_iter().map(|name| [words.clone(), vec![name]].concat()));
        found.push((words, help));
    }
    found
}

#[test]
fn every_subcommand_has_help_in_the_words_of_those_who_use_it() {
    let helps = helps();
    assert!(helps.len() > 40, "{} subcommands", helps.len());
    for (words, help) in &helps {
        for name in INNER {
            // A name with a dash behind it may stand for what users meet: our own file, or our own header.
            let said = help.replace("keyrack.keyfile", "").replace("keyrack.toml", "");
            assert!(!said.contains(name), "{words:?} speaks of {name}:\n{help}");
        }
        let about = help.lines().next().unwrap();
        assert!(
            about.starts_with(char::is_uppercase) && !about.ends_with('.') && about.len() > 5,
            "{words:?}: {about}"
        );
        let usage = format!("\nUsage: keyrack {}", words.join(" "));
        assert!(help.contains(usage.trim_end()), "{words:?}:\n{help}");
        // Each argument and flag says what it is for: behind its name, or on the next line.
        let lines: Vec<&str> = help.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("      --")) {
            let is_told = line.trim().contains("  ") || lines[at + 1].starts_with("          ");
            assert!(is_told, "{words:?}: {line}");
        }
    }
    let first: BTreeSet<&str> =
        helps.iter().filter(|(words, _)| words.len() == 1).map(|(words, _)| &*words[0]).collect();
    let wanted = [
        "audit",
        "completions",
        "config",
        "demo",
        "doctor",
        "groups",
        "init",
        "keys",
        "logs",
        "master-key",
        "nodes",
        "notifications",
        "openapi",
        "organizations",
        "pepper",
        "routes",
        "secrets",
        "serve",
        "tiers",
        "tokens",
        "usage",
        "users",
        "verify",
        "workspaces",
    ];
    assert_eq!(first, wanted.into());
    let alias = Program::new(env!("CARGO_BIN_EXE_create_api_key")).arg("--help").run().success().stdout;
    assert!(!INNER.iter().any(|name| alias.contains(name)), "{alias}");
}

#[test]
fn what_the_environment_keeps_secret_is_not_in_the_help() {
    for words in [&["--help"][..], &["keys", "create", "--help"], &["serve", "-h"]] {
        let program = Program::new(KEYRACK).args(words).env("KEYRACK_KEY", "sk_live_secret-in-the-environment");
        let help = program.env("KEYRACK_DATABASE", "postgres://u:secret-password@h/db").run().success().stdout;
        assert!(help.contains("KEYRACK_KEY") && !help.contains("secret-"), "{help}");
    }
}

#[test]
fn completions_name_every_subcommand_and_a_shell_completes_with_them() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Program::new(KEYRACK).args(["completions", shell]).run().success().stdout;
        for word in ["keyrack", "rotate", "workspaces", "egress-allow", "overlap"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("keyrack.bash");
    std::fs::write(&script, Program::new(KEYRACK).args(["completions", "bash"]).run().stdout).unwrap();
    let ask = "COMP_WORDS=(keyrack keys ro); COMP_CWORD=2; _keyrack keyrack ro keys; echo \"${COMPREPLY[@]}\"";
    let script = format!("source {}; {ask}", script.display());
    let completed = Program::new("/bin/bash").args(["--norc", "-c", &script]).run().success().stdout;
    assert_eq!(completed.trim(), "rotate");
}

#[test]
fn wrong_usage_is_2_says_what_is_wrong_and_makes_nothing() {
    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    let directory = tempfile::tempdir().unwrap();
    for words in [
        &[][..],
        &["nonsense"],
        &["keys"],
        &["keys", "nonsense"],
        &["keys", "create", "--nonsense"],
        &["keys", "create", "--environment", "production"],
        &["keys", "create", "--level", "read_only", "--scope", "a:read"],
        &["keys", "create", "--expires-at", "tomorrow"],
        &["keys", "create", "--metadata", "[1]"],
        &["keys", "show"],
        &["keys", "show", "not-an-id"],
        &["keys", "rotate", ID, "--overlap", "24"],
        &["keys", "rotate", ID, "--overlap=-1h"],
        &["keys", "rotate", ID, "--overlap", "é"],
        &["keys", "rotate", ID, "--overlap", ""],
        &["keys", "rotate", ID, "--overlap", "99999999999999999999d"],
        &["keys", "rotate", ID, "--overlap", "9223372036854775807d"],
        &["keys", "list", "--status", "gone"],
        &["audit", "--limit", "0"],
        &["audit", "--limit", "201"],
        &["users", "add", "ada@acme.test", "--role", "root"],
        &["organizations", "update", "acme", "--tier", "gold"],
        &["routes", "create", "/x", "http://x", "--scope", "a:read", "--resource", "a"],
        &["secrets", "set"],
        &["secrets", "set", "A", "--group", "a", "--route", "b"],
        &["completions", "tcsh"],
        &["init", "--owner-email", "a@b.test"],
    ] {
        let run = alone(directory.path()).args(words).run().expect_code(2);
        assert!(run.stderr.contains("--help") || run.stderr.contains("Usage:"), "{words:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && !run.stderr.contains("panicked"), "{words:?}: {}", run.stderr);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "wrong usage makes no files");
}
