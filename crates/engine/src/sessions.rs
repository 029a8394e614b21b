//! Signing in with e-mail address and password.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use keyrack_core::{OrganizationId, SessionId};
use keyrack_store::{NewEvent, NewSession, SubjectKind, UserAccount};
use zeroize::Zeroizing;

use crate::clock::Random;
use crate::engine::{Engine, instance_event};
use crate::verify::Person;
use crate::{Error, Result};

/// How long a session lives.
pub const SESSION_LENGTH: SignedDuration = SignedDuration::from_hours(12);

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

/// A person who has just signed in.
pub struct SignedIn {
    /// Who.
    pub user: UserAccount,
    /// The value of their cookie.
    pub token: Token,
    /// When the session ends.
    pub expires_at: Timestamp,
}

impl Engine {
    /// Signs a person in. Wrong address and wrong password cannot be told apart, neither by the answer nor by its time.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &str,
        (address, user_agent): (Option<String>, Option<String>),
    ) -> Result<SignedIn> {
        let email = keyrack_core::name::email(email).unwrap_or_default();
        let user = self.reader().await?.find_user_by_email(&email).await?;
        let hash = user.as_ref().and_then(|u| u.password_hash.clone());
        let is_right = self.passwords.verify_password(password, hash).await?;
        let user = user.filter(|u| is_right && u.password_hash.is_some()).ok_or(Error::Unauthorized)?;
        let now = self.now();
        let token = Token::draw(self.random.as_ref())?;
        let expires_at = now.saturating_add(SESSION_LENGTH).unwrap_or(now);
        let session = NewSession {
            id: SessionId::new(now, self.random_id()?),
            user: user.id,
            token_digest: digest_of(token.expose()),
            created_at: now,
            expires_at,
            address,
            user_agent,
        };
        let mut writer = self.store.write(&[]).await?;
        writer.insert_session(&session).await?;
        let event = self.session_event("session.started", &user, session.id)?;
        self.commit(writer, event).await?;
        Ok(SignedIn { user, token, expires_at })
    }

    /// Ends a session.
    pub async fn sign_out(&self, person: &Person) -> Result<()> {
        let mut writer = self.store.write(&[]).await?;
        let Some(user) = writer.find_user(person.user).await? else { return Ok(()) };
        if !writer.delete_session(person.session).await? {
            return Ok(());
        }
        let event = self.session_event("session.ended", &user, person.session)?;
        self.commit(writer, event).await.map(|_| ())
    }

    /// The person behind a cookie, seen in the organization they name, or in their only one. `None` for a dead cookie.
    pub async fn person(&self, cookie: &str, organization: Option<OrganizationId>) -> Result<Option<Person>> {
        let mut reader = self.reader().await?;
        let session = reader.find_session(&digest_of(cookie)).await?;
        let Some(session) = session.filter(|s| s.expires_at > self.now()) else { return Ok(None) };
        let Some(user) = reader.find_user(session.user).await? else { return Ok(None) };
        let organization = match organization {
            Some(named) => named,
            None => match &reader.list_organizations_of_user(user.id).await?[..] {
                [only] => only.id,
                _ => keyrack_store::INSTANCE,
            },
        };
        let role = reader.find_member(organization, user.id).await?.map(|m| m.role);
        Ok(Some(Person {
            session: session.id,
            user: user.id,
            email: user.email,
            is_instance_admin: user.is_instance_admin,
            organization,
            role,
        }))
    }

    fn session_event(&self, kind: &'static str, user: &UserAccount, session: SessionId) -> Result<NewEvent> {
        Ok(NewEvent {
            actor_kind: keyrack_store::ActorKind::User,
            actor_id: Some(user.id.0),
            actor_name: user.email.clone(),
            subject_kind: SubjectKind::Session,
            subject_id: Some(session.0),
            subject_name: user.email.clone(),
            ..instance_event(kind, self.now(), self.random_id()?)
        })
    }
}
