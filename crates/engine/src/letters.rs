//! Letters: what people get by mail.
//!
//! A letter is written in the transaction of what it tells of, sealed, and sent by a process that serves, at least once: one that ends
//! while it sends leaves the letter to be sent again. What owners and admins are told goes into a letter together, so that who makes a
//! thousand keys fills no mailbox.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyrack_core::{LetterId, OrganizationId, OrganizationState, Role};
use keyrack_store::Writer;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::notices::told;
use crate::{Error, Result};

/// How often it is looked whether there is anything to send.
const ROUND: Duration = Duration::from_secs(2);
/// How long after a letter to an organization's managers the next one is written.
const TOGETHER: SignedDuration = SignedDuration::from_mins(5);
/// How many of what they were told a letter names.
const NAMED: i64 = 50;
/// How long sending one may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// When somebody else may take a letter whose sender says nothing more.
const TAKEN_FOR: SignedDuration = SignedDuration::from_mins(2);
/// How long the sending of a letter may go on when the process is to end.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long to wait after a first failure; twice as long after each further one, up to the second of these.
const AGAIN: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(5), SignedDuration::from_hours(1));
/// For how long it is tried.
const TRIED_FOR: SignedDuration = SignedDuration::from_hours(72);
/// Letters of a subject are cut to so many characters.
const SUBJECT: usize = 120;

/// A letter, as it goes out.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The same each time this letter is sent, so that a reader's mail server can tell a repetition.
    pub id: LetterId,
    /// To which e-mail address.
    pub to: String,
    /// In one line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// When it was written.
    pub written_at: Timestamp,
}

/// Why a letter was not sent. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MailError(pub String);

/// Brings a letter on its way.
pub trait Mailer: Send + Sync {
    /// Sends it. That must not be called done before somebody else answers for the letter.
    fn send(&self, letter: Letter) -> Pin<Box<dyn Future<Output = std::result::Result<(), MailError>> + Send + '_>>;
}

/// How a process sends letters.
#[derive(Clone)]
pub struct Post {
    /// Who takes them; without anybody, letters are thrown away.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// Where people reach the console, without a slash at the end: links in letters lead there.
    pub console: String,
}

/// What became of letters since the process started.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) given_up: AtomicU64,
}

/// What a letter says, before it is put into words.
#[derive(Serialize, Deserialize)]
pub(crate) enum Content {
    /// Somebody is invited.
    Invitation { organization: String, by: String, role: Role, token: Zeroizing<String>, expires_at: Timestamp },
    /// Owners and admins are told something.
    Notices {
        organization: String,
        slug: String,
        /// In words, the newest first.
        told: Vec<(Timestamp, String)>,
        /// How many others there are.
        more: u64,
    },
}

