//! The only crate with SQL: one text for SQLite and PostgreSQL.
