//! From a credential to a decision.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arc_swap::Guard as Guarded;
use compact_str::CompactString;
use jiff::Timestamp;
use keyrack_core::carrier::Carried;
use keyrack_core::decide::{Caller, KeyFacts, Place, Request, SessionFacts};
use keyrack_core::standing::{Owner, Standing};
use keyrack_core::status::End;
use keyrack_core::token::Claims;
use keyrack_core::{Decision, Grant, Guard, KeyDigest, Reason, TextHash, decide, slow};
use keyrack_core::{OrganizationId, SessionId, UserId};

use crate::charge::{Charge, Purse};
use crate::directory::Tenant;
use crate::engine::Engine;
use crate::keyring::{Found, LookUp};
use crate::limits::{Holder, Limits};
use crate::settings::Unmet;
use crate::usage::{Call, seen};
use crate::{Error, Result};

/// What a door makes of a request before it asks.
pub struct Presented<'r> {
    /// The credential it carries.
    pub credential: Carried<'r>,
    /// A live session, where the door takes sessions. It wins over any credential.
    pub session: Option<Person>,
    /// The HTTP method.
    pub method: &'r str,
    /// Where it came from; `None` if the question did not say (the verify API).
    pub address: Option<IpAddr>,
    /// The workspace of the door.
    pub place: Place,
    /// What of the key's limits and quota it takes if it is let in.
    pub charge: Charge,
    /// What is noted of it beside.
    pub call: Call<'r>,
}

/// A person with a live session, seen in the organization that the request is about.
#[derive(Clone, Debug)]
pub struct Person {
    /// The session.
    pub session: SessionId,
    /// Who.
    pub user: UserId,
    /// Their e-mail address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Whether they have entered the password again lately.
    pub has_stepped_up: bool,
    /// Whether they may act on the instance as a whole.
    pub is_instance_admin: bool,
    /// The organization.
    pub organization: OrganizationId,
    /// Their role there; `None` for no member, and while the session does not meet its rules.
    pub role: Option<keyrack_core::Role>,
    /// Which rule of the organization the session does not meet.
    pub unmet: Option<Unmet>,
}

/// A decision, and whom it is about.
pub struct Verdict {
    /// Let in or kept out.
    pub decision: Decision,
    /// How limits and quota stand, if they were looked at.
    pub standing: Option<Box<Standing>>,
    candidate: Option<Candidate>,
}

/// The key at the place of what was presented. Nothing is done with it that depends on whether it is the key: that would take
/// another time.
pub(crate) struct Candidate {
    key: KnownKey,
    matches: bool,
}

impl Candidate {
    /// One that is known for sure.
    pub(crate) fn of(key: KnownKey) -> Self {
        Self { key, matches: true }
    }

    fn facts(&self) -> KeyFacts<'_> {
        KeyFacts { secret_matches: self.matches, ..self.key.facts() }
    }

    /// The key, if it is the one.
    pub(crate) fn known(self) -> Option<KnownKey> {
        self.matches.then_some(self.key)
    }
}

/// A key with the organization it belongs to, as both were at the moment of the decision.
pub struct KnownKey {
    /// The key.
    pub record: Found,
    /// Its organization.
    pub tenant: Guarded<Arc<Tenant>>,
    /// What was presented of it, if not the key itself.
    pub(crate) token: Option<Arc<Claims>>,
}

