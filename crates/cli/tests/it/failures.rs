//! Guessing costs the guesser, and nobody else.

use std::net::IpAddr;

use keyrack_testkit::{Database, Http, Keyrack, Upstream};
use serde_json::json;

use crate::support::{KEYRACK, text};

#[tokio::test(flavor = "multi_thread")]
async fn too_many_401s_become_429_for_their_address_and_a_good_key_still_passes() {
    let keyrack = Keyrack::setup(KEYRACK, Database::Sqlite)
        .args(["--egress-allow", "127.0.0.1/32", "--failure-limit", "20"])
        .start();
    let upstream = Upstream::start().await;
    let owner = keyrack.owner();
    let made = owner.post("/api/keys").json(&json!({"name": "good"})).send().await.expect_status(201).json();
    let good = text(&made["secret"]);
    let door = json!({"path": "/door", "guard": {"scope": "contacts:read"}, "target": {"kind": "upstream", "url": upstream.url()}});
    owner.post("/api/routes").json(&door).send().await.expect_status(201);

    let [guesser, other] =
        ["127.0.0.7", "127.0.0.8"].map(|from| Http::from_address(keyrack.url(), from.parse::<IpAddr>().unwrap()));
    let wrong = || guesser.get("/door").bearer("sk_live_wrong");
    for at in 0..20 {
        // At whichever door, and whatever is wrong.
        let answer = match at % 4 {
            0 => wrong().send().await,
            1 => guesser.get("/door").send().await,
            2 => guesser.get("/api/keys").bearer(&good).send().await,
            _ => {
                guesser
                    .post("/api/session")
                    .json(&json!({"email": "a@b.test", "password": "the wrong password"}))
                    .send()
                    .await
            }
        };
        assert_eq!(answer.status, 401, "{at}: {}", answer.text());
    }
    for request in [
        wrong(),
        guesser.get("/api/keys").bearer("wrong"),
        guesser.get("/door").header("accept", "application/problem+json"),
    ] {
        let answer = request.send().await.expect_status(429);
        let told = answer.json();
        let code = if told["status"] == 429 { &told["code"] } else { &told["error"] };
        assert_eq!(code, "too_many_failures");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
        assert_eq!(answer.header("www-authenticate"), None);
    }

    guesser.get("/door").bearer(&good).send().await.expect_status(200);
    guesser.get("/api/session").bearer(&good).send().await.expect_status(200);
    guesser.get("/nowhere").send().await.expect_status(404);
    let question = guesser.post("/api/verify").bearer(&keyrack.management_key).json(&json!({"key": "sk_live_wrong"}));
    assert_eq!(question.send().await.expect_status(200).json()["code"], "NOT_FOUND");
    guesser.post("/api/verify").bearer("wrong").json(&json!({"key": "x"})).send().await.expect_status(401);
    other.get("/door").bearer("sk_live_wrong").send().await.expect_status(401);
}
