//! Signing in, by the API and by the console, and how often somebody may guess.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::header::USER_AGENT;
use http::request::Parts;
use keyrack_core::name;
use keyrack_engine::{Error, Person, SignedIn};

use crate::app::App;
use crate::caller;
use crate::error::ApiError;
use crate::failures::{Failures, network_of};

/// For how long wrong passwords count together.
const WINDOW: Duration = Duration::from_mins(15);
/// How many there may be for an account from one address,
const PAIR: u16 = 10;
/// for an account from anywhere,
const ACCOUNT: u16 = 100;
/// and from one address for whichever account.
const NETWORK: u16 = 100;
/// How many of each can be told apart: four times as many.
const SETS: usize = 1 << 11;
/// The longest `User-Agent` that is kept with a session.
const MAX_USER_AGENT: usize = 256;

/// From where somebody signs in, and with what.
#[derive(Clone)]
pub(crate) struct Client {
    address: Option<IpAddr>,
    user_agent: Option<String>,
}

impl FromRequestParts<App> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self::of(app, parts))
    }
}

impl Client {
    /// Whoever sent a request.
    pub(crate) fn of(app: &App, request: &Parts) -> Self {
        let address = caller::address(app, &request.headers, &request.extensions);
        let agent = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let user_agent = agent.map(|text| text.chars().take(MAX_USER_AGENT).collect());
        Self { address, user_agent }
    }

    fn noted(&self) -> (Option<String>, Option<String>) {
        (self.address.map(|address| address.to_string()), self.user_agent.clone())
    }
}

/// Who guessed how often lately.
pub(crate) struct SignIns {
    pairs: Failures,
    accounts: Failures,
    networks: Failures,
}

impl Default for SignIns {
    fn default() -> Self {
        let failures = |limit| Failures::new(limit, WINDOW, SETS);
        Self { pairs: failures(PAIR), accounts: failures(ACCOUNT), networks: failures(NETWORK) }
    }
}

/// Whose password is guessed at, from where.
struct Guess {
    account: String,
    network: Option<IpAddr>,
}

impl Guess {
    /// However the address is written, an account is one.
    fn new(email: &str, client: &Client) -> Self {
        Self { account: name::email(email).unwrap_or_default(), network: client.address.map(network_of) }
    }

    /// Refuses one guess too many before anything is done for it: a slow hash would cost us more than them.
    fn admit(&self, sign_ins: &SignIns) -> Result<(), ApiError> {
        let looks = [
            sign_ins.pairs.look((&self.account, self.network)),
            sign_ins.accounts.look(&self.account),
            self.network.and_then(|network| sign_ins.networks.look(network)),
        ];
        let Some(seconds) = looks.into_iter().flatten().max() else { return Ok(()) };
        let message = format!("too many wrong passwords or codes; try again in {} minutes", seconds.div_ceil(60));
        let refusal = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
        Err(ApiError { retry_after: Some(seconds), ..refusal })
    }

    /// Counts it if it was wrong, and forgets the others if it was right.
    fn settle<T>(&self, sign_ins: &SignIns, came: keyrack_engine::Result<T>) -> keyrack_engine::Result<T> {
        match &came {
            Ok(_) => {
                sign_ins.pairs.forget((&self.account, self.network));
                sign_ins.accounts.forget(&self.account);
            }
            Err(Error::Unauthorized) => {
                sign_ins.pairs.note((&self.account, self.network));
                sign_ins.accounts.note(&self.account);
                if let Some(network) = self.network {
                    sign_ins.networks.note(network);
                }
            }
            Err(_) => {}
        }
        came
    }
}

/// Signs somebody in with address and password.
pub(crate) async fn sign_in(app: &App, (email, password): (&str, &str), client: &Client) -> Result<SignedIn, ApiError> {
    let guess = Guess::new(email, client);
    guess.admit(&app.sign_ins)?;
    let came = app.engine.sign_in(email, password, client.noted()).await;
    // Who has yet to give a code has not shown who they are.
    if came.as_ref().is_ok_and(|signed_in| signed_in.awaits_second_factor) {
        return Ok(came?);
    }
    Ok(guess.settle(&app.sign_ins, came)?)
}

/// Ends a sign-in with a code. The cookie is that of the sign-in.
pub(crate) async fn enter_second_factor(
    app: &App,
    (email, cookie, code): (&str, &str, &str),
    client: &Client,
) -> Result<SignedIn, ApiError> {
    Box::pin(as_somebody(app, email, client, app.engine.enter_second_factor(cookie, code, client.noted()))).await
}

/// Does what somebody proves an account with, such as accepting an invitation.
pub(crate) async fn as_somebody<T>(
    app: &App,
    email: &str,
    client: &Client,
    work: impl Future<Output = keyrack_engine::Result<T>>,
) -> Result<T, ApiError> {
    let guess = Guess::new(email, client);
    guess.admit(&app.sign_ins)?;
    Ok(guess.settle(&app.sign_ins, Box::pin(work).await)?)
}

/// Has somebody who is signed in enter the password again, for whatever needs that.
pub(crate) async fn again<T>(
    app: &App,
    person: &Person,
    client: &Client,
    work: impl Future<Output = keyrack_engine::Result<T>>,
) -> Result<T, ApiError> {
    let guess = Guess::new(&person.email, client);
    guess.admit(&app.sign_ins)?;
    match guess.settle(&app.sign_ins, Box::pin(work).await) {
        // They are signed in: a 401 would say that they are not.
        Err(Error::Unauthorized) => {
            Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_password", "the password or the code is not right"))
        }
        done => Ok(done?),
    }
}
