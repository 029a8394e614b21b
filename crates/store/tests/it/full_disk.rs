//! A SQLite file that cannot be written for a while: the disk full, the file too long, read-only, locked by another.
//!
//! Where a test needs a disk of its own, or a limit on itself, it runs again in another process that has them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyrack_store::{Store, StoreError};
use keyrack_testkit::{Database, Program};

use crate::samples;
use crate::support::{Look, World, at, commit, is_unavailable};

/// Set in the process that has been given what the test needs: the directory to work in.
const PLACE: &str = "STORE_TEST_PLACE";

fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}

fn sh(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs one test of this binary in a process that a shell has prepared, the shell itself being started by `starter`.
fn again(test: &str, directory: &Path, starter: &[&str], prepare: &str) {
    let prepared = format!("{prepare}; exec \"$0\" --exact {test} --nocapture --test-threads=1");
    let words = [starter, &["sh", "-ec", &prepared]].concat();
    let program = Program::new(words[0]).args(&words[1..]).arg(std::env::current_exe().unwrap());
    program.env(PLACE, directory).run().success();
}

/// Runs one test with a disk of 3 MiB, which only its process sees.
fn on_a_small_disk(test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=3m,mode=700 tmpfs '{}'", directory.path().display());
    let is_permitted = |starter: &&[&str]| {
        let tried = Command::new(starter[0]).args(&starter[1..]).args(["sh", "-c", &mount]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let starters: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--map-root-user", "--mount"]];
    match starters.iter().find(|starter| is_permitted(starter)) {
        Some(starter) => again(test, directory.path(), starter, &mount),
        // The test of failing writes needs no permission.
        None => drop(writeln!(std::io::stderr(), "left out: this system lets us mount no disk")),
    }
}

async fn begun(directory: &Path) -> (String, Store) {
    let url = format!("sqlite:{}", directory.join("k.db").display());
    let store = Store::open(&url, at(0)).await.unwrap();
    let mut writer = store.write(&[]).await.unwrap();
    writer.begin_epoch(samples::id()).await.unwrap();
    commit(writer).await;
    (url, store)
}

/// Makes changes until one fails; how many did not, and how that one did.
async fn write_until_refused(store: &Store) -> (usize, StoreError) {
    for done in 0..1_000 {
        let mut organization = samples::organization(&format!("filler-{}", samples::id()));
        organization.name = "x".repeat(60_000);
        let change = async {
            let mut writer = store.write(&[]).await?;
            writer.insert_organization(&organization).await?;
            writer.commit(samples::event("organization.created"), vec![]).await
        };
        if let Err(error) = change.await {
            return (done, error);
        }
    }
    panic!("the disk does not fill up");
}

async fn holds_exactly(store: &Store, organizations: usize) -> bool {
    let mut reader = store.read().await.unwrap();
    let head = reader.feed_head().await.unwrap().unwrap();
    let count = reader.list_organizations(None, i64::MAX).await.unwrap().len();
    count == organizations && head.seq == i64::try_from(organizations).unwrap() + 1
}

/// SQLite's own word for it: the low byte of the result code.
fn primary_code(error: &StoreError) -> u32 {
    let StoreError::Unavailable(sqlx::Error::Database(refusal)) = error else { panic!("{error:?}") };
    refusal.code().unwrap().parse::<u32>().unwrap() & 0xff
}

/// What holds wherever writing fails: nothing half done, reading goes on, and afterwards writing does too.
async fn survives(directory: &Path, code: u32, make_room: impl FnOnce()) {
    let (url, store) = begun(directory).await;
    let mut done = 0;
    for _ in 0..4 {
        let (more, error) = write_until_refused(&store).await;
        assert_eq!(primary_code(&error), code);
        done += more;
        assert!(done > 0 && holds_exactly(&store, done).await, "after {done} changes");
    }

    make_room();
    let mut writer = store.write(&[]).await.unwrap();
    writer.insert_organization(&samples::organization("after")).await.unwrap();
    commit(writer).await;
    assert!(holds_exactly(&store, done + 1).await);
    store.close().await;
    let again = Store::open(&url, at(1)).await.unwrap();
    assert!(holds_exactly(&again, done + 1).await, "nothing that was acknowledged is lost");
    let sound = Look::at(&url).await.text("SELECT integrity_check FROM pragma_integrity_check").await;
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn a_full_disk_is_unavailable_changes_nothing_and_passes() {
    let Some(directory) = place() else {
        return on_a_small_disk("full_disk::a_full_disk_is_unavailable_changes_nothing_and_passes");
    };
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![0; 900_000]).unwrap();
    survives(&directory, 13, || std::fs::remove_file(ballast).unwrap()).await;
}

#[tokio::test]
async fn a_failing_write_is_unavailable_changes_nothing_and_passes() {
    let Some(directory) = place() else {
        let directory = tempfile::tempdir().unwrap();
        // No file may grow beyond 1,200 blocks of 512 bytes; the signal that tells so is ignored, so the write fails.
        let limit = "trap '' XFSZ; ulimit -S -f 1200";
        let test = "full_disk::a_failing_write_is_unavailable_changes_nothing_and_passes";
        return again(test, directory.path(), &[], limit);
    };
    survives(&directory, 10, || sh(&format!("prlimit --fsize=unlimited --pid={}", std::process::id()))).await;
}

#[tokio::test]
async fn a_read_only_disk_is_unavailable_and_nothing_is_lost() {
    let Some(directory) = place() else {
        return on_a_small_disk("full_disk::a_read_only_disk_is_unavailable_and_nothing_is_lost");
    };
    let (url, store) = begun(&directory).await;
    let mut writer = store.write(&[]).await.unwrap();
    writer.insert_organization(&samples::organization("acme")).await.unwrap();
    commit(writer).await;
    store.close().await;

    let remount = |how: &str| sh(&format!("mount -o remount,{how} '{}'", directory.display()));
    remount("ro");
    let opened = Store::open(&url, at(1)).await;
    assert!(is_unavailable(&opened), "{:?}", opened.err());
    remount("rw");
    let store = Store::open(&url, at(1)).await.unwrap();
    assert!(holds_exactly(&store, 1).await);
    commit(store.write(&[]).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_another_process_keeps_is_unavailable_and_reading_goes_on() {
    let world = World::new(Database::Sqlite).await;
    samples::tenancy(&world.store, "acme").await;
    let head = world.head().await;
    let mut other = world.look().await;
    other.run("BEGIN IMMEDIATE").await;
    let (first, second) = tokio::join!(world.store.write(&[]), world.store.write(&[]));
    assert!(is_unavailable(&first) && is_unavailable(&second));
    assert_eq!(world.head().await, head);
    other.run("ROLLBACK").await;
    assert_eq!(commit(world.write().await).await, head.seq + 1);
}
