//! What people do about their own accounts: name, password, second factor. And what the host does for who is locked out.

use keyrack_core::{UserId, name, totp};
use keyrack_store::{ActorKind, NewEvent, SecondFactor, UserAccount, Writer};
use zeroize::Zeroizing;

use crate::clock::Random;
use crate::engine::Engine;
use crate::sessions::{SignedIn, digest_of};
use crate::verify::Person;
use crate::{Error, Result};

/// How many recovery codes a person gets.
const RECOVERY_CODES: usize = 10;
/// Random bytes of a recovery code. A plain digest is stored of it, for which 112 bits are enough (NIST SP 800-63B).
const RECOVERY_CODE: usize = 15;
/// Who a device says its codes are for.
const ISSUER: &str = "Keyrack";

/// How a person's account is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection {
    /// Whether they are asked for a code from their device.
    pub has_second_factor: bool,
    /// How many recovery codes they have left.
    pub recovery_codes_left: i64,
}

/// A second factor that waits for its first code.
pub struct NewSecondFactor {
    /// The secret in base32, for who types it in.
    pub secret: Zeroizing<String>,
    /// The same for a QR code.
    pub uri: Zeroizing<String>,
}

/// Codes that are shown once.
pub struct RecoveryCodes(Vec<Zeroizing<String>>);

impl RecoveryCodes {
    fn draw(random: &dyn Random) -> Result<Self> {
        let draw = || {
            let bytes: Zeroizing<[u8; RECOVERY_CODE]> = Zeroizing::new(random.bytes()?);
            let text = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&*bytes).to_lowercase());
            let groups: Vec<&str> = (0..text.len()).step_by(4).filter_map(|at| text.get(at..at + 4)).collect();
            Ok(Zeroizing::new(groups.join("-")))
        };
        std::iter::repeat_with(draw).take(RECOVERY_CODES).collect::<Result<_>>().map(Self)
    }

    fn digests(&self) -> Vec<[u8; 32]> {
        self.0.iter().map(|code| digest_of(&plain(code))).collect()
    }

    /// Their texts, for the one who is to keep them.
    pub fn expose(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|code| code.as_str())
    }
}

/// A code as typed, without what people put between.
fn plain(code: &str) -> Zeroizing<String> {
    Zeroizing::new(code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect())
}

pub(crate) fn place_of(user: UserId) -> Vec<u8> {
    [b"second_factor".as_slice(), user.0.as_bytes()].concat()
}

impl Engine {
    /// How a person's account is protected.
    pub async fn protection(&self, person: &Person) -> Result<Protection> {
        let mut reader = self.reader().await?;
        let factor = reader.find_second_factor(person.user).await?;
        let has_second_factor = factor.is_some_and(|factor| factor.confirmed_at.is_some());
        Ok(Protection { has_second_factor, recovery_codes_left: reader.count_recovery_codes(person.user).await? })
    }

    /// Gives a person another name.
    pub async fn rename_user(&self, person: &Person, text: &str) -> Result<UserAccount> {
        let name = name::name(text).map_err(|e| Error::invalid("name", e))?;
        let mut writer = self.store.write(&[]).await?;
        let (user, _) = self.own_session(&mut writer, person).await?;
        if user.name == name {
            return Ok(user);
        }
        let user = UserAccount { name, updated_at: self.now(), ..user };
        writer.update_user(&user).await?;
        let event = self.user_event("user.renamed", &user)?;
        self.commit(writer, event).await?;
        Ok(user)
    }

    /// Gives a person another password, and ends all their sessions; the one they ask with goes on under another cookie.
    pub async fn change_password(&self, person: &Person, current: &str, new: &str) -> Result<SignedIn> {
        let (user, _) = self.own_session(&mut self.reader().await?, person).await?;
        if !self.passwords.verify_password(current, user.password_hash.clone()).await? {
            return Err(Error::Unauthorized);
        }
        let hashed = self.passwords.hash_password(new).await.map_err(|error| match error {
            Error::Invalid(wrong) => Error::invalid("new_password", wrong.message),
            other => other,
        });
        let password_hash = Some(hashed?);
        let mut writer = self.store.write(&[]).await?;
        let (user, session) = self.own_session(&mut writer, person).await?;
        let user = UserAccount { password_hash, updated_at: self.now(), ..user };
        writer.update_user(&user).await?;
        writer.delete_sessions_of(user.id).await?;
        let token = crate::sessions::Token::draw(self.random.as_ref())?;
        writer.insert_session(&session, &digest_of(token.expose()), self.now()).await?;
        let event = self.user_event("user.password_changed", &user)?;
        self.commit(writer, event).await?;
        Ok(SignedIn { user, token, expires_at: session.expires_at, awaits_second_factor: false })
    }

