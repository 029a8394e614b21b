//! A server with people, and browsers that look at it.

use keyrack_testkit::{Browser, Database, Http, Keyrack};
use serde_json::{Value, json};

/// The binary under test.
pub(crate) const KEYRACK: &str = env!("CARGO_BIN_EXE_keyrack");

/// A server, and a browser in front of it.
pub(crate) struct Desk {
    pub(crate) keyrack: Keyrack,
    pub(crate) browser: Browser,
}

impl Desk {
    /// With an organization `acme`, whose owner is not signed in. `None` without a browser.
    pub(crate) async fn start() -> Option<Self> {
        let browser = Browser::start().await?;
        Some(Self {
            keyrack: Keyrack::setup(KEYRACK, Database::Sqlite).args(["--egress-allow", "127.0.0.1/32"]).start(),
            browser,
        })
    }

    /// The same with the owner signed in.
    pub(crate) async fn signed_in() -> Option<Self> {
        let desk = Self::start().await?;
        desk.sign_in(&desk.keyrack.owner_email, &desk.keyrack.owner_password).await;
        Some(desk)
    }

    /// The address of a page, on a host that browsers keep secure cookies of.
    pub(crate) fn at(&self, path: &str) -> String {
        self.keyrack.url().replace("127.0.0.1", "localhost") + path
    }

    /// Opens a page.
    pub(crate) async fn open(&self, path: &str) {
        self.browser.goto(&self.at(path)).await;
    }

    /// Signs somebody in, as they would.
    pub(crate) async fn sign_in(&self, email: &str, password: &str) {
        sign_in(&self.browser, &self.at("/login"), (email, password)).await;
    }

    /// Makes something through the API, as the owner's key.
    pub(crate) async fn make(&self, path: &str, body: Value) -> Value {
        self.keyrack.owner().post(path).json(&body).send().await.expect_status(201).json()
    }

    /// A client of the server.
    pub(crate) fn http(&self) -> Http {
        self.keyrack.http()
    }

    /// Makes an account in the organization.
    pub(crate) async fn add_person(&self, email: &str, role: &str, password: &str) {
        self.make("/api/members", json!({"email": email, "role": role, "password": password})).await;
    }
}

/// Signs somebody in with a browser.
pub(crate) async fn sign_in(browser: &Browser, login: &str, (email, password): (&str, &str)) {
    browser.goto(login).await;
    browser.fill("E-mail address", email).await;
    browser.fill("Password", password).await;
    browser.press("Sign in").await;
    browser.wait("the sign-in", async |browser: &Browser| !browser.address().await.contains("/login")).await;
}

/// The text that a JSON value is.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
