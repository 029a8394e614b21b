//! Whoever asks about a key until it is refused.

use std::time::Duration;

use keyrack_testkit::{Http, Keyrack};
use serde_json::{Value, json};

use crate::support::text;

/// Who asks about one key.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) http: Http,
    pub(crate) secret: String,
}

impl Asker {
    /// About a key that is made for it.
    pub(crate) async fn new(keyrack: &Keyrack, key: &Value) -> Self {
        let made = keyrack.owner().post("/api/keys").json(key).send().await.expect_status(201);
        let http = keyrack.http().with_bearer(&keyrack.management_key);
        Self { http, secret: text(&made.json()["secret"]) }
    }

    /// At another process.
    pub(crate) fn at(&self, http: &Http, keyrack: &Keyrack) -> Self {
        Self { http: http.with_bearer(&keyrack.management_key), secret: self.secret.clone() }
    }

    /// What is said to one request. On a machine that is busy with other tests a node may renew its lease too late, and lets
    /// nobody in; whoever is told so asks again, for a while.
    pub(crate) async fn ask(&self) -> String {
        for _ in 0..100 {
            let asked = self.http.post("/api/verify").json(&json!({"key": self.secret})).send().await;
            if asked.status != 503 {
                return text(&asked.expect_status(200).json()["code"]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("10 seconds of 503")
    }

    /// How many requests are granted until all of so many at a time are refused for this reason.
    pub(crate) async fn drain(&self, at_once: usize, refusal: &str) -> u64 {
        let mut granted = 0;
        loop {
            let asked: Vec<_> = (0..at_once)
                .map(|_| {
                    tokio::spawn({
                        let asker = self.clone();
                        async move { asker.ask().await }
                    })
                })
                .collect();
            let mut refused = 0;
            for code in asked {
                match &*code.await.unwrap() {
                    "VALID" => granted += 1,
                    other => {
                        assert_eq!(other, refusal);
                        refused += 1;
                    }
                }
            }
            if refused == at_once {
                return granted;
            }
        }
    }
}