impl KnownKey {
    /// Everything [`decide`] asks of a key.
    pub fn facts(&self) -> KeyFacts<'_> {
        let profile = &self.record.profile;
        KeyFacts {
            secret_matches: true,
            key: self.record.key,
            group: profile.group,
            organization: self.tenant.organization.id,
            organization_state: self.tenant.organization.state,
            in_access_group: self.tenant.is_access_group(profile.group),
            workspace: profile.workspace,
            switch: self.record.switch,
            expires_at: self.record.expires_at,
            secret_expires_at: self.secret_expires_at(),
            scopes: &profile.scopes,
            narrowed_to: self.token.as_ref().and_then(|token| token.scopes.as_ref()),
            ip_allowlist: self.record.ip_allowlist(),
        }
    }

    /// From when on what was presented is not taken, be the key still good.
    fn secret_expires_at(&self) -> End {
        let of_token = self.token.as_ref().map(|token| token.expires_at);
        let ends = [self.record.secret_expires_at.moment(), of_token];
        if of_token.is_none() { self.record.secret_expires_at } else { ends.into_iter().flatten().min().into() }
    }

    /// Whether a token was presented, and not the key itself.
    pub fn is_token(&self) -> bool {
        self.token.is_some()
    }

    /// What it may do, as far as what was presented may.
    pub fn scope_names(&self) -> Vec<CompactString> {
        match self.token.as_ref().and_then(|token| token.scopes.as_ref()) {
            Some(narrower) => {
                let scopes = self.record.profile.scopes.intersection(narrower);
                scopes.to_strings().into_iter().map(CompactString::from).collect()
            }
            None => self.record.profile.scope_names.to_vec(),
        }
    }

    /// The rate limits that it is held to.
    pub(crate) fn limits(&self) -> [Holder<'_>; 3] {
        static NONE: LazyLock<Limits> = LazyLock::new(Limits::default);
        let (group, organization) = (self.record.profile.group, self.tenant.organization.id);
        [
            (Owner::Key, self.record.key.0, self.record.limits()),
            (Owner::Group, group.0, self.tenant.limits_of(group).unwrap_or(&NONE)),
            (Owner::Organization, organization.0, &self.tenant.limits),
        ]
    }

    /// The name of its group.
    pub fn group_name(&self) -> &str {
        self.tenant.groups.get(&self.record.profile.group).map_or("", |group| &group.name)
    }

    /// The slug of its workspace.
    pub fn workspace_slug(&self) -> Option<&str> {
        let workspace = self.record.profile.workspace?;
        self.tenant.workspaces.get(&workspace).map(|w| &*w.slug)
    }
}

impl Engine {
    /// Decides whether whoever presents this passes the guard now, and notes that. Only a slow secret that has not been presented
    /// since the start waits for anything: for its hash.
    pub async fn verify(&self, guard: &Guard, presented: &Presented<'_>) -> Result<Verdict> {
        let (verdict, now) = self.judge_and_charge(guard, presented).await?;
        let p = presented;
        if let Some(seen) = seen(&verdict, now, p.charge, p.method, p.address, &p.call) {
            self.usage.note(seen);
        }
        Ok(verdict)
    }

    /// A decision, and the moment it was made for.
    pub(crate) async fn judge_and_charge(
        &self,
        guard: &Guard,
        presented: &Presented<'_>,
    ) -> Result<(Verdict, Timestamp)> {
        let mut purse = Purse::new(presented.charge);
        loop {
            self.require_serving()?;
            let now = self.now();
            let verdict = self.judge(guard, presented, now).await?;
            if let Some(verdict) = self.charge(verdict, &mut purse, now).await? {
                // Looked at again, by clocks read anew: this process may have been suspended with the decision half made.
                self.require_serving()?;
                return Ok((verdict, now));
            }
            // It has waited for units, and things may have changed meanwhile.
        }
    }

    async fn judge(&self, guard: &Guard, presented: &Presented<'_>, now: Timestamp) -> Result<Verdict> {
        let request = Request { method: presented.method, address: presented.address, place: presented.place };
        if let Some(person) = presented.session.as_ref().filter(|_| guard.sessions) {
            let decision = decide(guard, Caller::Session(self.session_facts(person)), &request, now);
            return Ok(Verdict::about_nobody(decision));
        }
        let candidate = match &presented.credential {
            Carried::Nothing => return Ok(Verdict::about_nobody(decide(guard, Caller::Anonymous, &request, now))),
            // At a public door such an `Authorization` is between the caller and the target.
            Carried::Foreign if guard.public => {
                return Ok(Verdict::about_nobody(decide(guard, Caller::Anonymous, &request, now)));
            }
            Carried::Foreign | Carried::Malformed => None,
            Carried::Token(text) => self.identify_token(text, now),
            Carried::Key(text) => self.identify(text, now).await?,
        };
        let Some(candidate) = candidate else {
            return Ok(Verdict::about_nobody(decide(guard, Caller::Unknown, &request, now)));
        };
        let decision = decide(guard, Caller::Key(candidate.facts()), &request, now);
        Ok(Verdict { decision, standing: None, candidate: Some(candidate) })
    }

    /// Fails while this process may not decide. Asked again before a verdict is given out, and before the first look into memory on behalf of a request: whoever is
    /// let go on then sent the request before any change was answered that memory does not know.
    pub fn require_serving(&self) -> Result<()> {
        if self.is_serving() {
            return Ok(());
        }
        self.calendar.check()?;
        Err(Error::Unavailable("this node does not know whether what it holds in memory is still so", None))
    }