    /// Begins to set up a second factor: it counts once a code of it has been given. Who has one removes it first.
    pub async fn begin_second_factor(&self, person: &Person) -> Result<NewSecondFactor> {
        let mut writer = self.store.write(&[]).await?;
        let user = self.stepped_up(&mut writer, person).await?;
        if writer.find_second_factor(user.id).await?.is_some_and(|factor| factor.confirmed_at.is_some()) {
            return Err(Error::conflict("second_factor_exists", "there is a second factor already; remove it first"));
        }
        let secret: Zeroizing<[u8; totp::SECRET]> = Zeroizing::new(self.random.bytes()?);
        let sealed = self.seal(&place_of(user.id), &*secret)?;
        let created_at = self.now();
        let factor = SecondFactor { user: user.id, sealed, created_at, confirmed_at: None, last_step: 0 };
        writer.put_second_factor(&factor).await?;
        let event = self.user_event("user.second_factor_begun", &user)?;
        self.commit(writer, event).await?;
        Ok(NewSecondFactor {
            secret: Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&*secret)),
            uri: Zeroizing::new(totp::uri(&*secret, ISSUER, &user.email)),
        })
    }

    /// The second factor counts from now on, if this is a code of it. Gives the codes for who loses the device.
    pub async fn confirm_second_factor(&self, person: &Person, code: &str) -> Result<RecoveryCodes> {
        let mut writer = self.store.write(&[]).await?;
        let user = self.stepped_up(&mut writer, person).await?;
        let factor = writer.find_second_factor(user.id).await?.filter(|factor| factor.confirmed_at.is_none());
        let factor = factor.ok_or(Error::NotFound("second factor that waits for its first code"))?;
        let step = self.step_of(&factor, code)?;
        let last_step = step.ok_or_else(|| Error::invalid("code", "is not the one that the device shows now"))?;
        writer.put_second_factor(&SecondFactor { confirmed_at: Some(self.now()), last_step, ..factor }).await?;
        let codes = RecoveryCodes::draw(self.random.as_ref())?;
        writer.replace_recovery_codes(user.id, &codes.digests()).await?;
        let event = self.user_event("user.second_factor_added", &user)?;
        self.commit(writer, event).await?;
        Ok(codes)
    }

    /// Gives a person new recovery codes; those before are void.
    pub async fn renew_recovery_codes(&self, person: &Person) -> Result<RecoveryCodes> {
        let mut writer = self.store.write(&[]).await?;
        let user = self.stepped_up(&mut writer, person).await?;
        let factor = writer.find_second_factor(user.id).await?.filter(|factor| factor.confirmed_at.is_some());
        factor.ok_or(Error::NotFound("second factor"))?;
        let codes = RecoveryCodes::draw(self.random.as_ref())?;
        writer.replace_recovery_codes(user.id, &codes.digests()).await?;
        let event = self.user_event("user.recovery_codes_renewed", &user)?;
        self.commit(writer, event).await?;
        Ok(codes)
    }

    /// Takes a person's second factor away.
    pub async fn remove_second_factor(&self, person: &Person) -> Result<()> {
        let mut writer = self.store.write(&[]).await?;
        let user = self.stepped_up(&mut writer, person).await?;
        if !writer.delete_second_factor(user.id).await? {
            return Err(Error::NotFound("second factor"));
        }
        let event = self.user_event("user.second_factor_removed", &user)?;
        self.commit(writer, event).await.map(|_| ())
    }

    /// Lets a person in again who is locked out: they get this password, lose their second factor and all sessions. For the host
    /// only; the log says so.
    pub async fn recover_user(&self, email: &str, password: &str) -> Result<UserAccount> {
        let email = name::email(email).map_err(|e| Error::invalid("email", e))?;
        let password_hash = Some(self.passwords.hash_password(password).await?);
        let mut writer = self.store.write(&[]).await?;
        let user = writer.find_user_by_email(&email).await?.ok_or(Error::NotFound("user"))?;
        let user = UserAccount { password_hash, updated_at: self.now(), ..user };
        writer.update_user(&user).await?;
        writer.delete_second_factor(user.id).await?;
        writer.delete_sessions_of(user.id).await?;
        let event = self.user_event("user.recovered", &user)?;
        let host = "host".to_owned();
        let event = NewEvent { actor_kind: ActorKind::System, actor_id: None, actor_name: host, ..event };
        self.commit(writer, event).await?;
        Ok(user)
    }

    /// Whether a code is one that the person's device shows, or one of their recovery codes. It is used up.
    pub(crate) async fn take_code(&self, writer: &mut Writer, user: UserId, code: &str) -> Result<bool> {
        let factor = writer.find_second_factor(user).await?.filter(|factor| factor.confirmed_at.is_some());
        let Some(factor) = factor else { return Ok(false) };
        match self.step_of(&factor, code)? {
            Some(step) => Ok(writer.take_step(user, step).await?),
            None => Ok(writer.take_recovery_code(user, &digest_of(&plain(code))).await?),
        }
    }

    fn step_of(&self, factor: &SecondFactor, code: &str) -> Result<Option<i64>> {
        let secret = self.unseal(&place_of(factor.user), &factor.sealed);
        let secret = secret.ok_or(Error::internal("a second factor cannot be opened"))?;
        Ok(totp::step_of(&secret, &plain(code), self.now().as_second(), factor.last_step))
    }

    /// The person, if they have entered the password again lately.
    async fn stepped_up(&self, writer: &mut Writer, person: &Person) -> Result<UserAccount> {
        let (user, session) = self.own_session(writer, person).await?;
        if self.has_stepped_up(&session) { Ok(user) } else { Err(Error::step_up_required()) }
    }
}
