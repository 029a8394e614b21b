//! A keyrack under test, played by a shell script with the same manners.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keyrack_testkit::{Database, Keyrack};
use tempfile::TempDir;

/// Notes every call with what it was given, and serves as far as its first line.
const SCRIPT: &str = r#"#!/bin/sh
echo "$*" >>"$CALLS"
case $1 in
  init)
    cat >>"$CALLS"
    echo '{"organization_id": "org_1", "user_id": "user_1", "management_key": "acme_key"}' ;;
  serve)
    trap 'echo "$$ ended in good order"; kill $!; exit 0' INT
    echo "a line before"
    echo "log of $$" >&2
    sleep 60 >/dev/null 2>&1 &
    echo "keyrack listens on http://127.0.0.1:$$"
    wait $! ;;
esac
"#;

struct Stage {
    directory: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(stage.binary(), SCRIPT).unwrap();
        fs::set_permissions(stage.binary(), fs::Permissions::from_mode(0o755)).unwrap();
        stage
    }

    fn binary(&self) -> PathBuf {
        self.directory.path().join("keyrack")
    }

    fn calls_file(&self) -> PathBuf {
        self.directory.path().join("calls")
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.calls_file()).unwrap().lines().map(str::to_owned).collect()
    }

    fn start(&self) -> Keyrack {
        Keyrack::setup(self.binary(), Database::Sqlite).env("CALLS", self.calls_file()).arg("--more").start()
    }
}

#[test]
fn it_is_initialised_then_served() {
    let stage = Stage::new();
    let keyrack = stage.start();
    assert_eq!(keyrack.organization_id, "org_1");
    assert_eq!((keyrack.user_id.as_str(), keyrack.management_key.as_str()), ("user_1", "acme_key"));
    let (url, keyfile) = (&keyrack.database_url, keyrack.keyfile.display());
    assert!(url.starts_with("sqlite:") && Path::new(&url["sqlite:".len()..]).is_absolute(), "{url}");
    assert!(keyrack.keyfile.starts_with(keyrack.directory()));
    let init = format!(
        "init --database {url} --keyfile {keyfile} \
         --organization acme --owner-email owner@acme.test --owner-password-stdin --json --tier enterprise"
    );
    let serve = format!("serve --database {url} --keyfile {keyfile} --listen 127.0.0.1:0 --more");
    assert_eq!(stage.calls(), [init, keyrack.owner_password.clone(), serve]);
    assert_eq!(keyrack.url(), format!("http://127.0.0.1:{}", keyrack.serving().program.id()));
    assert_eq!(keyrack.http().base(), keyrack.url());
}

#[test]
fn it_can_be_restarted_and_crashed_and_keeps_all_that_was_printed() {
    let stage = Stage::new();
    let mut keyrack = stage.start();
    let first = keyrack.serving().program.id();
    keyrack.restart();
    let second = keyrack.serving().program.id();
    assert_ne!(first, second);
    assert!(!keyrack.crash().success());
    keyrack.start_again();
    let third = keyrack.serving().program.id();
    assert!(keyrack.stop().success());

    let output = keyrack.output();
    for wanted in [first, second, third].map(|id| format!("log of {id}\n")) {
        assert!(output.contains(&wanted), "{output}");
    }
    for (id, in_order) in [(first, true), (second, false), (third, true)] {
        assert_eq!(output.contains(&format!("{id} ended in good order")), in_order, "{output}");
    }
    assert_eq!(stage.calls().iter().filter(|call| call.starts_with("init")).count(), 1);
}

#[test]
fn a_second_process_serves_the_same_database() {
    let stage = Stage::new();
    let keyrack = stage.start();
    let another = keyrack.another();
    assert_ne!(another.url, keyrack.url());
    assert_eq!(another.address().port().to_string(), another.url.rsplit_once(':').unwrap().1);
    assert_eq!(another.http().base(), another.url);
    let calls = stage.calls();
    assert_eq!(calls[calls.len() - 1], calls[calls.len() - 2]);
}

#[test]
fn it_serves_at_one_address_if_it_is_told_to() {
    let stage = Stage::new();
    let setup = Keyrack::setup(stage.binary(), Database::Sqlite).env("CALLS", stage.calls_file()).at_one_address();
    let mut keyrack = setup.start();
    keyrack.restart();
    drop(keyrack.another());
    let calls = stage.calls();
    let listens: Vec<_> = calls.iter().filter_map(|call| Some(call.split_once("--listen ")?.1)).collect();
    assert_eq!((listens.len(), listens[0], listens[2]), (3, listens[1], "127.0.0.1:0"));
    let address: SocketAddr = listens[0].parse().unwrap();
    assert!(address.ip().is_loopback() && (10_000..30_000).contains(&address.port()), "{address}");
}

#[test]
fn other_commands_know_the_same_database() {
    let stage = Stage::new();
    let keyrack = stage.start();
    keyrack.command("key").args(["list", "--json"]).run().success();
    keyrack.program().arg("--version").run().success();
    let calls = stage.calls();
    let [.., list, version] = &calls[..] else { panic!("{calls:?}") };
    let (url, keyfile) = (&keyrack.database_url, keyrack.keyfile.display());
    assert_eq!(*list, format!("key --database {url} --keyfile {keyfile} list --json"));
    assert_eq!(version, "--version");
}

#[test]
fn its_processes_and_files_go_with_it() {
    let stage = Stage::new();
    let keyrack = Keyrack::setup(stage.binary(), Database::Sqlite).env("CALLS", stage.calls_file());
    let keyrack = keyrack.args(["--a", "b"]).database_url("sqlite:elsewhere.db").start();
    assert!(stage.calls()[2].contains("--database sqlite:elsewhere.db"));
    assert!(stage.calls()[2].ends_with("--a b"));
    let directory = keyrack.directory().to_owned();
    let process = Path::new("/proc").join(keyrack.serving().program.id().to_string());
    drop(keyrack);
    assert!(!directory.exists() && !process.exists());
}
