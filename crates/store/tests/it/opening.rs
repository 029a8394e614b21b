//! Opening a database: which URLs, as which files, with which promises.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keyrack_store::{Store, StoreError};
use keyrack_testkit::Database;

use crate::samples;
use crate::support::{Look, World, at, commit};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

fn beside(database: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

async fn refused(url: &str) -> bool {
    matches!(Store::open(url, at(0)).await, Err(StoreError::Url(_)))
}

#[tokio::test]
async fn a_database_that_would_be_forgotten_is_refused() {
    for url in [
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite:x.db?mode=memory",
        "sqlite:file::memory:",
        "sqlite:file:x?mode=memory&cache=shared",
    ] {
        assert!(refused(url).await, "{url}");
    }
}

#[tokio::test]
async fn a_sqlite_url_takes_no_parameters_and_is_not_itself_a_uri() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k.db").display().to_string();
    for url in [
        format!("sqlite:{path}?mode=ro"),
        format!("sqlite:{path}?synchronous=off"),
        format!("sqlite://{path}?"),
        // SQLite itself would read `file:` as the start of a URI and open another file than the one made private.
        format!("sqlite:file:{path}"),
        format!("sqlite:file://{path}?vfs=unix-none"),
    ] {
        assert!(refused(&url).await, "{url}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is made for a URL that is refused");
}

#[tokio::test]
async fn other_databases_and_broken_urls_are_refused() {
    for url in ["", "keyrack.db", "/var/lib/keyrack.db", "mysql://localhost/k", "SQLITE:k.db", "postgres://h:port/db"] {
        assert!(refused(url).await, "{url}");
    }
}

#[tokio::test]
async fn each_way_to_write_a_path_names_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k.db");
    for url in [format!("sqlite:{}", path.display()), format!("sqlite://{}", path.display())] {
        Store::open(&url, at(0)).await.unwrap().close().await;
    }
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["k.db"]);
}

#[tokio::test]
async fn a_new_sqlite_file_and_all_beside_it_are_for_the_owner_only() {
    let world = World::new(Database::Sqlite).await;
    let file = world.store.sqlite_file().unwrap().to_owned();
    let _claim = world.store.claim().await.unwrap();
    for path in [file.clone(), beside(&file, "-wal"), beside(&file, "-shm"), beside(&file, ".lock")] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn the_rights_of_a_file_that_is_there_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("k.db");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    Store::open(&format!("sqlite:{}", file.display()), at(0)).await.unwrap();
    assert_eq!(mode(&file), 0o640);
}

#[tokio::test]
async fn a_file_that_holds_something_else_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("letters.txt");
    let text = "Dear Ada, this is no database. ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let opened = Store::open(&format!("sqlite:{}", file.display()), at(0)).await;
    assert!(matches!(opened, Err(StoreError::Driver(_))), "{:?}", opened.err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Store::open(&format!("sqlite:{}/no/k.db", directory.path().display()), at(0)).await;
    let Err(StoreError::File(name, _)) = opened else { panic!("{:?}", opened.err()) };
    assert!(name.ends_with("/no/k.db"), "{name}");
}

/// What a commit survives is set for each connection and seen by no other. So a trigger, which runs in the connection
/// that writes, notes it down.
#[tokio::test]
async fn the_connection_that_writes_flushes_each_commit_and_keeps_foreign_keys() {
    let world = World::new(Database::Sqlite).await;
    let mut look = world.look().await;
    look.run(
        "CREATE TABLE spy (setting TEXT NOT NULL, value TEXT NOT NULL);
         CREATE TRIGGER spy_on_commit AFTER INSERT ON event BEGIN
             INSERT INTO spy SELECT 'synchronous', synchronous FROM pragma_synchronous;
             INSERT INTO spy SELECT 'foreign_keys', foreign_keys FROM pragma_foreign_keys;
         END",
    )
    .await;
    commit(world.write().await).await;
    assert_eq!(look.text("SELECT value FROM spy WHERE setting = 'synchronous'").await, "2", "2 is FULL");
    assert_eq!(look.text("SELECT value FROM spy WHERE setting = 'foreign_keys'").await, "1");
    assert_eq!(look.text("SELECT journal_mode FROM pragma_journal_mode").await, "wal");
}

#[tokio::test]
async fn a_reader_sees_one_moment_while_others_write() {
    let world = World::new(Database::Sqlite).await;
    let mut reader = world.read().await;
    let before = reader.feed_head().await.unwrap();
    let mut writer = world.write().await;
    writer.insert_organization(&samples::organization("acme")).await.unwrap();
    commit(writer).await;
    assert_eq!(reader.feed_head().await.unwrap(), before);
    assert!(reader.find_organization_by_slug("acme").await.unwrap().is_none());
    drop(reader);
    assert!(world.read().await.find_organization_by_slug("acme").await.unwrap().is_some());
}

#[tokio::test]
async fn a_closed_store_leaves_one_file_and_answers_nothing() {
    let world = World::new(Database::Sqlite).await;
    let file = world.store.sqlite_file().unwrap().to_owned();
    world.store.close().await;
    assert!(!beside(&file, "-wal").exists(), "what was in the log is in the file");
    assert!(world.store.read().await.is_err());
    let mut look = Look::at(&world.url).await;
    assert_eq!(look.text("SELECT CAST(seq AS TEXT) FROM feed_head").await, "1");
}
