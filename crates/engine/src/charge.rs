//! What a request that is let in takes of rate limits and quota: from all of them, or from none.

use jiff::Timestamp;
use keyrack_core::standing::QuotaStanding;
use keyrack_core::{Decision, Reason, Standing};

use crate::engine::Engine;
use crate::limits::{Applicable, Room, Wish};
use crate::patience::Patience;
use crate::quota::Account;
use crate::verify::Verdict;
use crate::{Error, Result};

/// What a request takes of limits and quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charge {
    /// Nothing, and it is not held to them: management.
    Nothing,
    /// So many units.
    Units(u32),
    /// Nothing; it is only asked whether so many units would be given.
    Peek(u32),
}

/// What is asked of limits and quota, and what was found out on the way.
pub(crate) struct Purse {
    charge: Charge,
    /// The quota, read from the database for a look.
    read: Option<Option<QuotaStanding>>,
    /// The database had too few units left.
    is_exhausted: bool,
    /// The database was asked about rate limits, for a look.
    has_looked: bool,
    waits_left: u16,
}

/// What comes of a try to pay.
enum Payment {
    /// It is made, or refused; with how the quota stands then.
    Settled(Option<QuotaStanding>, Option<Reason>),
    /// This process holds too little, and has to ask the database first.
    Ask(About),
}

/// What the database has to be asked about.
enum About {
    Windows,
    Quota,
}

impl Purse {
    pub(crate) fn new(charge: Charge) -> Self {
        Self { charge, read: None, is_exhausted: false, has_looked: false, waits_left: 10_000 }
    }

    fn units(&self) -> Option<u32> {
        match self.charge {
            Charge::Nothing => None,
            Charge::Units(units) | Charge::Peek(units) => Some(units),
        }
    }

    fn is_peek(&self) -> bool {
        matches!(self.charge, Charge::Peek(_))
    }

    /// Others may be quicker to spend what was fetched, but not for ever.
    fn wait(&mut self) -> Result<()> {
        let left = self.waits_left.checked_sub(1);
        self.waits_left = left.ok_or(Error::Unavailable("too many want the last units at once", None))?;
        Ok(())
    }
}

impl Engine {
    /// Takes what a grant costs from all limits and the quota, or from none of them and refuses. Where this process holds too
    /// little it waits for the database; then it comes back without a verdict, and everything has to be decided again.
    pub(crate) async fn charge(
        &self,
        mut verdict: Verdict,
        purse: &mut Purse,
        now: Timestamp,
    ) -> Result<Option<Verdict>> {
        let Some(units) = purse.units() else { return Ok(Some(verdict)) };
        let Some(key) = verdict.admitted() else { return Ok(Some(verdict)) };
        let account = self.account(&key.tenant);
        let shared = self.store.is_shared().then_some(&self.windows);
        let mut limits = Applicable::new(key.limits(), shared, || self.clock.uptime());
        let (quota, refused) = match self.pay(&account, limits.as_mut(), purse, units, now) {
            Payment::Settled(quota, refused) => (quota, refused),
            Payment::Ask(about) => {
                purse.wait()?;
                match (about, &limits) {
                    (About::Windows, Some(limits)) => Box::pin(self.ask_for_windows(limits, purse, units)).await?,
                    _ => Box::pin(self.ask_for_quota(&account, purse, units, now)).await?,
                }
                return Ok(None);
            }
        };
        let windows = limits.map(|limits| limits.standing(if refused.is_some() { units } else { 0 }));
        let windows = windows.unwrap_or_default();
        let retry_after = match refused {
            Some(Reason::RateLimited) => {
                windows.iter().filter(|window| window.remaining < units).map(|window| window.more_in).max()
            }
            Some(_) => quota.and_then(|quota| quota.resets_at.duration_since(now).try_into().ok()),
            None => None,
        };
        if let Some(reason) = refused {
            verdict.decision = Decision::Deny(reason);
        }
        verdict.standing = Some(Box::new(Standing { quota, windows, retry_after }));
        Ok(Some(verdict))
    }

    /// Pays from what this process holds, or looks whether it could. Nothing is taken, not even for a moment, by a request that
    /// has to wait.
    fn pay(
        &self,
        account: &Account<'_>,
        mut limits: Option<&mut Applicable<'_>>,
        purse: &Purse,
        units: u32,
        now: Timestamp,
    ) -> Payment {
        let (held, has) = account.look(units, now);
        let takes = has && !purse.is_peek();
        let room = match &mut limits {
            None => Room::Enough,
            Some(limits) if takes => limits.take(units),
            Some(limits) => limits.room(units),
        };
        if room == Room::Unknown && !purse.has_looked {
            return Payment::Ask(About::Windows);
        }
        // A look does not keep what it was told of, and answers by that.
        let seems_too_little = || limits.as_ref().is_some_and(|limits| !limits.seem_enough(units));
        if room == Room::TooLittle || room == Room::Unknown && seems_too_little() {
            return Payment::Settled(held, Some(Reason::RateLimited));
        }
        if purse.is_peek() {
            let Some(standing) = has.then_some(held).or(purse.read) else { return Payment::Ask(About::Quota) };
            let is_enough = standing.is_none_or(|standing| standing.remaining >= units.into());
            return Payment::Settled(standing, (!is_enough).then_some(Reason::QuotaExceeded));
        }
        if !takes && purse.is_exhausted {
            return Payment::Settled(held, Some(Reason::QuotaExceeded));
        }
        if let Some(spent) = takes.then(|| self.spend(account, units, now)).flatten() {
            return Payment::Settled(spent.standing, None);
        }
        if let Some(limits) = limits {
            limits.give_back();
        }
        Payment::Ask(About::Quota)
    }

    /// Asks the database about those rate limits of which this process holds too little. One wait for all of them.
    async fn ask_for_windows(&self, limits: &Applicable<'_>, purse: &mut Purse, units: u32) -> Result<()> {
        purse.has_looked = purse.is_peek();
        let wish = if purse.is_peek() { Wish::Look(units) } else { Wish::Units(units) };
        let until = Patience::until();
        for (window, limit) in limits.unknown(units) {
            self.ask_for_window(window, limit, wish, until).await?;
        }
        Ok(())
    }

    /// Fetches units of a quota of which this process holds too few; for a look it only reads how it stands.
    async fn ask_for_quota(&self, account: &Account<'_>, purse: &mut Purse, units: u32, now: Timestamp) -> Result<()> {
        if purse.is_peek() {
            purse.read = Some(self.look_up_quota(account, now).await?.standing());
        } else {
            purse.is_exhausted = !self.fetch_units(account, units, now).await?;
        }
        Ok(())
    }
}
