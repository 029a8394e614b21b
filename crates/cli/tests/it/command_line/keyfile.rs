//! The key file: what is wrong with one is said with how to mend it, and nothing serves until it is mended.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};

use data_encoding::BASE64;
use keyrack_testkit::{Database, Keyrack, both_databases};

use crate::support::{KEYRACK, start};

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs what needs the key file, and expects each to fail with these words and without that text.
fn expect_refused(keyrack: &Keyrack, what: &str, words: &[&str], hidden: &str) {
    let address = free_address();
    let serve = keyrack.command("serve").args(["--listen", &address.to_string()]);
    let list = keyrack.command("keys").arg("list");
    let verify = keyrack.command("verify").arg("-").stdin("x\n");
    for program in [serve, list, verify] {
        let run = program.run().expect_code(1);
        for word in words {
            assert!(run.stderr.contains(word), "{what}: no word of {word:?}: {}", run.stderr);
        }
        let name = keyrack.keyfile.display().to_string();
        assert!(run.stderr.contains(&name) || words[0].starts_with("pepper"), "{what}: which file? {}", run.stderr);
        assert!(!run.stderr.contains("panicked") && !run.stderr.contains(hidden), "{what}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{what}: {}", run.stdout);
    }
    assert!(TcpStream::connect(address).is_err(), "{what}: it listens all the same");
    let doctor = keyrack.command("doctor").run().expect_code(1);
    assert!(doctor.stdout.contains("WRONG") && !doctor.stdout.contains(hidden), "{what}: {}", doctor.stdout);
}

both_databases! {
    /// On both databases, since what is beside the file is asked for too.
    async fn a_key_file_that_is_missing_broken_or_another_is_refused_with_how_to_mend_it(database: Database) {
        let mut keyrack = start(database);
        keyrack.stop();
        let file = keyrack.keyfile.clone();
        let good = fs::read_to_string(&file).unwrap();
        let key = good.lines().find_map(|line| line.strip_prefix("key = \"")?.strip_suffix('"')).unwrap().to_owned();
        let write = |text: &str| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        };
        let with_key = |bytes: &[u8]| good.replacen(&key, &BASE64.encode(bytes), 1);

        fs::remove_file(&file).unwrap();
        expect_refused(&keyrack, "missing", &["missing", "restore", "--keyfile"], &key);
        assert!(!file.exists(), "none is made in its place");
        fs::create_dir(&file).unwrap();
        expect_refused(&keyrack, "a directory", &["key file"], &key);
        fs::remove_dir(&file).unwrap();
        for (what, text, words) in [
            ("empty", String::new(), &["restore"][..]),
            ("half", good[..good.len() / 2].to_owned(), &["restore"]),
            ("no pepper", good.replace("[[pepper]]", "[[papper]]"), &["restore"]),
            ("a line too many", format!("{good}\nsecret = {key:?}"), &["restore", "line"]),
            ("no TOML", format!("{key}\n{good}"), &["restore", "line 1"]),
            ("short", with_key(&[7; 16]), &["restore", "32 bytes"]),
            ("long", with_key(&[7; 64]), &["restore", "32 bytes"]),
            ("no base64", good.replacen(&key, "!!!!", 1), &["restore", "base64"]),
            ("zeros", with_key(&[0; 32]), &["placeholder"]),
            ("changeme", with_key(b"changemechangemechangemechangeme"), &["placeholder"]),
            ("a sentence", with_key(b"correct horse battery staple 123"), &["placeholder"]),
        ] {
            write(&text);
            expect_refused(&keyrack, what, words, &key);
        }
        for mode in [0o644, 0o640, 0o604, 0o660, 0o777] {
            write(&good);
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            expect_refused(&keyrack, "readable by others", &["chmod 600", &format!("{mode:04o}")], &key);
        }
        write(&good);
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(65534), None).unwrap();
            expect_refused(&keyrack, "another's", &["another user"], &key);
            chown(&file, Some(0), None).unwrap();
        }

        // Another instance's, or the right pepper under a wrong number.
        let other = tempfile::tempdir().unwrap();
        let foreign = other.path().join("other.keyfile");
        let made = keyrack.program().args(["init", "--organization", "other", "--owner-email", "a@b.test"]);
        let database = Database::Sqlite.fresh(other.path()).unwrap();
        let made = made.args(["--owner-password-stdin", "--database", &database, "--keyfile"]).arg(&foreign);
        made.stdin("fifteen letters\n").run().success();
        write(&fs::read_to_string(&foreign).unwrap());
        expect_refused(&keyrack, "another instance's", &["pepper", "this database"], &key);
        write(&good.replacen("id = 1", "id = 2", 1));
        expect_refused(&keyrack, "another number", &["pepper 1"], &key);

        write(&good);
        assert!(keyrack.command("doctor").run().success().stdout.contains("the pepper fits"));
        keyrack.start_again();
        keyrack.owner().get("/api/session").send().await.expect_status(200);
    }
}

both_databases! {
    /// A doctor who is asked before and while it serves.
    async fn the_doctor_says_what_is_well_and_changes_nothing(database: Database) {
        let mut keyrack = start(database);
        let events = keyrack.owner().get("/api/audit").send().await.text();
        let well = keyrack.command("doctor").run().success().stdout;
        for words in ["settings", "key file", "database", "a server is running on it", "the pepper fits; 1 secret"] {
            assert!(well.contains(words), "{words}:\n{well}");
        }
        assert!(!well.contains("WRONG"), "{well}");
        let told = keyrack.command("doctor").arg("--json").run().success().json();
        assert!(told.as_array().unwrap().iter().all(|finding| finding["ok"] == true), "{told}");
        assert_eq!(keyrack.owner().get("/api/audit").send().await.text(), events);
        keyrack.stop();
        assert!(keyrack.command("doctor").run().success().stdout.contains("no server is running on it"));
    }
}

#[test]
fn the_doctor_says_what_is_missing_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let told = super::alone(directory.path()).args(["doctor", "--json"]).run().expect_code(1).json();
    let wrong: Vec<&str> =
        told.as_array().unwrap().iter().filter(|f| f["ok"] == false).map(|f| f["what"].as_str().unwrap()).collect();
    assert_eq!(wrong, ["key file", "database"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    fs::write(directory.path().join("keyrack.db"), "this is no database, and never was one").unwrap();
    let told = super::alone(directory.path()).arg("doctor").run().expect_code(1).stdout;
    assert!(told.lines().any(|line| line.contains("WRONG") && line.contains("database")), "{told}");
}

#[test]
fn a_new_key_file_is_for_its_owner_only_and_an_old_one_is_never_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keyrack.db.keyfile");
    let init = || {
        let init = keyrack_testkit::Program::new(KEYRACK).directory(directory.path()).args(["init", "--json"]);
        init.args(["--organization", "acme", "--owner-email", "a@b.test", "--owner-password-stdin"])
            .stdin("fifteen letters\n")
    };
    init().run().success();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(directory.path().join("keyrack.db")).unwrap().permissions().mode() & 0o777, 0o600);
    let told = |words: &[&str]| super::alone(directory.path()).args(words).arg("--json").run().success().json();
    let everything =
        || (fs::read_to_string(&file).unwrap(), told(&["audit"]), told(&["users", "list"]), told(&["keys", "list"]));
    let before = everything();
    assert_eq!(init().run().success().json()["initialized"], false);
    assert_eq!(everything(), before);
}
