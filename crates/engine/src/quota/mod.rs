//! What organizations may still spend of their monthly quotas, as far as this process holds it.
//!
//! Units come from the database in blocks and are spent from memory. Nothing is spent that was not granted there first, so no
//! crash grants a unit twice; what is not spent goes back.

mod block;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use keyrack_core::standing::QuotaStanding;
use keyrack_core::{Month, OrganizationId, quota};
use keyrack_store::{QuotaCount, Writer};
use tokio::sync::Notify;
use tokio::time::Instant;

use block::Block;
pub(crate) use block::Quota;

use crate::actor::Context;
use crate::directory::{Directory, Tenant};
use crate::engine::{Engine, Role};
use crate::patience::Patience;
use crate::serving::every;
use crate::{Error, Result};

/// How often it is looked which blocks lie idle.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
/// How long a quota of which the database had nothing left is not asked for again: other processes may give some back. In
/// microseconds.
const ASK_AGAIN: i64 = 250_000;

/// A quota and what has been used of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaUse {
    /// The month.
    pub month: Month,
    /// Units of a month; `None` for no limit.
    pub limit: Option<u64>,
    /// Units used, with those that other processes hold.
    pub used: u64,
    /// When the next month begins.
    pub resets_at: Timestamp,
}

impl QuotaUse {
    /// The limit and what has been used of it; `None` without a limit.
    pub(crate) fn limit_and_used(&self) -> Option<(u64, u64)> {
        self.limit.map(|limit| (limit, self.used))
    }

    /// How it stands; `None` without a limit.
    pub(crate) fn standing(&self) -> Option<QuotaStanding> {
        let limit = self.limit?;
        Some(QuotaStanding { limit, remaining: limit.saturating_sub(self.used), resets_at: self.resets_at })
    }
}

/// Which organizations this process holds units of.
#[derive(Default)]
pub(crate) struct Quotas {
    held: Mutex<BTreeSet<OrganizationId>>,
    wanted: Mutex<Vec<OrganizationId>>,
    called: Notify,
}

impl Quotas {
    fn hold(&self, organization: OrganizationId) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(organization);
    }

    fn want(&self, organization: OrganizationId) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).push(organization);
        self.called.notify_one();
    }

    /// Gives up whatever is held, without giving it back: it may be of another life of the database.
    pub(crate) fn drop_all(&self, directory: &Directory) {
        for organization in self.all_held() {
            if let Some(tenant) = directory.tenant(organization) {
                tenant.quota.forget();
            }
        }
    }

    fn take_wanted(&self) -> Vec<OrganizationId> {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets an organization, unless it holds something again.
    fn let_go(&self, organization: OrganizationId, quota: &Quota) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if quota.block.load().is_none() && quota.owed.load(Ordering::Acquire) == 0 {
            held.remove(&organization);
        }
    }

    fn all_held(&self) -> Vec<OrganizationId> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// Units that were spent.
#[derive(Clone, Copy)]
pub(crate) struct Spent {
    /// How the quota stands then, if there is one.
    pub(crate) standing: Option<QuotaStanding>,
}

/// An organization's quota at a moment.
pub(crate) struct Account<'q> {
    pub(crate) organization: OrganizationId,
    pub(crate) quota: &'q Quota,
    /// `None` for no limit.
    pub(crate) limit: Option<u64>,
}

impl Account<'_> {
    /// How the quota stands as far as this process knows, and whether it holds so many units of it.
    pub(crate) fn look(&self, units: u32, now: Timestamp) -> (Option<QuotaStanding>, bool) {
        let Some(limit) = self.limit else { return (None, true) };
        self.quota.look(limit, units, now).map_or((None, false), |(standing, has)| (Some(standing), has))
    }
}

impl Engine {
    /// Spends units of a quota that this process holds. `None` if more have to be fetched first.
    pub(crate) fn spend(&self, account: &Account<'_>, units: u32, now: Timestamp) -> Option<Spent> {
        let Some(limit) = account.limit else {
            if account.quota.owed.fetch_add(units.into(), Ordering::AcqRel) == 0 {
                self.quotas.hold(account.organization);
            }
            return Some(Spent { standing: None });
        };
        let (spent, is_low) = account.quota.spend(limit, units, now)?;
        if is_low {
            self.quotas.want(account.organization);
        }
        Some(spent)
    }

    /// Fetches units until so many are held; false if the quota has no more. Others that want the same wait.
    pub(crate) async fn fetch_units(&self, account: &Account<'_>, units: u32, now: Timestamp) -> Result<bool> {
        if account.limit.is_none() {
            return Ok(true);
        }
        let myself = self.myself.get().and_then(Weak::upgrade).ok_or(Error::internal("the engine is gone"))?;
        let (organization, until) = (account.organization, Patience::until());
        let fetching = async move { myself.fetch_for(organization, units, now, until).await };
        account.quota.patience.wait(self, until, fetching).await
    }