    /// The key at the place of a text, if it could be one. Junk ends here before anything is looked up; nothing else does,
    /// and every pepper is tried whichever is the key's.
    pub(crate) async fn identify(&self, text: &str, now: Timestamp) -> Result<Option<Candidate>> {
        if !self.directory.could_be_key(text) {
            return Ok(None);
        }
        let hash = TextHash::of(text);
        let (mut candidate, mut current) = (None, None);
        let known = self.peppers.known();
        // While keys move, the one in use is looked at once more: it may have come there just after it was not, and have gone from
        // where it was just before that was looked at.
        let again = known.first().filter(|_| known.len() > 1);
        for pepper in known.iter().chain(again) {
            let digest = pepper.digest(&hash);
            let (pepper, current) = *current.get_or_insert((pepper.id(), digest));
            let mut look_up = self.keyring.find(&digest);
            if let Some(slow_hash) = look_up.slow_hash.take() {
                // Kept apart in memory too: nearly nobody comes here, and everybody would carry it along.
                look_up = Box::pin(self.prove(look_up, slow_hash, hash.clone(), &digest, now)).await?;
            }
            if look_up.matches && digest.locator() != current.locator() && !look_up.found.is_over(now) {
                self.peppers.note_old_use(look_up.found.redigest(digest, (pepper, current)));
            }
            if candidate.is_none() || look_up.matches {
                candidate = Some(look_up);
            }
        }
        Ok(candidate.map(|LookUp { found: record, matches, .. }| {
            let tenant = record.profile.tenant.load();
            Candidate { key: KnownKey { record, tenant, token: None }, matches }
        }))
    }

    /// Computes the slow hash of what was presented, and knows the secret by its digest from then on if it was right.
    async fn prove(
        &self,
        mut look_up: LookUp,
        slow_hash: Box<str>,
        hash: TextHash,
        digest: &KeyDigest,
        now: Timestamp,
    ) -> Result<LookUp> {
        if look_up.found.is_over(now) {
            // Refused in any case, and 8 bytes of a digest that only the pepper gives tell whose it is. The quarter of a
            // second that the hash takes would tell everybody that it is one.
            look_up.matches = true;
        } else if self.slow.run(move || slow::verify(&hash, &slow_hash)).await? {
            self.keyring.prove(&look_up.found, digest);
            // Looked up again: the key may have been revoked while the hash was computed.
            look_up = self.keyring.find(digest);
        }
        Ok(look_up)
    }

    fn session_facts(&self, person: &Person) -> SessionFacts {
        let tenant = self.directory.tenant(person.organization);
        let state = tenant.map_or(keyrack_core::OrganizationState::Deleted, |t| t.organization.state);
        SessionFacts { organization: person.organization, organization_state: state, role: person.role }
    }

    /// When a verdict's key stops working, the end of an overlap included.
    pub fn ends_at(key: &KnownKey) -> Option<Timestamp> {
        match (key.record.expires_at.moment(), key.secret_expires_at().moment()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Verdict {
    /// A decision about a caller without a key.
    pub(crate) fn about_nobody(decision: Decision) -> Self {
        Self { decision, standing: None, candidate: None }
    }

    /// A decision about a key of ours.
    pub(crate) fn about(key: KnownKey, decision: Decision) -> Self {
        Self { decision, standing: None, candidate: Some(Candidate { key, matches: true }) }
    }

    /// The key that was let in. Nothing that is refused goes one way or another by whether it is a key: the processor would
    /// guess that now rightly and now wrongly, and take longer for the one or the other.
    pub fn admitted(&self) -> Option<&KnownKey> {
        match self.decision {
            Decision::Grant(Grant::Key(_)) => self.key(),
            _ => None,
        }
    }

    /// The key at the place of what was presented, and whether it is the key.
    pub(crate) fn candidate(&self) -> Option<(&KnownKey, bool)> {
        self.candidate.as_ref().map(|candidate| (&candidate.key, candidate.matches))
    }

    /// The key, if the credential was one of ours. Present on denials too, for those entitled to know.
    pub fn key(&self) -> Option<&KnownKey> {
        self.candidate.as_ref().filter(|candidate| candidate.matches).map(|candidate| &candidate.key)
    }

    /// The key itself, if the credential was one of ours.
    pub fn into_key(self) -> Option<KnownKey> {
        self.candidate.and_then(Candidate::known)
    }

    /// Why not, if not.
    pub fn reason(&self) -> Option<Reason> {
        match self.decision {
            Decision::Deny(reason) => Some(reason),
            Decision::Grant(_) => None,
        }
    }
}
