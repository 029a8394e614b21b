//! A request that is on its way through a door.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use keyrack_core::usage::{Label, Method, StatusClass, UNTIMED, latency_bucket};
use keyrack_core::{Decision, Grant, GroupId, KeyId};
use keyrack_store::UsageCounts;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Call, INSTANCE, Seen, Usage, user_agent};
use crate::Result;
use crate::charge::Charge;
use crate::engine::Engine;
use crate::verify::{Presented, Verdict};

/// A request that was decided about and is counted when it is answered, or given up: at the latest when this is dropped.
pub struct Visit {
    usage: Arc<Usage>,
    seen: Option<Seen>,
    begun: Instant,
}

impl Visit {
    /// It was answered with this status. What bodies came to can still be told.
    pub fn answered(&mut self, status: u16) {
        let Some(seen) = &mut self.seen else { return };
        let took = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        seen.label.status = StatusClass::of(status);
        seen.bucket = latency_bucket(took);
        seen.counts.micros = took;
        self.usage.note(seen.clone());
        // The request has been counted, and its use.
        seen.counts = UsageCounts::default();
        seen.is_use = false;
    }

    /// So many bytes of bodies came in and went out.
    pub fn carried(mut self, bytes_in: u64, bytes_out: u64) {
        if let Some(seen) = &mut self.seen {
            seen.counts.bytes_in += bytes_in;
            seen.counts.bytes_out += bytes_out;
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(seen) = self.seen.take().filter(|seen| seen.counts != UsageCounts::default()) {
            self.usage.note(seen);
        }
    }
}

impl Engine {
    /// Decides like [`Engine::verify`], for a door that tells how the request was answered.
    pub async fn visit(&self, guard: &keyrack_core::Guard, presented: &Presented<'_>) -> Result<(Verdict, Visit)> {
        let (verdict, now) = self.judge_and_charge(guard, presented).await?;
        let seen = seen(&verdict, now, presented.charge, presented.method, presented.address, &presented.call);
        Ok((verdict, Visit { usage: Arc::clone(&self.usage), seen, begun: Instant::now() }))
    }
}

/// What is to be noted of a decision; `None` if that is nothing: whoever came in at a public door, or as a person, and a look
/// that takes nothing.
pub(crate) fn seen(
    verdict: &Verdict,
    now: Timestamp,
    charge: Charge,
    method: &str,
    address: Option<IpAddr>,
    call: &Call<'_>,
) -> Option<Seen> {
    let (denial, is_use) = match (verdict.decision, charge) {
        (_, Charge::Peek(_)) | (Decision::Grant(Grant::Anonymous | Grant::Session(_)), _) => return None,
        (Decision::Deny(reason), _) => (Some(reason), false),
        (Decision::Grant(Grant::Key(_)), _) => (None, true),
    };
    let (requests, units) = match (denial, charge) {
        (Some(_), _) => (1, 0),
        (None, Charge::Units(units)) => (1, units.into()),
        (None, Charge::Nothing | Charge::Peek(_)) => (0, 0),
    };
    let nobody = (KeyId(Uuid::nil()), (0, false), GroupId(Uuid::nil()), None, INSTANCE, false);
    let at_its_place = verdict.candidate().map(|(key, matches)| {
        let profile = &key.record.profile;
        let organization = key.tenant.organization.id;
        let version = (key.record.version, key.record.secret_expires_at.moment().is_some());
        (key.record.key, version, profile.group, profile.workspace, organization, matches)
    });
    let (key, (version, is_old), group, workspace, organization, matches) = at_its_place.unwrap_or(nobody);
    Some(Seen {
        at: now,
        key,
        matches,
        version,
        group,
        workspace,
        organization,
        door: call.door.unwrap_or(INSTANCE),
        address,
        user_agent: user_agent(call.user_agent),
        label: Label {
            endpoint: call.endpoint.into(),
            method: Method::of(method),
            status: StatusClass::default(),
            denial,
        },
        bucket: UNTIMED,
        counts: UsageCounts { requests, units, ..UsageCounts::default() },
        is_use,
        is_old,
    })
}