    async fn fetch_for(
        &self,
        organization: OrganizationId,
        units: u32,
        now: Timestamp,
        until: Instant,
    ) -> Result<bool> {
        let tenant = self.directory.tenant(organization).ok_or(Error::NotFound("organization"))?;
        let account = self.account(&tenant);
        let (quota, Some(limit)) = (account.quota, account.limit) else { return Ok(true) };
        let _turn = quota.patience.turn(Some(until)).await?;
        if let Some((_, has)) = quota.look(limit, units, now)
            && (has || self.was_in_vain(quota))
        {
            return Ok(has);
        }
        Box::pin(self.fetch_block(&account, limit, units, now)).await
    }

    /// Fetches a block before the one that is held is spent.
    async fn fetch_ahead(&self, account: &Account<'_>) -> Result<()> {
        let quota = account.quota;
        quota.wanted.store(false, Ordering::Release);
        let Some(limit) = account.limit else { return Ok(()) };
        let _turn = quota.patience.turn(None).await?;
        if !self.was_in_vain(quota) {
            Box::pin(self.fetch_block(account, limit, 0, self.now())).await?;
        }
        Ok(())
    }

    /// Whether the database had nothing left just now.
    fn was_in_vain(&self, quota: &Quota) -> bool {
        self.clock.uptime() < quota.in_vain_until.load(Ordering::Acquire)
    }

    /// Takes a block from the database, and writes down what the organization owes.
    async fn fetch_block(&self, account: &Account<'_>, limit: u64, units: u32, now: Timestamp) -> Result<bool> {
        let Account { organization, quota, .. } = *account;
        self.calendar.check()?;
        let month = Month::of(now);
        let (mut writer, (count, is_new)) = self.lock_quota(organization, month).await?;
        let nodes = writer.count_nodes().await?;
        let before = quota.block.load_full();
        let is_of_now = |b: &Block| b.fits(limit, now) && b.month == month && b.epoch == count.epoch;
        let kept = before.as_ref().filter(|block| is_of_now(block) && !block.is_closed());
        let owed = self.take_owed(quota).await?;
        let mut granted = count.granted.saturating_add(u64::try_from(owed).unwrap_or(0));
        if let Some(other) = before.as_ref().filter(|_| kept.is_none()) {
            let unspent = other.close();
            writer.return_units(organization, other.month, other.epoch, unspent).await?;
            if (other.month, other.epoch) == (month, count.epoch) {
                granted = granted.saturating_sub(unspent);
            }
        }
        let held = kept.map_or(0, |block| u64::try_from(block.unspent.load(Ordering::Acquire)).unwrap_or(0));
        let lacking = u64::from(units).saturating_sub(held);
        let left = limit.saturating_sub(granted);
        // Who only makes a call or two takes no more than it needs.
        let block = if self.role == Role::Server { quota::block(limit, granted, nodes) } else { 0 };
        let taken = if lacking > left { 0 } else { block.max(lacking).min(left) };
        writer.grant_units(organization, month, count.epoch, taken + u64::try_from(owed).unwrap_or(0)).await?;
        if let Err(error) = writer.commit_quota(is_new.then(|| month.start())).await {
            // Whether it was written is not known. Units that may be granted are not spent; what is owed is owed still.
            quota.owed.fetch_add(owed, Ordering::AcqRel);
            return Err(error.into());
        }
        if is_new {
            self.calendar.raise(month.start());
        }
        self.quotas.hold(organization);
        match kept {
            Some(block) => block.add(granted, taken),
            None => quota.install(Arc::new(Block::new((month, count.epoch), limit, granted, taken))),
        }
        if left == 0 {
            quota.in_vain_until.store(self.clock.uptime() + ASK_AGAIN, Ordering::Release);
        }
        Ok(taken >= lacking)
    }

    /// What is spent and not written down, while nobody else can set the counter. If somebody has, just now, that is learnt first:
    /// what was spent before is in what they have set.
    async fn take_owed(&self, quota: &Quota) -> Result<i64> {
        if quota.owed.load(Ordering::Acquire) == 0 {
            return Ok(0);
        }
        self.catch_up().await?;
        Ok(quota.owed.swap(0, Ordering::AcqRel))
    }

    /// A transaction in which nobody else changes the counter of a month; and whether nothing was ever granted of it.
    async fn lock_quota(&self, organization: OrganizationId, month: Month) -> Result<(Writer, (QuotaCount, bool))> {
        let mut writer = self.store.write(&[]).await?;
        let count = writer.lock_quota(organization, month).await?;
        Ok((writer, count))
    }

