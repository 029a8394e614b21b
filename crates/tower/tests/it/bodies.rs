//! What a request came to is counted.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use keyrack_core::usage::Span;
use keyrack_engine::{Context, UsageAbout, UsageQuery};
use keyrack_testkit::{Database, both_databases};
use keyrack_tower::RequireKey;

use crate::support::{World, serve};

both_databases! {
    async fn requests_are_counted_with_the_template_of_their_route_and_the_bytes_of_their_bodies(database: Database) {
        let world = World::new(database).await;
        let (id, key) = world.reader().await;
        let layer = world.require(RequireKey::scope("contacts:read").cost(2));
        let echo = post(async |body: String| format!("{body}{body}"));
        let http = serve(Router::new().route("/contacts/{id}", echo).route_layer(layer)).await;
        let seat = world.engine.take_seat("test").await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(Arc::clone(&world.engine).run(seat, async { drop(stopped.await) }));
        for contact in 0..3 {
            let request = http.post(&format!("/contacts/{contact}")).bearer(&key).body("x".repeat(1000));
            assert_eq!(request.send().await.expect_status(200).body.len(), 2000);
        }
        http.post("/contacts/4").header("x-api-key", "junk").send().await.expect_status(401);
        // Long enough that the last body is done with on the service's side too.
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(stop);
        running.await.unwrap();
        let query = UsageQuery { about: UsageAbout::Key(id), from: None, to: None, by: Span::Minute };
        let report = world.engine.usage(&Context::host(world.acme), &query).await.unwrap();
        let counts = report.totals.granted;
        assert_eq!((counts.requests, counts.units, counts.bytes_in, counts.bytes_out), (3, 6, 3000, 6000));
        let endpoints: Vec<_> = report.endpoints.iter().map(|one| (one.endpoint.to_string(), one.counts.requests)).collect();
        assert_eq!(endpoints, [("/contacts/{id}".to_owned(), 3)]);
        assert!(report.totals.latency.is_some());
    }
}
