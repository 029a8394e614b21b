//! One test made into two.

use std::collections::HashSet;
use std::sync::Mutex;

use keyrack_testkit::{Database, both_databases};

both_databases! {
    /// The runtime has what the product's has: tasks on other threads, and timers.
    async fn the_body_runs_on_a_full_runtime(database: Database) {
        let task = tokio::spawn(async { tokio::time::sleep(std::time::Duration::ZERO).await });
        task.await.unwrap();
        assert!(database.is_available());
    }

    async fn every_call_gives_another_database(database: Database) {
        let directory = tempfile::tempdir().unwrap();
        let urls: HashSet<_> = (0..3).map(|_| database.fresh(directory.path()).unwrap()).collect();
        assert_eq!(urls.len(), 3);
        assert!(urls.iter().all(|url| url.starts_with(&database.to_string())), "{urls:?}");
    }
}

static RAN: Mutex<Vec<Database>> = Mutex::new(Vec::new());

both_databases! {
    async fn noted(database: Database) {
        RAN.lock().unwrap().push(database);
    }
}

#[test]
fn the_sqlite_half_is_given_sqlite() {
    keyrack_testkit::database::run(noted(Database::Sqlite));
    assert!(RAN.lock().unwrap().contains(&Database::Sqlite));
    assert_eq!(Database::BOTH.map(|database| database.to_string()), ["sqlite", "postgres"]);
}
