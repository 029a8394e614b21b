//! Where the gateway connects to, and where it does not.

use keyrack_testkit::{Answer, Database, Keyrack, Upstream};
use serde_json::json;

use crate::support::{Caller as _, KEYRACK, expect_refusal, start};

/// Fails unless this is our own word for a service that does not answer, without a reason that is not the caller's.
#[track_caller]
fn expect_no_answer(answer: Answer) {
    let answer = expect_refusal(answer, 502, "bad_gateway");
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id").unwrap());
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
}

keyrack_testkit::both_databases! {
    async fn a_service_that_does_not_answer_is_502(database: Database) {
        let keyrack = start(database);
        let upstream = Upstream::start().await;
        let url = upstream.url();
        keyrack.owner().make_route("/svc/x", json!({"public": true}), &url).await;
        keyrack.http().get("/svc/x").send().await.expect_status(200);
        drop(upstream);
        expect_no_answer(crate::support::wait_for("the end of the service", async || {
            let answer = keyrack.http().get("/svc/x").send().await;
            (answer.status != 200).then_some(answer)
        })
        .await);
        let problem = keyrack.http().get("/svc/x").header("accept", "application/problem+json").send().await;
        let problem = problem.expect_status(502);
        assert_eq!(problem.header("content-type"), Some("application/problem+json"));
        assert_eq!((&problem.json()["code"], &problem.json()["status"]), (&json!("bad_gateway"), &json!(502)));
        // One that ends without a word is none either.
        let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        keyrack.owner().make_route("/svc/silent", json!({"public": true}), &url).await;
        let hanging_up = tokio::spawn(async move { while silent.accept().await.is_ok() {} });
        expect_no_answer(keyrack.http().get("/svc/silent").send().await);
        hanging_up.abort();
    }

    async fn a_private_service_is_not_reached_unless_the_configuration_says_so(database: Database) {
        let upstream = Upstream::start().await;
        let port = upstream.address().port();
        let closed = Keyrack::start(KEYRACK, database);
        for (number, host) in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"].into_iter().enumerate() {
            let path = format!("/svc/{number}");
            closed.owner().make_route(&path, json!({"public": true}), &format!("http://{host}:{port}")).await;
            expect_no_answer(closed.http().get(&path).send().await);
        }
        assert_eq!(upstream.count(), 0);

        let open = start(database);
        open.owner().make_route("/svc/x", json!({"public": true}), &upstream.url()).await;
        open.http().get("/svc/x").send().await.expect_status(200);
    }

    async fn our_own_address_is_never_a_service(database: Database) {
        let everything = ["--egress-allow", "0.0.0.0/0,::/0"];
        let keyrack = Keyrack::setup(KEYRACK, database).args(everything).start();
        let (owner, port) = (keyrack.owner(), keyrack.serving().address().port());
        for (number, host) in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"].into_iter().enumerate() {
            let path = format!("/svc/{number}");
            owner.make_route(&path, json!({"public": true}), &format!("http://{host}:{port}")).await;
            expect_no_answer(keyrack.http().get(&path).send().await);
        }
        // The configuration does open what is not ours.
        let upstream = Upstream::start().await;
        owner.make_route("/svc/other", json!({"public": true}), &upstream.url()).await;
        keyrack.http().get("/svc/other").send().await.expect_status(200);
    }
}
