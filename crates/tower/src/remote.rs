//! Asking a running keyrack.

use std::sync::Arc;
use std::time::Duration;

use keyrack_client::wire::{self, Verified, VerifyKey};
use keyrack_client::{Client, ClientError, HttpTransport};
use keyrack_core::carrier::Carried;
use keyrack_core::guard::Demand;
use keyrack_core::standing::{Owner, QuotaStanding, Standing, WindowStanding};
use keyrack_core::{GroupId, KeyId, OrganizationId, RateLimit, Reason, Refusal, Role, Tier, WorkspaceId};
use tokio::sync::OnceCell;

use crate::arrival::Arrival;
use crate::body::Note;
use crate::door::{Decided, Undecided};
use crate::grant::{Billing, Grant, Granted, Group, Key, Organization, Workspace};
use crate::require::{RequireKey, SetupError};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// A keyrack that is asked.
#[derive(Clone)]
pub(crate) struct Remote {
    asked: Arc<Asked>,
    pub(crate) patience: Duration,
}

struct Asked {
    client: Client<HttpTransport>,
    /// The organization of the key that we ask with, once it is known. It never becomes another one.
    own: OnceCell<OrganizationId>,
}

/// What one door asks.
pub(crate) struct Guard {
    remote: Remote,
    any_organization: bool,
    public: bool,
    demand: Option<Demand>,
    groups: Option<Vec<String>>,
    roles: Option<Vec<wire::Role>>,
    workspace: Option<String>,
    units: u32,
}

impl Remote {
    pub(crate) fn new(url: &str, key: &str) -> Result<Self, ClientError> {
        let client = Client::new(HttpTransport::new(url)?, Some(key))?;
        Ok(Self { asked: Arc::new(Asked { client, own: OnceCell::new() }), patience: PATIENCE })
    }

    pub(crate) fn guard(&self, asked: RequireKey, any_organization: bool) -> Result<Guard, SetupError> {
        let (demand, units) = (asked.demand()?, asked.units()?);
        Ok(Guard {
            remote: self.clone(),
            any_organization,
            public: asked.public,
            demand,
            groups: asked.groups,
            roles: asked.roles.map(|roles| roles.into_iter().map(role_on_wire).collect()),
            workspace: asked.workspace,
            units,
        })
    }

    /// Asks within the time that there is.
    async fn ask(&self, question: &VerifyKey, any_organization: bool) -> Result<Verified, Undecided> {
        let asking = async {
            let own = if any_organization { None } else { Some(self.own().await?) };
            let answer = self.asked.client.verify_key(question).await?;
            // A key of an instance admin may ask about every organization's keys. Here they are unknown.
            let is_own = answer.organization.as_ref().is_none_or(|of| own.is_none_or(|own| own.0 == of.id));
            Ok::<_, ClientError>(if is_own { answer } else { unknown(answer) })
        };
        match tokio::time::timeout(self.patience, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the keyrack that is asked cannot say who may pass"
                );
                Err(Undecided::UNKNOWN)
            }
            Err(_) => {
                tracing::warn!(patience = ?self.patience, "the keyrack that is asked took too long");
                Err(Undecided::UNKNOWN)
            }
        }
    }

    /// The organization of the key that we ask with.
    async fn own(&self) -> Result<OrganizationId, ClientError> {
        let own = self.asked.own.get_or_try_init(|| async {
            let who = self.asked.client.session().await?;
            // A key always has one. A nil id is nobody's, so nobody would be let in.
            Ok::<_, ClientError>(OrganizationId(who.organization.map(|own| own.organization.id).unwrap_or_default()))
        });
        own.await.copied()
    }
}

/// The same answer, about a key that nobody knows.
fn unknown(answer: Verified) -> Verified {
    Verified { valid: false, code: Reason::WrongOrganization.code().into(), limits: None, ..answer }
}

