//! What organizations may use for what they pay.

use keyrack_core::Tier;
use keyrack_core::quota::MAX_UNITS;
use keyrack_store::{INSTANCE, Reader, SubjectKind};
use serde::{Deserialize, Serialize};

use crate::actor::Context;
use crate::engine::{Engine, Subject};
use crate::{Error, Result};

/// The setting of the instance that holds them.
const TIERS: &str = "tiers";
/// The event by which they change.
pub(crate) const TIERS_CHANGED: &str = "tiers.changed";

/// How many units an organization of each tier may use in a month; `None` for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tiers {
    free: Option<u64>,
    pro: Option<u64>,
    enterprise: Option<u64>,
}

impl Default for Tiers {
    fn default() -> Self {
        Self { free: Some(10_000), pro: Some(100_000), enterprise: None }
    }
}

impl Tiers {
    /// Units of a month.
    pub fn limit(&self, tier: Tier) -> Option<u64> {
        match tier {
            Tier::Free => self.free,
            Tier::Pro => self.pro,
            Tier::Enterprise => self.enterprise,
        }
    }

    fn limit_mut(&mut self, tier: Tier) -> &mut Option<u64> {
        match tier {
            Tier::Free => &mut self.free,
            Tier::Pro => &mut self.pro,
            Tier::Enterprise => &mut self.enterprise,
        }
    }

    /// As they stand in the database.
    async fn load(reader: &mut Reader) -> Result<Self> {
        let stored = reader.find_setting(INSTANCE, TIERS).await?;
        let stored = stored.map(serde_json::from_value).transpose();
        Ok(stored.map_err(|_| Error::internal("the setting tiers cannot be read"))?.unwrap_or_default())
    }
}

/// Reads the tiers into memory.
pub(crate) async fn load_tiers(engine: &Engine, reader: &mut Reader) -> Result<()> {
    engine.tiers.store(Tiers::load(reader).await?.into());
    Ok(())
}

impl Engine {
    /// What each tier may use.
    pub fn tiers(&self) -> Tiers {
        **self.tiers.load()
    }

    /// Sets how many units an organization of a tier may use in a month, from the next request on; `None` for no limit. A
    /// matter of the instance.
    pub async fn set_tiers(&self, ctx: &Context, limits: Vec<(Tier, Option<u64>)>) -> Result<()> {
        Self::only_instance_admin(ctx)?;
        if let Some((tier, _)) = limits.iter().find(|(_, limit)| limit.is_some_and(|limit| limit > MAX_UNITS)) {
            let field = format!("{}.monthly_limit", tier.as_str());
            return Err(Error::invalid(field, format!("must be 0 to {MAX_UNITS}, or null for no limit")));
        }
        // Of all organizations, so that two changes wait for each other.
        let (mut writer, _) = self.begin_beside(ctx, Some(INSTANCE)).await?;
        let before = Tiers::load(&mut writer).await?;
        let mut after = before;
        for (tier, limit) in limits {
            *after.limit_mut(tier) = limit;
        }
        if after == before {
            drop(writer);
            return self.settle_unchanged().await.map(drop);
        }
        writer.put_setting(INSTANCE, TIERS, &serde_json::json!(after), self.now()).await?;
        let data = serde_json::json!({ "before": before, "after": after });
        let subject = Subject { kind: SubjectKind::Setting, id: ctx.organization.0, name: TIERS, data };
        let event = self.event(ctx, TIERS_CHANGED, subject)?;
        self.commit(writer, event).await.map(drop)
    }
}
