//! Signing in: with e-mail address and password, and with a second factor where the person has one.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use keyrack_core::{OrganizationId, SessionId};
use keyrack_store::{NewEvent, Reader, Session, SubjectKind, UserAccount};
use zeroize::Zeroizing;

use crate::actor::{Actor, Context};
use crate::clock::Random;
use crate::engine::{Engine, instance_event};
use crate::verify::Person;
use crate::{Error, Result};

/// How long a session lives.
pub const SESSION_LENGTH: SignedDuration = SignedDuration::from_hours(12);
/// How long a person has for the second factor.
const SECOND_FACTOR_WITHIN: SignedDuration = SignedDuration::from_mins(5);
/// For how long after the password was entered again that counts.
pub const STEP_UP_LENGTH: SignedDuration = SignedDuration::from_mins(10);

/// A random value that lets in whoever holds it: a session's cookie, an invitation. Only its digest is stored.
pub struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn draw(random: &dyn Random) -> Result<Self> {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random.bytes()?);
        Ok(Self(Zeroizing::new(data_encoding::BASE64URL_NOPAD.encode(&*bytes))))
    }

    /// The text, for the one who is to hold it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a token; its 256 random bits need nothing slower.
pub(crate) fn digest_of(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

/// From where, and with which browser, a person signs in.
pub type Client = (Option<String>, Option<String>);

/// A person who has just signed in.
pub struct SignedIn {
    /// Who.
    pub user: UserAccount,
    /// The value of their cookie.
    pub token: Token,
    /// When the session ends.
    pub expires_at: Timestamp,
    /// Whether it lets nobody in before a code is given ([`Engine::enter_second_factor`]).
    pub awaits_second_factor: bool,
}

impl Engine {
    /// Signs a person in. Wrong address and wrong password cannot be told apart, neither by the answer nor by its time.
    pub async fn sign_in(&self, email: &str, password: &str, client: Client) -> Result<SignedIn> {
        let email = keyrack_core::name::email(email).unwrap_or_default();
        let user = self.reader().await?.find_user_by_email(&email).await?;
        let hash = user.as_ref().and_then(|u| u.password_hash.clone());
        let is_right = self.passwords.verify_password(password, hash).await?;
        let user = user.filter(|u| is_right && u.password_hash.is_some()).ok_or(Error::Unauthorized)?;
        let factor = self.reader().await?.find_second_factor(user.id).await?;
        let awaits = factor.is_some_and(|factor| factor.confirmed_at.is_some());
        let session = self.new_session(&user, client, awaits)?;
        let kind = if awaits { "session.awaits_second_factor" } else { "session.started" };
        self.begin_session(kind, user, session, None).await
    }

    /// Ends a sign-in with a code from the person's device, or with a recovery code. The cookie is another one from then on.
    pub async fn enter_second_factor(&self, cookie: &str, code: &str, client: Client) -> Result<SignedIn> {
        let waiting = self.reader().await?.find_session(&digest_of(cookie)).await?;
        let waiting = waiting.filter(|s| s.awaits_second_factor && s.expires_at > self.now());
        let waiting = waiting.ok_or(Error::Unauthorized)?;
        let user = self.user(&mut self.reader().await?, &waiting).await?;
        let session = self.new_session(&user, client, false)?;
        self.begin_session("session.started", user, session, Some((waiting.id, Some(code)))).await
    }

    /// The person enters the password again, and a code if they have a second factor: for a while they may do what only such a session
    /// may. The cookie is another one from then on.
    pub async fn step_up(&self, person: &Person, password: &str, code: Option<&str>) -> Result<SignedIn> {
        let (user, own) = self.own_session(&mut self.reader().await?, person).await?;
        if !self.passwords.verify_password(password, user.password_hash.clone()).await? {
            return Err(Error::Unauthorized);
        }
        let factor = self.reader().await?.find_second_factor(user.id).await?;
        let needs_code = factor.is_some_and(|factor| factor.confirmed_at.is_some());
        let code = if needs_code { Some(code.unwrap_or_default()) } else { None };
        let now = self.now();
        let session = Session { id: SessionId::new(now, self.random_id()?), stepped_up_at: Some(now), ..own.clone() };
        self.begin_session("session.stepped_up", user, session, Some((own.id, code))).await
    }

    fn new_session(&self, user: &UserAccount, client: Client, awaits_second_factor: bool) -> Result<Session> {
        let now = self.now();
        let (address, user_agent) = client;
        let length = if awaits_second_factor { SECOND_FACTOR_WITHIN } else { SESSION_LENGTH };
        Ok(Session {
            id: SessionId::new(now, self.random_id()?),
            user: user.id,
            created_at: now,
            expires_at: now.saturating_add(length).unwrap_or(now),
            address,
            user_agent,
            awaits_second_factor,
            stepped_up_at: None,
        })
    }

    /// Begins a session, in the place of another one if that is named; with it a code that has to be right.
    async fn begin_session(
        &self,
        kind: &'static str,
        user: UserAccount,
        session: Session,
        before: Option<(SessionId, Option<&str>)>,
    ) -> Result<SignedIn> {
        let token = Token::draw(self.random.as_ref())?;
        let mut writer = self.store.write(&[]).await?;
        if let Some((before, code)) = before {
            if let Some(code) = code
                && !self.take_code(&mut writer, user.id, code).await?
            {
                return Err(Error::Unauthorized);
            }
            if !writer.delete_session(before).await? {
                return Err(Error::Unauthorized);
            }
        }
        writer.insert_session(&session, &digest_of(token.expose()), self.now()).await?;
        let event = self.session_event(kind, &user, session.id)?;
        self.commit(writer, event).await?;
        let Session { expires_at, awaits_second_factor, .. } = session;
        Ok(SignedIn { user, token, expires_at, awaits_second_factor })
    }

    /// Ends a session.
    pub async fn sign_out(&self, person: &Person) -> Result<()> {
        match self.end_session(person, person.session).await {
            Err(Error::NotFound(_)) => Ok(()),
            done => done,
        }
    }

    /// Ends one of a person's own sessions.
    pub async fn end_session(&self, person: &Person, session: SessionId) -> Result<()> {
        let mut writer = self.store.write(&[]).await?;
        let found = writer.find_session_by_id(session).await?.filter(|found| found.user == person.user);
        let found = found.ok_or(Error::NotFound("session"))?;
        let user = self.user(&mut writer, &found).await?;
        writer.delete_session(session).await?;
        let event = self.session_event("session.ended", &user, session)?;
        self.commit(writer, event).await.map(|_| ())
    }

    /// The sessions with which a person is signed in, the newest first.
    pub async fn list_sessions(&self, person: &Person) -> Result<Vec<Session>> {
        Ok(self.reader().await?.list_sessions_of(person.user, self.now()).await?)
    }

    /// The person behind a cookie, seen in the organization they name, or in their only one. `None` for a dead cookie.
    pub async fn person(&self, cookie: &str, organization: Option<OrganizationId>) -> Result<Option<Person>> {
        let mut reader = self.reader().await?;
        let session = reader.find_session(&digest_of(cookie)).await?;
        let Some(session) = session.filter(|s| self.is_live(s)) else { return Ok(None) };
        let Some(user) = reader.find_user(session.user).await? else { return Ok(None) };
        let organization = match organization {
            Some(named) => named,
            None => match &reader.list_organizations_of_user(user.id).await?[..] {
                [only] => only.id,
                _ => keyrack_store::INSTANCE,
            },
        };
        let role = reader.find_member(organization, user.id).await?.map(|m| m.role);
        let is_concerned = role.is_some() || user.is_instance_admin;
        let unmet = if is_concerned { self.unmet(&mut reader, organization, &session).await? } else { None };
        Ok(Some(Person {
            session: session.id,
            user: user.id,
            email: user.email,
            name: user.name,
            is_instance_admin: user.is_instance_admin && unmet.is_none(),
            has_stepped_up: self.has_stepped_up(&session),
            organization,
            role: role.filter(|_| unmet.is_none()),
            unmet,
        }))
    }

    /// Whether a session lets its person in now.
    pub(crate) fn is_live(&self, session: &Session) -> bool {
        session.expires_at > self.now() && !session.awaits_second_factor
    }

    pub(crate) fn has_stepped_up(&self, session: &Session) -> bool {
        let until = session.stepped_up_at.and_then(|at| at.saturating_add(STEP_UP_LENGTH).ok());
        until.is_some_and(|until| self.now() < until)
    }

    /// A live session of a person's, and whose it is.
    pub(crate) async fn own_session(&self, reader: &mut Reader, person: &Person) -> Result<(UserAccount, Session)> {
        let session = reader.find_session_by_id(person.session).await?.filter(|session| self.is_live(session));
        let session = session.ok_or(Error::Unauthorized)?;
        Ok((self.user(reader, &session).await?, session))
    }

    async fn user(&self, reader: &mut Reader, session: &Session) -> Result<UserAccount> {
        reader.find_user(session.user).await?.ok_or(Error::Unauthorized)
    }

    /// Refuses a person who has not entered the password again lately. Keys and the host have none.
    pub(crate) async fn require_step_up(&self, reader: &mut Reader, ctx: &Context) -> Result<()> {
        let Actor::User { session, .. } = &ctx.actor else { return Ok(()) };
        let session = reader.find_session_by_id(*session).await?.ok_or(Error::Unauthorized)?;
        if self.has_stepped_up(&session) { Ok(()) } else { Err(Error::step_up_required()) }
    }

    pub(crate) fn session_event(&self, kind: &'static str, user: &UserAccount, session: SessionId) -> Result<NewEvent> {
        let event = self.user_event(kind, user)?;
        Ok(NewEvent { subject_kind: SubjectKind::Session, subject_id: Some(session.0), ..event })
    }

    /// An event that a person causes about themselves.
    pub(crate) fn user_event(&self, kind: &'static str, user: &UserAccount) -> Result<NewEvent> {
        Ok(NewEvent {
            actor_kind: keyrack_store::ActorKind::User,
            actor_id: Some(user.id.0),
            actor_name: user.email.clone(),
            subject_kind: SubjectKind::User,
            subject_id: Some(user.id.0),
            subject_name: user.email.clone(),
            ..instance_event(kind, self.now(), self.random_id()?)
        })
    }
}
