//! Rate limits that several processes count together.

use std::time::{Duration, Instant};

use keyrack_testkit::postgres::PrivateCluster;
use keyrack_testkit::{Database, Keyrack};
use serde_json::json;

use crate::asker::Asker;
use crate::support::KEYRACK;

const LIMIT: u64 = 300;
const REFUSED: &str = "RATE_LIMITED";

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_let_in_no_more_than_one_would_also_when_they_are_killed() {
    let Some(cluster) = tokio::task::block_in_place(PrivateCluster::start) else { return };
    let mut keyrack = Keyrack::setup(KEYRACK, Database::Postgres).database_url(cluster.fresh_database()).start();
    let (second, third) = (keyrack.another(), keyrack.another());
    let limited = |name: &str| json!({"name": name, "rate_limits": [{"limit": LIMIT, "window_seconds": 3600}]});

    let first = Asker::new(&keyrack, &limited("asked of all")).await;
    let all = [first.clone(), first.at(&second.http(), &keyrack), first.at(&third.http(), &keyrack)];
    let begun = Instant::now();
    let mut granted = 0;
    while granted < LIMIT && begun.elapsed() < Duration::from_secs(20) {
        let [one, two, three] = &all;
        let drained = tokio::join!(one.drain(20, REFUSED), two.drain(20, REFUSED), three.drain(20, REFUSED));
        granted += drained.0 + drained.1 + drained.2;
    }
    assert_eq!(granted, LIMIT);
    for one in &all {
        assert_eq!(one.ask().await, REFUSED);
    }

    let first = Asker::new(&keyrack, &limited("asked of two")).await;
    for process in [&keyrack.http(), &second.http(), &third.http()] {
        assert_eq!(first.at(process, &keyrack).ask().await, "VALID", "each holds some");
    }
    third.program.kill();
    let granted = 3 + first.drain(20, REFUSED).await + first.at(&second.http(), &keyrack).drain(20, REFUSED).await;
    // A node takes an eighth of its share.
    assert!((LIMIT - 2 * LIMIT / 8..=LIMIT).contains(&granted), "{granted} of {LIMIT}");

    tokio::task::block_in_place(|| {
        keyrack.crash();
        keyrack.start_again();
    });
    for secret in [&all[0].secret, &first.secret] {
        let asker = Asker { http: keyrack.owner(), secret: secret.clone() };
        assert_eq!(asker.ask().await, REFUSED, "a restart opens no window");
    }
}