impl Guard {
    pub(crate) async fn decide(&self, arrival: Arrival<'_>) -> Result<Decided, Undecided> {
        let text = match &arrival.credential {
            Carried::Key(text) | Carried::Token(text) => text.as_ref(),
            // At a public door such an `Authorization` is between the caller and the service.
            Carried::Nothing | Carried::Foreign if self.public => return Ok(decided(Ok(None), None)),
            Carried::Nothing | Carried::Foreign | Carried::Malformed => {
                return Ok(decided(Err(Refusal::UNAUTHORIZED), None));
            }
        };
        let answer = self.remote.ask(&self.question(text, &arrival), self.any_organization).await?;
        let standing = answer.limits.as_ref().map(standing).filter(|_| !self.public);
        if answer.valid {
            let grant =
                if self.public { None } else { Some(grant(answer, standing.as_ref()).ok_or(Undecided::UNKNOWN)?) };
            return Ok(decided(Ok(grant), standing));
        }
        match Reason::parse(&answer.code) {
            // A public door holds nobody to limits.
            Some(Reason::RateLimited | Reason::QuotaExceeded) if self.public => Ok(decided(Ok(None), None)),
            // Of a reason that we do not know yet, no more is told than that it is one.
            reason => {
                let refusal = reason.map_or(Refusal::UNAUTHORIZED, Reason::refusal);
                Ok(decided(Err(refusal), standing.filter(|_| refusal.status == 429)))
            }
        }
    }

    fn question(&self, text: &str, arrival: &Arrival<'_>) -> VerifyKey {
        let is_path = keyrack_core::path::check(arrival.endpoint.as_bytes()).is_ok();
        VerifyKey {
            key: text.to_owned(),
            scope: self.demand.as_ref().map(|demand| demand.scope(arrival.method).to_string()),
            workspace: self.workspace.clone(),
            groups: self.groups.clone(),
            roles: self.roles.clone(),
            method: Some(arrival.method.to_owned()),
            path: is_path.then(|| arrival.endpoint.to_owned()),
            ip: arrival.address.map(|address| address.to_string()),
            user_agent: arrival.user_agent.map(str::to_owned),
            cost: Some(self.units.into()),
            secrets: None,
            peek: self.public.then_some(true),
        }
    }
}

fn decided(outcome: Result<Option<Grant>, Refusal>, standing: Option<Standing>) -> Decided {
    // The keyrack that was asked has counted it already.
    Decided { outcome, standing: standing.map(Box::new), note: Note::default() }
}

fn role_on_wire(role: Role) -> wire::Role {
    match role {
        Role::Member => wire::Role::Member,
        Role::Admin => wire::Role::Admin,
        Role::Owner => wire::Role::Owner,
    }
}

fn role(role: wire::Role) -> Role {
    match role {
        wire::Role::Member => Role::Member,
        wire::Role::Admin => Role::Admin,
        wire::Role::Owner => Role::Owner,
    }
}

fn tier(tier: wire::Tier) -> Tier {
    match tier {
        wire::Tier::Free => Tier::Free,
        wire::Tier::Pro => Tier::Pro,
        wire::Tier::Enterprise => Tier::Enterprise,
    }
}

fn standing(limits: &wire::Limits) -> Standing {
    let window = |rate: &wire::RateStanding| {
        Some(WindowStanding {
            of: Owner::parse(&rate.of)?,
            limit: RateLimit::new(rate.limit.into(), rate.window_seconds.into()).ok()?,
            remaining: rate.remaining,
            more_in: Duration::from_secs(rate.reset_seconds),
        })
    };
    let quota = limits.quota.as_ref();
    Standing {
        quota: quota.map(|quota| QuotaStanding {
            limit: quota.limit,
            remaining: quota.remaining,
            resets_at: quota.resets_at,
        }),
        windows: limits.rate_limits.iter().filter_map(window).collect(),
        retry_after: limits.retry_after_seconds.map(Duration::from_secs),
    }
}

/// `None` if the answer does not say who it is about.
fn grant(answer: Verified, standing: Option<&Standing>) -> Option<Grant> {
    let (organization, key, group) = (answer.organization?, answer.key?, answer.group?);
    let billing = Billing::of(tier(organization.tier), standing.and_then(|standing| standing.quota));
    Some(Grant::new(Granted {
        organization: Organization { id: OrganizationId(organization.id), slug: organization.name, billing },
        workspace: answer.workspace.map(|workspace| Workspace { id: WorkspaceId(workspace.id), slug: workspace.name }),
        key: Key { id: KeyId(key.id), name: key.name, role: role(key.role), expires_at: key.expires_at },
        group: Group { id: GroupId(group.id), name: group.name },
        scopes: answer.scopes?,
    }))
}
