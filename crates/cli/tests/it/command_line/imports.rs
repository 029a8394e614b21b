//! `keyrack keys import`: thousands of keys from a file, and what becomes of a file with a mistake in it.

use std::fmt::Write as _;

use keyrack_testkit::{Database, Keyrack, both_databases};
use serde_json::{Value, json};

use super::remote;
use crate::support::start;

/// The text of the key on a line.
fn key(line: usize) -> String {
    format!("imported-from-line-{line:05}")
}

/// A file with a key on each of these lines.
fn file(lines: std::ops::RangeInclusive<usize>) -> String {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{}", json!({"key": key(line), "name": format!("line {line}"), "scopes": ["contacts:read"]}))
            .unwrap();
    }
    text
}

async fn is_valid(keyrack: &Keyrack, line: usize) -> bool {
    let verified = keyrack.owner().post("/api/verify").json(&json!({"key": key(line)})).send().await;
    verified.expect_status(200).json()["valid"] == true
}

/// How many keys there are, without the manager's.
async fn count(keyrack: &Keyrack) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let page = keyrack.owner().get(&format!("/api/keys?limit=200&group=default{cursor}")).send().await;
        let page = page.expect_status(200).json();
        count += page["data"].as_array().unwrap().len();
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return count,
        }
    }
}

both_databases! {
    /// In three requests, whatever the way.
    async fn a_file_of_two_and_a_half_thousand_keys_is_imported(database: Database) {
        let keyrack = start(database);
        let path = keyrack.directory().join("keys.jsonl");
        std::fs::write(&path, file(1..=2500)).unwrap();
        let told = keyrack.command("keys").args(["import", "--json"]).arg(&path).run().success();
        assert_eq!(told.json(), json!({"imported": 2500}));
        assert_eq!(count(&keyrack).await, 2500);
        for line in [1, 1000, 1001, 2000, 2001, 2500] {
            assert!(is_valid(&keyrack, line).await, "line {line}");
        }
        let audit = keyrack.owner().get("/api/audit?kind=key.imported").send().await.expect_status(200).json();
        let counts: Vec<&Value> = audit["data"].as_array().unwrap().iter().map(|event| &event["data"]["count"]).collect();
        assert_eq!(counts, [500, 1000, 1000], "newest first, one event for each batch");
        // The same once more is refused whole.
        let again = keyrack.command("keys").args(["import"]).arg(&path).run().expect_code(1);
        assert!(again.stderr.contains("key 1 ") && again.stderr.contains("0 keys are imported"), "{}", again.stderr);
        assert_eq!(count(&keyrack).await, 2500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_bad_line_stays_and_the_line_is_named() {
    let lines: Vec<String> = file(1..=2500).lines().map(str::to_owned).collect();
    // Two batches are refused at the same place, for what the program sees and for what only the server can see.
    for (bad, words) in [
        (r#"{"key": "not-closed-and-long-enough", "name": "x""#, &["line 1501", "column"][..]),
        (r#"{"key": "with-a-field-nobody-knows", "name": "x", "zebra": 1}"#, &["line 1501"]),
        ("long-enough-and-no-json-at-all", &["line 1501"]),
        (r#"["positional-and-long-enough", null, "x"]"#, &["line 1501"]),
        (r#"{"key": "too-short", "name": "x"}"#, &["key 1001", "keys[500].key"]),
        (r#"{"key": "imported-from-line-00007", "name": "x"}"#, &["key 1001", "keys[500]"]),
    ] {
        let keyrack = start(Database::Sqlite);
        let mut lines = lines.clone();
        lines[1500] = bad.to_owned();
        let path = keyrack.directory().join("keys.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let told = keyrack.command("keys").arg("import").arg(&path).run().expect_code(1);
        for word in words.iter().chain(&["1000 keys are imported"]) {
            assert!(told.stderr.contains(word), "{bad}: no {word:?} in {}", told.stderr);
        }
        for secret in ["long-enough", "nobody-knows", "too-short", "from-line"] {
            assert!(!told.stderr.contains(secret), "{}", told.stderr);
        }
        assert_eq!(count(&keyrack).await, 1000, "{bad}");
        assert!(is_valid(&keyrack, 1000).await && !is_valid(&keyrack, 1001).await, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_standard_input_too_and_over_a_server() {
    let keyrack = start(Database::Sqlite);
    let text = format!("\n{}\r\n   \n", file(1..=3).replace('\n', "\r\n"));
    let told = keyrack.command("keys").args(["import", "-"]).stdin(text).run().success();
    assert_eq!(told.stdout.trim(), "3 keys are imported");
    let told = remote(&keyrack).args(["keys", "import", "-", "--json"]).stdin(file(4..=1204)).run().success();
    assert_eq!(told.json(), json!({"imported": 1201}));
    assert!(is_valid(&keyrack, 3).await && is_valid(&keyrack, 1204).await);
    for nothing in ["", "\n\n \n"] {
        let told = keyrack.command("keys").args(["import", "-"]).stdin(nothing).run().success();
        assert_eq!(told.stdout.trim(), "0 keys are imported");
    }
    assert_eq!(count(&keyrack).await, 1204);
    let missing = keyrack.command("keys").args(["import", "nowhere.jsonl"]).run().expect_code(1);
    assert!(missing.stderr.contains("nowhere.jsonl"), "{}", missing.stderr);
    let not_text =
        keyrack.command("keys").args(["import", "-"]).stdin(&b"{\"key\":\"\xff\"}\n"[..]).run().expect_code(1);
    assert!(!not_text.stderr.contains("panicked"), "{}", not_text.stderr);
    assert_eq!(count(&keyrack).await, 1204);
}
