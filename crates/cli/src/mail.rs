//! How letters leave the process: over SMTP, or into a folder where no server is set.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use keyrack_engine::{Letter, MailError, Mailer};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tempfile::NamedTempFile;
use url::Url;

use crate::config::Settings;

/// How long each step of a conversation with a mail server may take.
const STEP: Duration = Duration::from_secs(15);
/// How many connections to it there are at most, and for how long one is kept that nothing is sent over.
const CONNECTIONS: (u32, Duration) = (2, Duration::from_secs(30));
/// How many letters are kept in a folder: the newest.
const KEPT: usize = 1000;

type Smtp = AsyncSmtpTransport<Tokio1Executor>;

/// Where letters go.
enum Way {
    Smtp(Box<Smtp>),
    Folder(PathBuf),
}

/// Sends letters from an address.
struct Sender {
    from: Mailbox,
    way: Way,
}

/// Who sends letters, as the settings say; `None` if nobody is to.
pub(crate) fn mailer(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Mailer>>> {
    Ok(sender(settings)?.map(|sender| Arc::new(sender) as Arc<dyn Mailer>))
}

/// Where people reach the console, if that is said.
pub(crate) fn public_url(settings: &Settings) -> anyhow::Result<Option<String>> {
    let Some(text) = settings.get("public_url") else {
        return Ok(settings.get("console_host").map(|host| format!("https://{host}")));
    };
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    let url = url.context("public_url must be as https://keys.example.com, without a path")?;
    Ok(Some(url.origin().ascii_serialization()))
}

/// What became of looking at it.
pub(crate) async fn look(settings: &Settings) -> anyhow::Result<String> {
    public_url(settings)?;
    match sender(settings)?.map(|sender| sender.way) {
        None => Ok("no letters are sent".to_owned()),
        Some(Way::Folder(folder)) => Ok(format!("letters go into the folder {}", folder.display())),
        Some(Way::Smtp(smtp)) => {
            if !smtp.test_connection().await.context("the mail server cannot be reached")? {
                bail!("the mail server does not answer");
            }
            Ok("the mail server answers".to_owned())
        }
    }
}

fn sender(settings: &Settings) -> anyhow::Result<Option<Sender>> {
    let from = settings.get("mail.from");
    let way = match settings.get("mail.url") {
        Some("none") => return Ok(None),
        None => Way::Folder(outbox(settings)),
        Some(url) => match url.strip_prefix("file:") {
            Some(folder) => Way::Folder(folder.strip_prefix("//").unwrap_or(folder).into()),
            None if from.is_none() => bail!("mail.from is needed with mail.url: the address that letters come from"),
            None => Way::Smtp(Box::new(smtp(url, settings.get("mail.ca"))?)),
        },
    };
    let from = from.unwrap_or("Keyrack <keyrack@localhost>").parse();
    let from = from.context("mail.from must be an address, such as Keyrack <keyrack@example.com>")?;
    Ok(Some(Sender { from, way }))
}

/// The folder that letters go into when no server is set: beside a SQLite database, or here.
fn outbox(settings: &Settings) -> PathBuf {
    match settings.database().strip_prefix("sqlite:") {
        Some(path) => format!("{}.outbox", path.strip_prefix("//").unwrap_or(path)).into(),
        None => "keyrack.outbox".into(),
    }
}

/// What `mail.url` has to be.
const FORM: &str = "mail.url must be smtp://USER:PASSWORD@HOST, smtps://..., file:FOLDER or none";

/// Whether letters go to a mail server encrypted: they let people in, so they do, unless it is on this machine or somebody says
/// otherwise.
fn is_encrypted(url: &Url) -> anyhow::Result<bool> {
    let host = url.host_str().context(FORM)?.trim_matches(['[', ']']);
    let is_near = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
    let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    match (url.scheme(), tls.as_deref()) {
        ("smtps", None) | ("smtp", Some("required")) => Ok(true),
        ("smtp", None) => Ok(!is_near),
        ("smtp", Some("none")) => Ok(false),
        ("smtp" | "smtps", _) => bail!("tls in mail.url is required or none, and not given with smtps"),
        _ => bail!(FORM),
    }
}

fn smtp(text: &str, ca: Option<&str>) -> anyhow::Result<Smtp> {
    let mut url = Url::parse(text).ok().context(FORM)?;
    let is_encrypted = is_encrypted(&url)?;
    let host = url.host_str().context(FORM)?.trim_matches(['[', ']']).to_owned();
    url.set_query((is_encrypted && url.scheme() == "smtp").then_some("tls=required"));
    // Its errors could show the password.
    let builder = Smtp::from_url(url.as_str()).ok().context(FORM)?;
    let mut parameters = TlsParameters::builder(host);
    if let Some(path) = ca {
        let pem = fs::read(path).with_context(|| format!("mail.ca: cannot read {path}"))?;
        let certificate =
            Certificate::from_pem(&pem).with_context(|| format!("mail.ca: {path} holds no certificate"))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters.build().context("mail.url")?;
    let tls = match url.scheme() {
        "smtps" => Tls::Wrapper(parameters),
        _ if is_encrypted => Tls::Required(parameters),
        _ => Tls::None,
    };
    let (most, idle) = CONNECTIONS;
    let pool = PoolConfig::new().max_size(most).idle_timeout(idle);
    Ok(builder.tls(tls).timeout(Some(STEP)).pool_config(pool).build())
}

impl Mailer for Sender {
    fn send(&self, letter: Letter) -> Pin<Box<dyn Future<Output = Result<(), MailError>> + Send + '_>> {
        Box::pin(async move { self.bring(letter).await.map_err(|error| MailError(format!("{error:#}"))) })
    }
}

impl Sender {
    async fn bring(&self, letter: Letter) -> anyhow::Result<()> {
        let name = format!("{}-{}.eml", letter.written_at.strftime("%Y%m%dT%H%M%SZ"), letter.id);
        let message = self.message(letter)?;
        match &self.way {
            Way::Smtp(smtp) => smtp.send(message).await.map(drop).map_err(|error| anyhow!("{error}")),
            Way::Folder(folder) => {
                let (folder, bytes) = (folder.clone(), message.formatted());
                tokio::task::spawn_blocking(move || keep(&folder, &name, &bytes)).await?
            }
        }
    }

    /// The letter after RFC 5322; marked as one that no person sent (RFC 3834), so that nobody's absence is answered to it.
    fn message(&self, letter: Letter) -> anyhow::Result<Message> {
        let Letter { id, to, subject, text, written_at } = letter;
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .date(SystemTime::from(written_at))
            .from(self.from.clone())
            .to(Mailbox::new(None, to.parse().context("the recipient's address")?))
            .subject(subject)
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN);
        Ok(message.body(body(&text))?)
    }
}