impl Content {
    /// Subject and text.
    fn words(&self, console: &str) -> (String, String) {
        match self {
            Self::Invitation { organization, by, role, token, expires_at } => {
                let subject = format!("{by} invites you to {organization}");
                let (role, until) = (role.as_str(), minute(*expires_at));
                let article = if role == "member" { "a" } else { "an" };
                let token = &**token;
                let text = format!(
                    "{by} invites you to the organization {organization} on Keyrack, as {article} {role}.\n\n\
                     This link lets you in. It works once, until {until}:\n\n  {console}/login/invitation?token={token}\n\n\
                     If you do not know what this is about, leave it: nothing happens then.\n"
                );
                (subject, text)
            }
            Self::Notices { organization, slug, told, more } => {
                let subject = match told.as_slice() {
                    [(_, one)] if *more == 0 => format!("{organization}: {one}"),
                    all => format!("{organization}: {} notices", all.len() as u64 + more),
                };
                let told: Vec<String> =
                    told.iter().map(|(at, words)| format!("{}\n  {words}\n\n", minute(*at))).collect();
                let more = if *more == 0 { String::new() } else { format!("... and {more} before these.\n\n") };
                let text = format!(
                    "{}{more}All of them: {console}/organizations/{slug}/notifications\n\n\
                     You get this because you are an owner or admin of {organization}.\n",
                    told.concat()
                );
                (subject, text)
            }
        }
    }
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

pub(crate) fn place_of(id: LetterId) -> Vec<u8> {
    [b"letter".as_slice(), id.0.as_bytes()].concat()
}

/// How long to wait after so many attempts.
fn pause(attempts: i64) -> SignedDuration {
    let doubled = u32::try_from(attempts.saturating_sub(1)).ok().and_then(|times| 2_i32.checked_pow(times));
    doubled.and_then(|factor| AGAIN.0.checked_mul(factor)).map_or(AGAIN.1, |pause| pause.min(AGAIN.1))
}

impl Engine {
    /// Writes a letter. It is sent once the transaction has been committed.
    pub(crate) async fn write_letter(&self, writer: &mut Writer, to: &str, content: &Content) -> Result<()> {
        let now = self.now();
        let id = LetterId::new(now, self.random_id()?);
        let plain = serde_json::to_vec(content).map(Zeroizing::new);
        let plain = plain.map_err(|_| Error::internal("a letter could not be written"))?;
        let letter = keyrack_store::Letter {
            id,
            recipient: to.to_owned(),
            sealed: self.seal(&place_of(id), &plain)?,
            attempts: 0,
            due_at: now,
            created_at: now,
        };
        Ok(writer.insert_letter(&letter).await?)
    }

