//! The schema: equal on both databases, made once, refused if it is newer than the program.

use std::collections::BTreeMap;
use std::path::Path;

use keyrack_store::{Store, StoreError};
use keyrack_testkit::{Database, both_databases};

use crate::samples;
use crate::support::{Look, World, at};

/// Table and column -> whether it is an id, a number, ..., and whether it may be null.
type Columns = BTreeMap<(String, String), (String, bool)>;

fn files(tree: &str) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(tree);
    let files = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn number(file: &str) -> i64 {
    file.split_once('_').unwrap().0.parse().unwrap()
}

#[test]
fn both_trees_have_the_same_steps() {
    let sqlite = files("sqlite");
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite, files("postgres"));
}

both_databases! {
    async fn the_database_prepares_every_statement(database: Database) {
        let world = World::new(database).await;
        assert!(keyrack_store::all_statements().count() > 70, "all modules list their statements");
        world.store.prepare_all().await.unwrap();
    }

    async fn each_step_is_taken_once_and_noted(database: Database) {
        let world = World::new(database).await;
        let noted = world.look().await.rows("SELECT CAST(number AS TEXT), name FROM migration ORDER BY number").await;
        let noted: Vec<String> =
            noted.iter().map(|row| format!("{}_{}.sql", row[0].as_ref().unwrap(), row[1].as_ref().unwrap())).collect();
        assert_eq!(noted, files(&database.to_string()));
    }

    async fn opening_again_changes_nothing(database: Database) {
        let world = World::new(database).await;
        samples::tenancy(&world.store, "acme").await;
        let mut look = world.look().await;
        let before = look.contents().await;
        assert!(before.iter().any(|(table, rows)| table == "organization" && rows.len() == 1), "{before:?}");
        for later in 1..3 {
            Store::open(&world.url, at(later)).await.unwrap().close().await;
        }
        assert_eq!(look.contents().await, before);
    }

    async fn of_many_first_starts_at_once_each_finds_a_whole_schema(database: Database) {
        let directory = tempfile::tempdir().unwrap();
        let url = database.fresh(directory.path()).unwrap();
        let starts: Vec<_> = (0..6)
            .map(|_| {
                tokio::spawn({
                    let url = url.clone();
                    async move { Store::open(&url, at(0)).await.unwrap().prepare_all().await.unwrap() }
                })
            })
            .collect();
        for start in starts {
            start.await.unwrap();
        }
    }

    async fn a_newer_database_is_refused_and_left_as_it_is(database: Database) {
        let world = World::new(database).await;
        let mut look = world.look().await;
        look.run("INSERT INTO migration (number, name, applied_at) VALUES (9900, 'future', 0)").await;
        let before = look.contents().await;
        let newest = files("sqlite").iter().map(|file| number(file)).max().unwrap();
        match Store::open(&world.url, at(9)).await {
            Err(StoreError::TooNew { found: 9900, known }) => assert_eq!(known, newest),
            other => panic!("{:?}", other.err()),
        }
        assert_eq!(look.contents().await, before);
    }
}

async fn columns(look: &mut Look) -> Columns {
    let rows = match look {
        Look::Sqlite(_) => {
            look.rows(
                "SELECT t.name, c.name, c.type, CASE c.\"notnull\" WHEN 1 THEN 'NO' ELSE 'YES' END \
                 FROM pragma_table_list t JOIN pragma_table_info(t.name) c \
                 WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!'",
            )
            .await
        }
        Look::Postgres(_) => {
            look.rows(
                "SELECT table_name::text, column_name::text, data_type::text, is_nullable::text \
                 FROM information_schema.columns WHERE table_schema = 'public'",
            )
            .await
        }
    };
    let texts = rows.into_iter().map(|row| row.into_iter().map(Option::unwrap).collect::<Vec<_>>());
    texts.map(|row| ((row[0].clone(), row[1].clone()), (row[2].clone(), row[3] == "YES"))).collect()
}

/// What a type of PostgreSQL is on SQLite, where an id is its 16 bytes and a truth value a number.
fn on_sqlite(postgres: &str) -> &str {
    match postgres {
        "bigint" | "boolean" => "INTEGER",
        "uuid" | "bytea" => "BLOB",
        "text" => "TEXT",
        other => panic!("no portable type: {other}"),
    }
}

#[test]
fn both_trees_make_the_same_tables_columns_and_nulls() {
    if !Database::Postgres.is_available() {
        return;
    }
    keyrack_testkit::database::run(async {
        let (one, other) = (World::new(Database::Sqlite).await, World::new(Database::Postgres).await);
        let sqlite = columns(&mut one.look().await).await;
        let postgres = columns(&mut other.look().await).await;
        let mapped: Columns =
            postgres.into_iter().map(|(name, (kind, null))| (name, (on_sqlite(&kind).to_owned(), null))).collect();
        assert!(sqlite.len() > 80, "{sqlite:?}");
        assert_eq!(sqlite, mapped);
    });
}

#[test]
fn both_trees_make_the_same_indexes() {
    if !Database::Postgres.is_available() {
        return;
    }
    keyrack_testkit::database::run(async {
        let (one, other) = (World::new(Database::Sqlite).await, World::new(Database::Postgres).await);
        let (mut sqlite, mut postgres) = (one.look().await, other.look().await);
        // Those that stand in the trees by name; the ones behind primary keys are named by each database for itself.
        let named = sqlite
            .rows(
                "SELECT s.name, group_concat(i.name, ' ') FROM sqlite_schema s JOIN pragma_index_info(s.name) i \
                 WHERE s.type = 'index' AND s.sql IS NOT NULL GROUP BY s.name ORDER BY s.name",
            )
            .await;
        let same = postgres
            .rows(
                "SELECT c.relname::text, string_agg(a.attname::text, ' ' ORDER BY a.attnum) FROM pg_index i \
                 JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = c.oid \
                 WHERE c.relnamespace = 'public'::regnamespace \
                 AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid) \
                 GROUP BY c.relname ORDER BY c.relname COLLATE \"C\"",
            )
            .await;
        assert!(named.len() > 15, "{named:?}");
        assert_eq!(named, same);
    });
}

#[tokio::test]
async fn every_sqlite_table_is_strict() {
    let world = World::new(Database::Sqlite).await;
    let lax = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0 \
        AND name NOT LIKE 'sqlite!_%' ESCAPE '!'";
    assert_eq!(world.look().await.rows(lax).await, Vec::<Vec<Option<String>>>::new());
}
