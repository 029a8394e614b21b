//! What scripts ask for, and what they are given.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use keyrack_core::SecretText;
use keyrack_core::secret::secret_name;
use keyrack_engine::{LiveRoute, Seeker, Verdict};
use keyrack_script::wire::{Ask, Reply};
use keyrack_script::{Host, Replying};

use super::fetch::{self, Wanted};
use crate::app::App;

/// How often one call may ask other services.
const MAX_FETCHES: usize = 50;

/// Secrets shorter than this are not masked in logs: they would be everywhere.
const SHORTEST_MASKED: usize = 4;

/// What a script is told when a secret cannot be opened; the log says more.
const NOT_OPENED: &str = "the secret cannot be opened";

/// Gives one call of a script what it asks for: the secrets of whoever was let in, and what other services answer.
pub(crate) struct ScriptHost<'a> {
    app: &'a App,
    seeker: Seeker,
    /// By which words and names people know what the scopes of the seeker belong to.
    owners: Vec<(&'static str, String)>,
    fetches: AtomicUsize,
    /// Names and values of the secrets that the script was given.
    given: Mutex<Vec<(String, SecretText)>>,
    lines: Mutex<Vec<(u8, String)>>,
}

impl<'a> ScriptHost<'a> {
    /// For whoever a decision let in at a route.
    pub(crate) fn of(app: &'a App, route: &LiveRoute, verdict: &Verdict) -> Self {
        let admitted = verdict.admitted();
        let facts = admitted.map(keyrack_engine::KnownKey::facts);
        let seeker = Seeker {
            organization: route.route.organization,
            route: Some(route.route.id),
            group: facts.as_ref().map(|facts| facts.group),
            key: facts.as_ref().map(|facts| facts.key),
        };
        let mut host = Self::seeking(app, route, seeker, admitted.map(|key| key.group_name().to_owned()));
        host.owners.extend(admitted.map(|key| ("key", key.record.name.to_string())));
        host
    }

    /// For somebody of this group.
    pub(super) fn seeking(app: &'a App, route: &LiveRoute, seeker: Seeker, group: Option<String>) -> Self {
        let tenant = app.engine.directory().tenant(seeker.organization);
        let slug = tenant.map(|tenant| tenant.organization.slug.clone()).unwrap_or_default();
        let mut owners = vec![("global", slug), ("route", route.route.name.clone())];
        owners.extend(group.map(|group| ("group", group)));
        Self { app, seeker, owners, fetches: AtomicUsize::new(0), given: Mutex::default(), lines: Mutex::default() }
    }

    /// The lines that the script has written since this was asked before, each with its level.
    pub(crate) fn take_lines(&self) -> Vec<(u8, String)> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Text for a log: in the place of secrets that the script was given stand their names.
    pub(crate) fn masked(&self, text: String) -> String {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        masked(text, given.iter().map(|(name, value)| (name.as_str(), value.expose())))
    }

    fn give(&self, name: &str, value: &SecretText) -> String {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), value.clone()));
        value.expose().to_owned()
    }

    fn secret(&self, name: &str, scope: Option<&str>) -> Result<Reply, String> {
        secret_name(name).map_err(|error| format!("the name of a secret {error}"))?;
        let found = match scope {
            None => self.app.engine.secret_for(&self.seeker, name),
            Some(scope @ ("global" | "route" | "group" | "key")) => {
                self.app.engine.secret_of(&self.seeker, scope, name)
            }
            Some(_) => return Err("the scope of a secret is global, route, group or key".to_owned()),
        };
        let found = found.map_err(|_| NOT_OPENED)?;
        Ok(Reply::Secret(found.map(|value| self.give(name, &value))))
    }

    fn complete_secret(&self, name: &str) -> Result<Reply, String> {
        secret_name(name).map_err(|error| format!("the name of a secret {error}"))?;
        let found = self.app.engine.secrets_for(&self.seeker, name).map_err(|_| NOT_OPENED)?;
        let named = found.into_iter().map(|(scope, value)| {
            let owner = self.owners.iter().find(|(word, _)| *word == scope.as_str());
            let owner = owner.map(|(_, name)| name.clone()).unwrap_or_default();
            (scope.as_str().to_owned(), owner, self.give(name, &value))
        });
        Ok(Reply::CompleteSecret(named.collect()))
    }
}

/// Text with names in the place of secrets: the longest first, for one may be the beginning of another.
fn masked<'s>(mut text: String, secrets: impl Iterator<Item = (&'s str, &'s str)>) -> String {
    let mut secrets: Vec<_> = secrets.filter(|(_, value)| value.len() >= SHORTEST_MASKED).collect();
    secrets.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    for (name, value) in secrets {
        if text.contains(value) {
            text = text.replace(value, &format!("[secret {name}]"));
        }
    }
    text
}

impl Host for ScriptHost<'_> {
    fn ask(&self, what: Ask, body: Vec<u8>) -> Replying<'_> {
        Box::pin(async move {
            match what {
                Ask::Secret { name, scope } => Ok((self.secret(&name, scope.as_deref())?, Vec::new())),
                Ask::CompleteSecret { name } => Ok((self.complete_secret(&name)?, Vec::new())),
                Ask::Fetch { method, url, headers, redirect, has_body } => {
                    if self.fetches.fetch_add(1, Ordering::Relaxed) >= MAX_FETCHES {
                        return Err(format!("a call may fetch {MAX_FETCHES} times"));
                    }
                    let body = has_body.then_some(body);
                    fetch::fetch(&self.app.upstreams, Wanted { method, url, headers, redirect, body }).await
                }
            }
        })
    }

    fn log(&self, level: u8, text: String) {
        let text = self.masked(text);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push((level, text));
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn of_a_secret_that_begins_with_another_nothing_is_left() {
        let secrets = [("A", "postgres://db"), ("B", "postgres://db/with-more"), ("C", "abc")];
        let shown = masked("postgres://db/with-more postgres://db abc".to_owned(), secrets.into_iter());
        assert_eq!(shown, "[secret B] [secret A] abc", "what is too short stays");
    }
}
