//! Slow hashes on a bounded pool: passwords, and the keys of groups with the bcrypt profile.

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{Semaphore, oneshot};

use crate::{Error, Result};

/// How many slow hashes may wait or run at once; more are refused with 503.
const QUEUE: usize = 32;

/// The shortest password, in characters (NIST SP 800-63B-4 for a single factor).
pub const MIN_PASSWORD: usize = 15;
/// The longest password, in bytes.
pub const MAX_PASSWORD: usize = 1024;

/// Runs slow hashes away from the threads that serve, a few at a time.
pub struct SlowPool {
    running: Semaphore,
    admitted: Semaphore,
    /// Whether everything else goes first.
    is_patient: bool,
}

impl SlowPool {
    /// For keys: whoever waits knocks with one.
    pub fn for_keys() -> Self {
        Self::new(false)
    }

    /// For passwords: anybody may have them hashed, so that is done in the time that nothing else needs.
    pub fn for_passwords() -> Self {
        Self::new(true)
    }

    fn new(is_patient: bool) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
        Self { running: Semaphore::new(threads), admitted: Semaphore::new(QUEUE), is_patient }
    }

    /// Runs a slow function, or refuses at once if too many wait.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Error::Overloaded)?;
        let _running = self.running.acquire().await.map_err(|_| Error::Overloaded)?;
        let failed = |e| Error::Internal("a slow hash failed", Some(e));
        if !self.is_patient {
            return tokio::task::spawn_blocking(work).await.map_err(|e| failed(Box::new(e)));
        }
        // A thread that has stepped back may not step forward again, so each of these does one thing.
        let (done, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name("password".to_owned()).spawn(move || {
            step_back();
            let _ = done.send(work());
        });
        thread.map_err(|e| failed(Box::new(e)))?;
        result.await.map_err(|e| failed(Box::new(e)))
    }

    /// The argon2id hash of a password, in PHC form.
    pub async fn hash_password(&self, password: &str) -> Result<String> {
        let length = password.chars().count();
        if length < MIN_PASSWORD || password.len() > MAX_PASSWORD {
            let message = format!("must have at least {MIN_PASSWORD} characters, and at most {MAX_PASSWORD} bytes");
            return Err(Error::invalid("password", message));
        }
        let password = zeroize::Zeroizing::new(password.to_owned());
        let hashed = self.run(move || argon2().hash_password(password.as_bytes()).map(|hash| hash.to_string()));
        hashed.await?.map_err(|_| Error::internal("the password could not be hashed"))
    }

    /// Whether a password has this hash. Without a hash the same work is done for nothing, so that nobody learns from the
    /// time whether an account exists.
    pub async fn verify_password(&self, password: &str, hash: Option<String>) -> Result<bool> {
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        let password = zeroize::Zeroizing::new(password.to_owned());
        self.run(move || match hash.as_deref().map(argon2::password_hash::phc::PasswordHash::new) {
            Some(Ok(hash)) => argon2().verify_password(password.as_bytes(), &hash).is_ok(),
            _ => argon2().hash_password(password.as_bytes()).is_err(),
        })
        .await
    }
}

/// How far: one that wants the same processor all the time gets seventy times as much of it.
const BACK: i32 = 19;

/// Has the system give nearly all time to other threads that want it. Where that is not so simple, all have the same.
fn step_back() {
    // Elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, BACK);
}

/// argon2id with 19 MiB, two passes and one lane, as OWASP recommends at least.
fn argon2() -> Argon2<'static> {
    Argon2::default()
}