/// A text as it is, so that a link can be copied out of a folder, where no server on the way has to break its lines (RFC 5322, 2.1.1);
/// else encoded.
fn body(text: &str) -> Body {
    const LINE: usize = 998;
    if text.is_ascii() && !text.contains('\0') && text.lines().all(|line| line.len() <= LINE) {
        let lines = text.replace('\n', "\r\n").into_bytes();
        return Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit);
    }
    Body::new(text.to_owned())
}

/// Writes a letter into a folder that only its owner reads, whole or not at all, and removes the oldest of too many.
fn keep(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let what = || format!("the folder {}", folder.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(what)?;
    let file = NamedTempFile::new_in(folder).with_context(what)?;
    fs::write(file.path(), bytes).with_context(what)?;
    file.as_file().sync_all().with_context(what)?;
    file.persist(folder.join(name)).with_context(what)?;
    let mut letters: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(what)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .collect();
    // Their names begin with their time.
    letters.sort_unstable();
    let too_many = letters.len().saturating_sub(KEPT);
    for old in letters.into_iter().take(too_many) {
        fs::remove_file(old).with_context(what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_unencrypted_to_this_machine_alone_unless_somebody_says_so() {
        let encrypted = |text: &str| is_encrypted(&Url::parse(text).ok()?).ok();
        for url in ["smtp://127.0.0.1:2525", "smtp://[::1]", "smtp://localhost", "smtp://mail.example.com?tls=none"] {
            assert_eq!(encrypted(url), Some(false), "{url}");
        }
        for url in [
            "smtp://mail.example.com",
            "smtp://user:p%40ss@10.0.0.1:587",
            "smtp://localhost?tls=required",
            "smtps://user:password@127.0.0.1",
        ] {
            assert_eq!(encrypted(url), Some(true), "{url}");
        }
        for url in ["", "mail.example.com", "http://x", "smtp:", "smtp://x?tls=maybe", "smtps://x?tls=none"] {
            assert_eq!(encrypted(url), None, "{url}");
        }
    }

    #[tokio::test]
    async fn a_wrong_setting_is_told_without_its_password() {
        for wrong in [
            "smtp://user:hunter2@",
            "smtp://user:hunter2@x?tls=maybe",
            "imap://user:hunter2@x",
            "smtp://u:hunter2%FF@x",
        ] {
            let told = smtp(wrong, None).err().unwrap();
            assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
        }
        assert!(smtp("smtp://user:p%40ss@mail.example.com", None).is_ok());
    }

    #[test]
    fn a_folder_keeps_the_newest_letters_for_its_owner_alone() {
        use std::os::unix::fs::MetadataExt as _;
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("outbox");
        for number in 0..KEPT + 3 {
            keep(&folder, &format!("{number:05}.eml"), b"a letter").unwrap();
        }
        fs::write(folder.join("notes.txt"), "mine").unwrap();
        keep(&folder, "99999.eml", b"a letter").unwrap();
        assert!(!folder.join("00003.eml").exists() && folder.join("00004.eml").exists());
        assert!(folder.join("notes.txt").exists());
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(folder.join("99999.eml")).unwrap().mode() & 0o777, 0o600);
    }
}
