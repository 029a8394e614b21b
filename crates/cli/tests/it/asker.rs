//! Whoever asks about a key until it is refused.

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

    /// What is said to one request.
    pub(crate) async fn ask(&self) -> String {
        let asked = self.http.post("/api/verify").json(&json!({"key": self.secret})).send().await;
        text(&asked.expect_status(200).json()["code"])
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
