//! Letters on their way: to a real mail server, encrypted and not, now and later, or into a folder.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyrack_testkit::process::Running;
use keyrack_testkit::{Database, Keyrack, Program, both_databases};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{KEYRACK, free_port, text, wait_for};

/// A mail server that is not ours (aiosmtpd); `None` where it is not installed.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/aiosmtpd/bin/python3");
    if python.exists() {
        return Some(python);
    }
    assert!(std::env::var_os("KEYRACK_TEST_REQUIRE_ALL").is_none(), "aiosmtpd is not there; ./test installs it");
    None
}

struct MailServer {
    program: Running,
    port: u16,
    /// With its certificate and key.
    directory: TempDir,
}

impl MailServer {
    fn start(python: &Path, port: u16, mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(directory.path().join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
        fs::write(directory.path().join("cert.pem"), issued.cert.pem()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mail_server.py");
        let program = Program::new(python).arg(script).args([&port.to_string(), mode, "cert.pem", "key.pem"]);
        // A letter that somebody was about to send when they were killed is left alone for two minutes.
        let program = program.directory(directory.path()).deadline(Duration::from_mins(4)).start();
        let line: Value = serde_json::from_str(&program.wait_line(|_| true)).unwrap();
        let port = u16::try_from(line["port"].as_u64().unwrap()).unwrap();
        Self { program, port, directory }
    }

    /// The letter to an address, as soon as it is here.
    fn letter_to(&self, address: &str) -> Value {
        let is_it = |line: &str| line.contains(&format!("\"to\": [\"{address}\"]"));
        serde_json::from_str(&self.program.wait_line(is_it)).unwrap()
    }

    fn certificate(&self) -> String {
        self.directory.path().join("cert.pem").display().to_string()
    }
}

async fn invite(keyrack: &Keyrack, email: &str) -> String {
    let new = json!({"email": email, "role": "admin"});
    let made = keyrack.owner().post("/api/members").json(&new).send().await.expect_status(201).json();
    text(&made["invitation"]["token"])
}

const FROM: [&str; 2] = ["--mail-from", "Keyrack of Acme <keys@acme.test>"];

both_databases! {
    async fn a_mail_server_gets_each_letter_and_its_link_lets_in(database: Database) {
        let Some(python) = python() else { return };
        let server = MailServer::start(&python, 0, "plain");
        let url = format!("smtp://127.0.0.1:{}", server.port);
        let keyrack = Keyrack::setup(KEYRACK, database).args(FROM).args(["--mail-url", &url]);
        let keyrack = keyrack.args(["--public-url", "https://keys.acme.test/"]).start();
        let token = invite(&keyrack, "bob@acme.test").await;
        let letter = server.letter_to("bob@acme.test");
        assert_eq!((&letter["from"], &letter["encrypted"]), (&json!("keys@acme.test"), &json!(false)));
        let headers = &letter["headers"];
        assert_eq!(headers["From"], "Keyrack of Acme <keys@acme.test>");
        assert_eq!(headers["Auto-Submitted"], "auto-generated");
        assert!(text(&headers["Message-ID"]).ends_with("@acme.test>"), "{letter}");
        let link = format!("https://keys.acme.test/login/invitation?token={token}");
        assert!(text(&letter["text"]).contains(&link), "{letter}");
        let accept = json!({"token": token, "password": "a password of bob's own"});
        keyrack.http().post("/api/members/accept").json(&accept).send().await.expect_status(201);

        // The owner has been told of the first key; of this one too, with what it is for and its end.
        let made = keyrack.owner().post("/api/keys").json(&json!({"name": "form", "description": "für Anfragen"}));
        let made = made.send().await.expect_status(201).json();
        let told = server.letter_to(&keyrack.owner_email);
        assert!(!told.to_string().contains(&text(&made["secret"])), "{told}");
        keyrack.command("doctor").args(["--mail-url", &url]).args(FROM).run().success();
        assert!(!server.program.stdout().contains(&text(&made["secret"])));
    }
}

#[test]
fn letters_wait_for_a_mail_server_that_is_not_there() {
    let Some(python) = python() else { return };
    keyrack_testkit::database::run(async {
        let port = free_port();
        let url = format!("smtp://127.0.0.1:{port}");
        let setup = Keyrack::setup(KEYRACK, Database::Sqlite).args(FROM).args(["--mail-url", &url]);
        let mut keyrack = setup.start();
        invite(&keyrack, "bob@acme.test").await;
        // Of the invitation, and of the first key.
        let mut failed = HashSet::new();
        keyrack.serving().program.wait_error_line(|line| {
            let letter = line.contains("a letter could not be sent").then(|| line.split_once("letter=")).flatten();
            failed.extend(letter.and_then(|(_, rest)| rest.get(..36)).map(str::to_owned));
            failed.len() == 2
        });
        // Killed, it forgets nothing.
        keyrack.crash();
        keyrack.start_again();
        let doctor = keyrack.command("doctor").args(["--mail-url", &url]).args(FROM).run();
        assert!(doctor.expect_code(1).stdout.contains("the mail server cannot be reached"));
        let server = MailServer::start(&python, port, "plain");
        server.letter_to("bob@acme.test");
    });
}

#[test]
fn a_mail_server_elsewhere_is_told_the_password_over_tls_alone() {
    let Some(python) = python() else { return };
    keyrack_testkit::database::run(async {
        for (mode, scheme, query) in [("starttls", "smtp", "?tls=required"), ("tls", "smtps", "")] {
            let server = MailServer::start(&python, 0, mode);
            let url = format!("{scheme}://keyrack:p%40ss%20word@localhost:{}{query}", server.port);
            let setup = Keyrack::setup(KEYRACK, Database::Sqlite).args(FROM).env("KEYRACK_MAIL__URL", &url);
            // Nobody vouches for its certificate.
            let mut keyrack = setup.start();
            invite(&keyrack, "eve@acme.test").await;
            keyrack.serving().program.wait_error_line(|line| line.contains("a letter could not be sent"));
            keyrack.terminate();
            assert!(!server.program.stdout().contains("eve@acme.test"));

            let setup = Keyrack::setup(KEYRACK, Database::Sqlite).args(FROM).env("KEYRACK_MAIL__URL", &url);
            let keyrack = setup.args(["--mail-ca", &server.certificate()]).start();
            invite(&keyrack, "bob@acme.test").await;
            let letter = server.letter_to("bob@acme.test");
            assert_eq!((&letter["encrypted"], &letter["authenticated"]), (&json!(true), &json!(true)), "{mode}");
            let shown = keyrack.command("config").env("KEYRACK_MAIL__URL", &url).run().success();
            assert!(!shown.stdout.contains("p%40ss") && !keyrack.output().contains("p%40ss"));
        }
    });
}

#[test]
fn without_a_mail_server_letters_go_into_a_folder_of_their_owner() {
    keyrack_testkit::database::run(async {
        let keyrack = Keyrack::start(KEYRACK, Database::Sqlite);
        let token = invite(&keyrack, "bob@acme.test").await;
        let database = keyrack.database_url.strip_prefix("sqlite:").unwrap().trim_start_matches("//").to_owned();
        let folder = PathBuf::from(format!("{database}.outbox"));
        let is_here = async || {
            let files = fs::read_dir(&folder).ok()?;
            let mut letters = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
            letters.find(|letter| letter.contains("To: bob@acme.test"))
        };
        let letter = wait_for("the letter", is_here).await;
        assert!(letter.contains(&format!("/login/invitation?token={token}\r\n")), "{letter}");
    });
}
