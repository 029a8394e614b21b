//! Questions about a key, for somebody else's door.

use std::collections::BTreeSet;
use std::net::IpAddr;

use keyrack_core::decide::{Caller, Place, Request};
use keyrack_core::guard::{Admitted, Audience, Demand};
use keyrack_core::usage::endpoint;
use keyrack_core::{Decision, Guard, Reason, Role, Scope, Timestamp, decide};

use crate::actor::Context;
use crate::charge::{Charge, Purse};
use crate::engine::Engine;
use crate::tokens::could_be_token;
use crate::usage::{Call, seen};
use crate::verify::{Candidate, KnownKey, Verdict};
use crate::{Error, Result};

/// May this key do this?
#[derive(Clone, Debug)]
pub struct Question<'q> {
    /// The text of the key.
    pub text: &'q str,
    /// The scope it must have.
    pub scope: Option<&'q str>,
    /// The workspace the request is about.
    pub workspace: Option<&'q str>,
    /// The groups of which it must be in one.
    pub groups: Option<&'q [String]>,
    /// The roles of which it must count as one.
    pub roles: Option<BTreeSet<Role>>,
    /// The method of the request.
    pub method: Option<&'q str>,
    /// The path of the request.
    pub path: Option<&'q str>,
    /// The address the request came from.
    pub address: Option<&'q str>,
    /// What the client calls itself.
    pub user_agent: Option<&'q str>,
    /// What of the key's limits and quota the request takes if it may be made.
    pub charge: Charge,
}

impl<'q> Question<'q> {
    /// Whether a key of this text is good for anything.
    pub fn about(text: &'q str) -> Self {
        Self {
            text,
            scope: None,
            workspace: None,
            groups: None,
            roles: None,
            method: None,
            path: None,
            address: None,
            user_agent: None,
            charge: Charge::Nothing,
        }
    }
}

impl Question<'_> {
    /// The scope and the address, if they can be read, and if the path can.
    fn read(&self) -> Result<(Option<Scope>, Option<IpAddr>)> {
        let scope = self.scope.map(str::parse::<Scope>).transpose().map_err(|e| Error::invalid("scope", e))?;
        let address = self.address.map(str::parse::<IpAddr>).transpose();
        let address = address.map_err(|_| Error::invalid("ip", "must be an IP address"))?;
        if let Some(path) = self.path {
            keyrack_core::path::check(path.as_bytes()).map_err(|e| Error::invalid("path", e))?;
        }
        Ok((scope, address))
    }
}

impl Engine {
    /// Decides about a key of the context's organization; an instance admin may ask about any organization's. What belongs
    /// to others is unknown here.
    pub async fn ask(&self, ctx: &Context, question: Question<'_>) -> Result<Verdict> {
        let mut purse = Purse::new(question.charge);
        loop {
            self.require_serving()?;
            let now = self.now();
            let verdict = self.answer(ctx, &question, now).await?;
            if let Some(verdict) = self.charge(verdict, &mut purse, now).await? {
                self.require_serving()?;
                self.note_answer(ctx, &question, &verdict, now);
                return Ok(verdict);
            }
        }
    }

    fn note_answer(&self, ctx: &Context, question: &Question<'_>, verdict: &Verdict, now: Timestamp) {
        let endpoint = question.path.map(endpoint).unwrap_or_default();
        let call = Call { endpoint: &endpoint, user_agent: question.user_agent, door: Some(ctx.organization) };
        let address = question.address.and_then(|address| address.parse().ok());
        let method = question.method.unwrap_or_default();
        if let Some(seen) = seen(verdict, now, question.charge, method, address, &call) {
            self.usage.note(seen);
        }
    }

    /// Whether a question can be asked: its answer may be no, but is no error. Nothing is taken, and nothing is counted.
    pub async fn check_question(&self, ctx: &Context, question: &Question<'_>) -> Result<()> {
        question.read()?;
        if question.groups.is_some() {
            // Which groups there are depends on whose key it is.
            self.require_serving()?;
            self.answer(ctx, question, self.now()).await?;
        }
        Ok(())
    }

    async fn answer(&self, ctx: &Context, question: &Question<'_>, now: Timestamp) -> Result<Verdict> {
        let (scope, address) = question.read()?;
        let any = ctx.actor.is_instance_admin();
        let candidate = match question.text {
            text if could_be_token(text) => self.identify_token(text, now),
            text => self.identify(text, now).await?,
        };
        let known = candidate.and_then(Candidate::known);
        let Some(key) = known.filter(|key| any || key.tenant.organization.id == ctx.organization) else {
            return Ok(Verdict::about_nobody(Decision::Deny(Reason::NotFound)));
        };
        let guard = Guard {
            admitted: question.groups.map(|groups| admitted(&key, groups)).transpose()?,
            demand: scope.map(Demand::Scope),
            roles: question.roles.clone(),
            ..Guard::new(if any { Audience::Any } else { Audience::Own(ctx.organization) })
        };
        let place = match question.workspace {
            None => Place::Unstated,
            Some(name) => key.tenant.workspace(name).map_or(Place::Elsewhere, |w| Place::In(w.id)),
        };
        let request = Request { method: question.method.unwrap_or("GET"), address, place };
        let decision = decide(&guard, Caller::Key(key.facts()), &request, now);
        Ok(Verdict::about(key, decision))
    }
}

/// Groups by name or id, in the organization of the key.
fn admitted(key: &KnownKey, groups: &[String]) -> Result<Admitted> {
    let mut ids = BTreeSet::new();
    for (at, name) in groups.iter().enumerate() {
        let group = key.tenant.group(name);
        ids.insert(group.ok_or_else(|| Error::invalid(format!("groups[{at}]"), "no such group"))?.id);
    }
    Ok(Admitted { groups: ids, ..Admitted::default() })
}
