//! Schemathesis asks for everything that the committed `OpenAPI` document describes, with values that it allows and with values
//! that it does not, one by one and along its links: no answer is a fault of the server, and none is undocumented.
#![cfg(test)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyrack_testkit::{Database, Keyrack, Program};
use serde_json::json;

const KEYRACK: &str = env!("CARGO_BIN_EXE_keyrack");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The seeds of further walks along the links: one may end early, where a request met what an earlier one left behind.
const WALKS: [&str; 2] = ["1", "2"];

/// Where `./test` puts it, or where `KEYRACK_TEST_SCHEMATHESIS` says that it is.
fn schemathesis() -> Option<PathBuf> {
    let setting = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let program = setting("KEYRACK_TEST_SCHEMATHESIS")
        .map_or_else(|| Path::new(ROOT).join("target/tools/schemathesis/bin/schemathesis"), PathBuf::from);
    if program.exists() {
        return Some(program);
    }
    assert!(setting("KEYRACK_TEST_REQUIRE_ALL").is_none(), "schemathesis is not there; ./test installs it");
    // Not by eprintln, which the test harness would swallow.
    drop(writeln!(std::io::stderr(), "left out: schemathesis is not installed; ./test installs it"));
    None
}

/// Who asks.
#[derive(Clone, Copy)]
enum Caller {
    Key,
    Owner,
}

/// A session that will be signed out in the run.
async fn sign_in(keyrack: &Keyrack) -> String {
    let who = json!({"email": keyrack.owner_email, "password": keyrack.owner_password});
    let answer = keyrack.http().post("/api/session").json(&who).send().await.expect_status(201);
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    cookie.split_once('=').unwrap().1.to_owned()
}

async fn run(program: &Path, keyrack: &Keyrack, caller: Caller, arguments: &[&str]) {
    let config = match caller {
        Caller::Key => "as_key.toml",
        Caller::Owner => "as_owner.toml",
    };
    let run = Program::new(program)
        .directory(FOLDER)
        .args(["--config-file", config, "run", "../../../../docs/openapi.json", "--no-color", "--url", &keyrack.url()])
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("API_URL", keyrack.url())
        .env("API_ORGANIZATION", &keyrack.organization_id)
        .env("API_EMAIL", &keyrack.owner_email)
        .env("API_PASSWORD", &keyrack.owner_password)
        .deadline(Duration::from_mins(15));
    let run = match caller {
        Caller::Key => run.env("API_KEY", &keyrack.management_key),
        Caller::Owner => run.env("API_SESSION", sign_in(keyrack).await),
    };
    tokio::task::block_in_place(|| run.run().success());
}

async fn everything(caller: Caller) {
    let Some(program) = schemathesis() else { return };
    let keyrack = Keyrack::start(KEYRACK, Database::Sqlite);
    run(&program, &keyrack, caller, &[]).await;
    for seed in WALKS {
        let walk = ["--phases", "stateful", "--seed", seed, "--exclude-checks", "every_operation_succeeds"];
        run(&program, &keyrack, caller, &walk).await;
    }
    let output = keyrack.output();
    assert!(!output.contains(" ERROR ") && !output.contains("panicked"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_the_management_key() {
    everything(Caller::Key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_the_owner_who_is_signed_in() {
    everything(Caller::Owner).await;
}
