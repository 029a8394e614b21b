//! Settings of an organization.

use std::collections::BTreeSet;

use keyrack_core::GroupId;
use keyrack_store::SubjectKind;

use crate::actor::Context;
use crate::engine::{Engine, Subject};
use crate::{Error, Result};

/// Which groups' keys may manage the organization.
pub(crate) const ACCESS_GROUPS: &str = "access_groups";

impl Engine {
    /// The groups whose keys may manage the organization, by name.
    pub fn access_groups(&self, ctx: &Context) -> Result<Vec<String>> {
        let tenant = self.tenant(ctx)?;
        let names = tenant.access_groups.iter().filter_map(|id| tenant.groups.get(id));
        Ok(names.map(|group| group.name.clone()).collect())
    }

    /// Sets the groups (by name or id) whose keys may manage the organization. With none, only people manage it. It makes
    /// every key of those groups an admin, so nobody below the role may do it.
    pub async fn set_access_groups(&self, ctx: &Context, groups: &[String]) -> Result<()> {
        let tenant = self.tenant(ctx)?;
        let mut ids = BTreeSet::new();
        for (at, name) in groups.iter().enumerate() {
            let group = tenant.group(name);
            ids.insert(group.ok_or_else(|| Error::invalid(format!("access_groups[{at}]"), "no such group"))?.id);
        }
        let (mut writer, authority) = self.begin(ctx).await?;
        if authority.role < keyrack_core::Role::Admin {
            return Err(Error::forbidden("insufficient_role", "only an admin sets access groups"));
        }
        self.check_groups_within(&mut writer, ctx, &ids, &authority).await?;
        writer.put_setting(ctx.organization, ACCESS_GROUPS, &serde_json::json!(ids), self.now()).await?;
        let subject = Subject {
            kind: SubjectKind::Setting,
            id: ctx.organization.0,
            name: ACCESS_GROUPS,
            data: serde_json::json!({ "groups": groups }),
        };
        let event = self.event(ctx, "setting.changed", subject)?;
        self.commit(writer, event).await.map(|_| ())
    }

    /// Keys of these groups would count as admins: no live one may be stronger than who makes them so.
    async fn check_groups_within(
        &self,
        writer: &mut keyrack_store::Writer,
        ctx: &Context,
        groups: &BTreeSet<GroupId>,
        authority: &keyrack_core::Authority,
    ) -> Result<()> {
        let tenant = self.tenant(ctx)?;
        for group in groups.difference(&tenant.access_groups) {
            for key in writer.keys_of_group(ctx.organization, *group, Some(self.now()), i64::MAX).await? {
                crate::actor::authority_of(&key, true).within(authority).map_err(crate::keys::too_strong)?;
            }
        }
        Ok(())
    }
}
