//! Whoever gives up while a transaction is being begun, as for a client that hangs up, leaves nothing behind.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use keyrack_testkit::{Database, both_databases};

use crate::samples;
use crate::support::{World, commit};

/// More than the steps in which a transaction is begun: an idle connection is tried first.
const STEPS: usize = 5;

/// Does so many steps of something and then gives it up, unless it is done by then.
async fn begin_and_give_up<T>(mut beginning: Pin<Box<impl Future<Output = T>>>, steps: usize) {
    let mut done = 0;
    poll_fn(|context| {
        done += 1;
        let is_over = beginning.as_mut().poll(context).is_ready() || done > steps;
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

both_databases! {
    async fn what_is_begun_after_it_is_a_transaction_of_its_own(database: Database) {
        let world = World::new(database).await;
        let organization = samples::tenancy(&world.store, "acme").await.organization.id;
        let at_first = world.read().await.list_workspaces(organization).await.unwrap().len();
        let mut made = 0;
        for steps in (0..STEPS).cycle().take(20 * STEPS) {
            begin_and_give_up(Box::pin(world.store.read()), steps).await;
            // Whichever connection it was, one of these meets it.
            for _ in 0..3 {
                let workspace = samples::workspace(organization, &format!("w{made}"));
                let mut writer = world.write().await;
                writer.insert_workspace(&workspace).await.unwrap();
                commit(writer).await;
                made += 1;
            }
            begin_and_give_up(Box::pin(world.store.write(&[organization])), steps).await;
            for _ in 0..3 {
                let workspaces = world.read().await.list_workspaces(organization).await.unwrap();
                assert_eq!(workspaces.len(), at_first + made);
            }
        }
    }
}
