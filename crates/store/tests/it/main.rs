//! What `keyrack-store` promises, on SQLite and on PostgreSQL alike. One module for each subject.
#![cfg(test)]

mod claims;
mod conflicts;
mod full_disk;
mod given_up;
mod key_lists;
mod migrations;
mod nodes;
mod opening;
mod order;
mod outage;
mod quotas;
mod record_keys;
mod records;
mod samples;
mod support;
mod usage;
mod windows;
