//! The two databases every behaviour is tested on, and the macro that makes one test into two.

use std::fmt;
use std::path::Path;

use crate::postgres;

/// One of the two databases the product runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Database {
    /// A file in a directory of the test's own.
    Sqlite,
    /// A database of its own on a server that this test process shares.
    Postgres,
}

impl Database {
    /// Both, for tests that walk over them.
    pub const BOTH: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// The URL of a new, empty database; `None` when its server is not to be had, which was then said on stderr.
    ///
    /// A SQLite file is made in `directory` under a name of its own; the database itself is created by whoever opens it.
    pub fn fresh(self, directory: &Path) -> Option<String> {
        match self {
            Self::Sqlite => {
                let name = format!("keyrack-{}.db", uuid::Uuid::new_v4().simple());
                Some(format!("sqlite:{}", directory.join(name).display()))
            }
            Self::Postgres => postgres::fresh_database(),
        }
    }

    /// Whether [`Database::fresh`] will give one.
    pub fn is_available(self) -> bool {
        match self {
            Self::Sqlite => true,
            Self::Postgres => postgres::is_available(),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// Runs the body of a test on a runtime with several threads, as the product does.
pub fn run(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime")
        .block_on(body);
}

/// Makes each `async fn` that takes a [`Database`] into two tests, `name::sqlite` and `name::postgres`.
///
/// The second one passes without running when PostgreSQL is not installed (and fails when everything is required: see
/// [`postgres::fresh_database`]).
///
/// ```
/// keyrack_testkit::both_databases! {
///     /// What this test shows.
///     async fn a_fresh_database_has_a_url(database: keyrack_testkit::Database) {
///         let directory = tempfile::tempdir().unwrap();
///         assert!(database.fresh(directory.path()).unwrap().starts_with(&database.to_string()));
///     }
/// }
/// ```
#[macro_export]
macro_rules! both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($database:ident: $type:ty) $body:block)*) => {$(
        $(#[$attribute])*
        #[cfg(test)]
        async fn $name($database: $type) $body

        #[cfg(test)]
        mod $name {
            #[test]
            fn sqlite() {
                $crate::database::run(super::$name($crate::Database::Sqlite));
            }

            #[test]
            fn postgres() {
                if $crate::Database::Postgres.is_available() {
                    $crate::database::run(super::$name($crate::Database::Postgres));
                }
            }
        }
    )*};
}
