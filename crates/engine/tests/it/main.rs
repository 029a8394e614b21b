//! What `keyrack-engine` promises, through its use cases alone. One module for each subject.
#![cfg(test)]

mod accounts;
mod authority;
mod following;
mod formats;
mod guards;
mod idempotency;
mod imports;
mod keys_lived;
mod keys_made;
mod leaks;
mod letters;
mod limits;
mod lost_actors;
mod master_keys;
mod members;
mod no_deletion_opens;
mod no_stronger_key;
mod nodes;
mod notices;
mod pepper_rotation;
mod peppers;
mod questions;
mod quotas;
mod recoverable;
mod rotation;
mod routes;
mod shared_limits;
mod slow_keys;
mod support;
mod tenancy;
mod unwritable;
