//! A line that can be cut.

use std::time::{Duration, Instant};

use keyrack_testkit::{Http, Link, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_waits_and_what_is_slow_comes_late() {
    let upstream = Upstream::start().await;
    let link = Link::to(upstream.address()).await;
    let http = Http::new(format!("http://{}", link.address()));
    http.get("/").send().await.expect_status(200);

    link.cut();
    let asked = http.clone();
    let mut waiting = tokio::spawn(async move { asked.get("/late").send().await.status });
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    assert_eq!(upstream.count(), 1);
    link.mend();
    assert_eq!(waiting.await.unwrap(), 200);

    link.slow_down(Duration::from_millis(100));
    let begun = Instant::now();
    http.get("/").send().await.expect_status(200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}