    /// Fetches blocks ahead, gives idle ones back and writes down what unlimited organizations have used.
    pub(crate) async fn keep_quotas(&self) {
        let mut sweep = every(SWEEP);
        loop {
            tokio::select! {
                () = self.quotas.called.notified() => self.fetch_wanted().await,
                _ = sweep.tick() => self.settle_quotas(false).await,
            }
        }
    }

    async fn fetch_wanted(&self) {
        for organization in self.quotas.take_wanted() {
            let Some(tenant) = self.directory.tenant(organization) else { continue };
            if let Err(error) = self.fetch_ahead(&self.account(&tenant)).await {
                tracing::warn!(%error, %organization, "units of a quota could not be fetched ahead");
            }
        }
    }

    /// Gives back what lies idle, or all there is, and writes down what is owed.
    pub(crate) async fn settle_quotas(&self, all: bool) {
        for organization in self.quotas.all_held() {
            let Some(tenant) = self.directory.tenant(organization) else { continue };
            match self.settle_quota(organization, &tenant.quota, all).await {
                Ok(true) => {}
                Ok(false) => self.quotas.let_go(organization, &tenant.quota),
                Err(error) => tracing::warn!(%error, %organization, "what is left of a quota could not be given back"),
            }
        }
    }

    /// False if nothing is held any more.
    async fn settle_quota(&self, organization: OrganizationId, quota: &Quota, all: bool) -> Result<bool> {
        let _turn = quota.patience.turn(None).await?;
        let block = quota.block.load_full();
        let idle = block.as_ref().filter(|block| block.is_idle() || all);
        let is_owing = quota.owed.load(Ordering::Acquire) > 0;
        if idle.is_none() && !is_owing {
            return Ok(block.is_some());
        }
        let month = idle.map_or(Month::of(self.now()), |block| block.month);
        let (mut writer, (count, is_new)) = self.lock_quota(organization, month).await?;
        let owed = self.take_owed(quota).await?;
        // From here on nobody spends any of it: what may have been given back must not be spent too.
        if let Some(block) = idle {
            quota.block.store(None);
            writer.return_units(organization, month, block.epoch, block.close()).await?;
        }
        writer.grant_units(organization, month, count.epoch, u64::try_from(owed).unwrap_or(0)).await?;
        if let Err(error) = writer.commit_quota(is_new.then(|| month.start())).await {
            quota.owed.fetch_add(owed, Ordering::AcqRel);
            return Err(error.into());
        }
        self.calendar.raise(month.start());
        Ok(idle.is_none())
    }

    /// An organization's quota as its tier has it now.
    pub(crate) fn account<'t>(&self, tenant: &'t Tenant) -> Account<'t> {
        let Tenant { organization, quota, .. } = tenant;
        Account { organization: organization.id, quota, limit: self.tiers.load().limit(organization.tier) }
    }

    /// What the organization of a context has used of its quota this month.
    pub async fn quota_use(&self, ctx: &Context) -> Result<QuotaUse> {
        let tenant = self.tenant(ctx)?;
        self.read_quota(&self.account(&tenant), self.now(), None).await
    }

    /// The same on behalf of a request that waits, and not for ever.
    pub(crate) async fn look_up_quota(&self, account: &Account<'_>, now: Timestamp) -> Result<QuotaUse> {
        let myself = self.myself.get().and_then(Weak::upgrade).ok_or(Error::internal("the engine is gone"))?;
        let (organization, until) = (account.organization, Patience::until());
        let reading = async move {
            let tenant = myself.directory.tenant(organization).ok_or(Error::NotFound("organization"))?;
            myself.read_quota(&myself.account(&tenant), now, Some(until)).await
        };
        account.quota.patience.wait(self, until, reading).await
    }

    /// The same from the database, with what this process holds.
    pub(crate) async fn read_quota(
        &self,
        account: &Account<'_>,
        now: Timestamp,
        until: Option<Instant>,
    ) -> Result<QuotaUse> {
        let Account { organization, quota, limit } = *account;
        let month = Month::of(now);
        let _turn = quota.patience.turn(until).await?;
        let count = self.reader().await?.find_quota(organization, month).await?;
        let block = quota.block.load_full();
        let block = block.filter(|block| (block.month, block.epoch) == (month, count.epoch));
        let held = block.map_or(0, |block| block.unspent.load(Ordering::Acquire).max(0));
        let owed = quota.owed.load(Ordering::Acquire);
        let used = i64::try_from(count.granted).unwrap_or(i64::MAX) - held + owed;
        Ok(QuotaUse { month, limit, used: u64::try_from(used).unwrap_or(0), resets_at: month.next().start() })
    }
}