    /// Sends letters until `stop`, while this process serves. One process of several is enough; each may.
    pub async fn send_letters(self: Arc<Self>, post: Post, stop: impl Future<Output = ()>) {
        let (mut round, mut stop) = (crate::serving::every(ROUND), pin!(stop));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                _ = round.tick() => {}
            }
            if !self.is_serving() {
                continue;
            }
            let mut sending = pin!(self.send_letters_now(&post));
            let sent = tokio::select! {
                biased;
                sent = &mut sending => sent,
                () = &mut stop => {
                    let _ = timeout(FAREWELL, sending).await;
                    return;
                }
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "letters could not be sent, and will be later");
            }
        }
    }

    /// Writes and sends the letters that are due now.
    pub async fn send_letters_now(&self, post: &Post) -> Result<()> {
        let Some(mailer) = &post.mailer else { return self.discard_letters().await };
        let written = self.write_of_notices().await;
        // What waits is sent whether or not there could be more.
        self.send_due(&**mailer, &post.console).await?;
        written
    }

    async fn discard_letters(&self) -> Result<()> {
        let mut reader = self.reader().await?;
        if reader.is_letter_due(Timestamp::MAX).await? || !reader.unmailed().await?.is_empty() {
            drop(reader);
            self.store.write(&[]).await?.commit_letters_discarded().await?;
        }
        Ok(())
    }

    /// Writes to owners and admins what they have been told since they were last written to.
    async fn write_of_notices(&self) -> Result<()> {
        let now = self.now();
        let is_due = |at: Timestamp| now.duration_since(at) >= TOGETHER || at > now;
        for unmailed in self.reader().await?.unmailed().await? {
            if unmailed.mailed_at.is_none_or(is_due) {
                self.write_to_managers(unmailed.organization, now).await?;
            }
        }
        Ok(())
    }

    async fn write_to_managers(&self, organization: OrganizationId, now: Timestamp) -> Result<()> {
        let mut writer = self.store.write(&[organization]).await?;
        let (newest, count) = writer.take_unmailed(organization, NAMED, now).await?;
        let tenant = self.directory.tenant(organization);
        let tenant = tenant.filter(|tenant| tenant.organization.state != OrganizationState::Deleted);
        if let Some(tenant) = tenant.filter(|_| count > 0) {
            let content = Content::Notices {
                organization: tenant.organization.name.clone(),
                slug: tenant.organization.slug.clone(),
                more: count.saturating_sub(newest.len() as u64),
                told: newest.iter().map(|one| (one.created_at, told(one))).collect(),
            };
            for manager in writer.list_managers(organization).await? {
                self.write_letter(&mut writer, &manager.email, &content).await?;
            }
        }
        Ok(writer.commit_letters().await?)
    }

    /// Sends what is due, one letter after the other.
    async fn send_due(&self, mailer: &dyn Mailer, console: &str) -> Result<()> {
        while self.reader().await?.is_letter_due(self.now()).await? {
            let now = self.now();
            let until = now.saturating_add(TAKEN_FOR).unwrap_or(Timestamp::MAX);
            let writer = self.store.write(&[]).await?;
            let Some(letter) = writer.commit_letter_taken(now, until).await? else { return Ok(()) };
            self.deliver(mailer, letter, console).await?;
        }
        Ok(())
    }

    async fn deliver(&self, mailer: &dyn Mailer, letter: keyrack_store::Letter, console: &str) -> Result<()> {
        let keyrack_store::Letter { id, recipient, sealed, attempts, created_at, .. } = letter;
        let content = self.unseal(&place_of(id), &sealed).and_then(|plain| serde_json::from_slice(&plain).ok());
        let sent = match content.map(|content: Content| content.words(console)) {
            None => Err(MailError("it cannot be opened: the key file may lack its master key".to_owned())),
            Some((mut subject, text)) => {
                subject = subject.replace(char::is_control, " ");
                if let Some((at, _)) = subject.char_indices().nth(SUBJECT) {
                    subject.truncate(at);
                    subject.push_str("...");
                }
                let letter = Letter { id, to: recipient, subject, text, written_at: created_at };
                let slow = |_| Err(MailError("it took longer than a minute".to_owned()));
                timeout(PATIENCE, mailer.send(letter)).await.unwrap_or_else(slow)
            }
        };
        let writer = self.store.write(&[]).await?;
        let Err(error) = sent else {
            self.letters.sent.fetch_add(1, Ordering::Relaxed);
            return Ok(writer.commit_letter_ended(id).await?);
        };
        let now = self.now();
        if now.duration_since(created_at) >= TRIED_FOR {
            self.letters.given_up.fetch_add(1, Ordering::Relaxed);
            tracing::error!(letter = %id, %error, attempts, "a letter could not be sent for three days and is given up");
            return Ok(writer.commit_letter_ended(id).await?);
        }
        self.letters.failed.fetch_add(1, Ordering::Relaxed);
        let until = now.saturating_add(pause(attempts)).unwrap_or(Timestamp::MAX);
        writer.commit_letter_put_off(id, until).await?;
        tracing::warn!(letter = %id, %error, attempts, "a letter could not be sent, and will be tried again");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_ever_more_slowly() {
        let seconds: Vec<i64> = [1, 2, 3, 4, 10, 11, 60, i64::MAX].map(|n| pause(n).as_secs()).into();
        assert_eq!(seconds, [5, 10, 20, 40, 2560, 3600, 3600, 3600]);
    }

    #[test]
    fn a_letter_of_one_notice_says_it_in_the_subject() {
        let at: Timestamp = "2026-11-23T16:50:59Z".parse().unwrap();
        let notices = |told: Vec<(Timestamp, String)>, more| {
            let (organization, slug) = ("Acme".to_owned(), "acme".to_owned());
            Content::Notices { organization, slug, told, more }.words("https://keys.example.com")
        };
        let (subject, text) = notices(vec![(at, "The quota is used".to_owned())], 0);
        assert_eq!(subject, "Acme: The quota is used");
        assert!(
            text.starts_with("2026-11-23 16:50 UTC\n  The quota is used\n\nAll of them: https://keys.example.com/")
        );
        let (subject, text) = notices(vec![(at, "one".to_owned()), (at, "two".to_owned())], 7);
        assert_eq!(subject, "Acme: 9 notices");
        assert!(text.contains("... and 7 before these."));
    }
}
