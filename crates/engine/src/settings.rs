//! Settings of an organization.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use keyrack_core::{GroupId, OrganizationId, Role};
use keyrack_store::{NewEvent, Reader, Session, SubjectKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actor::{Actor, Context};
use crate::engine::{Engine, Subject};
use crate::sessions::SESSION_LENGTH;
use crate::{Error, Result};

/// Which groups' keys may manage the organization.
pub(crate) const ACCESS_GROUPS: &str = "access_groups";
/// What the organization asks of people who are signed in.
pub(crate) const SIGN_IN: &str = "sign_in";

/// What an organization asks of people who are signed in, beside what everybody is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SignInRules {
    /// Whether they need a second factor.
    pub second_factor: bool,
    /// After how many hours they have to sign in again, if that is sooner than for everybody.
    pub session_hours: Option<i64>,
}

/// A rule that a person's session does not meet. To the organization such a person is none of its members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmet {
    /// They have no second factor.
    SecondFactor,
    /// They have to sign in again.
    SignInAgain,
}

/// What to change of the settings; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct SettingsPatch {
    /// The groups, by name or id, whose keys may manage the organization. With none, only people manage it.
    pub access_groups: Option<Vec<String>>,
    /// Whether people need a second factor.
    pub second_factor: Option<bool>,
    /// After how many hours they have to sign in again; `Some(None)` for the usual.
    pub session_hours: Option<Option<i64>>,
}

impl Engine {
    /// The groups whose keys may manage the organization, by name.
    pub fn access_groups(&self, ctx: &Context) -> Result<Vec<String>> {
        let tenant = self.tenant(ctx)?;
        let names = tenant.access_groups.iter().filter_map(|id| tenant.groups.get(id));
        Ok(names.map(|group| group.name.clone()).collect())
    }

    /// What the organization asks of people who are signed in.
    pub fn sign_in_rules(&self, ctx: &Context) -> Result<SignInRules> {
        Ok(self.tenant(ctx)?.sign_in)
    }

    /// Sets the groups (by name or id) whose keys may manage the organization.
    pub async fn set_access_groups(&self, ctx: &Context, groups: &[String]) -> Result<()> {
        let patch = SettingsPatch { access_groups: Some(groups.to_vec()), ..SettingsPatch::default() };
        self.update_settings(ctx, patch).await
    }

    /// Changes settings, all of them or none. That makes every key of an access group an admin, and keeps people out who do not meet
    /// the rules, so nobody below the role may do it.
    pub async fn update_settings(&self, ctx: &Context, patch: SettingsPatch) -> Result<()> {
        let tenant = self.tenant(ctx)?;
        let mut ids = BTreeSet::new();
        for (at, name) in patch.access_groups.iter().flatten().enumerate() {
            let group = tenant.group(name);
            ids.insert(group.ok_or_else(|| Error::invalid(format!("access_groups[{at}]"), "no such group"))?.id);
        }
        let most = SESSION_LENGTH.as_hours();
        if patch.session_hours.flatten().is_some_and(|hours| !(1..=most).contains(&hours)) {
            return Err(Error::invalid("session_hours", format!("must be from 1 to {most}, or nothing for {most}")));
        }
        let (mut writer, authority) = self.begin(ctx).await?;
        if authority.role < Role::Admin {
            return Err(Error::forbidden("insufficient_role", "only an admin changes settings"));
        }
        let mut events = Vec::new();
        if let Some(names) = &patch.access_groups {
            self.check_groups_within(&mut writer, ctx, &ids, &authority).await?;
            writer.put_setting(ctx.organization, ACCESS_GROUPS, &json!(ids), self.now()).await?;
            events.push(self.setting_event(ctx, ACCESS_GROUPS, json!({ "groups": names }))?);
        }
        let known = writer.find_setting(ctx.organization, SIGN_IN).await?;
        let before = sign_in_rules(known)?;
        let rules = SignInRules {
            second_factor: patch.second_factor.unwrap_or(before.second_factor),
            session_hours: patch.session_hours.unwrap_or(before.session_hours),
        };
        if rules != before {
            if rules.second_factor && !before.second_factor {
                Self::keep_self_in(&mut writer, ctx).await?;
            }
            writer.put_setting(ctx.organization, SIGN_IN, &json!(rules), self.now()).await?;
            events.push(self.setting_event(ctx, SIGN_IN, json!({ "before": before, "after": rules }))?);
        }
        let mut events = events.into_iter();
        let Some(first) = events.next() else { return Ok(()) };
        self.commit_all(writer, first, events.collect()).await.map(drop)
    }

    fn setting_event(&self, ctx: &Context, name: &str, data: Value) -> Result<NewEvent> {
        self.event(ctx, "setting.changed", Subject { kind: SubjectKind::Setting, id: ctx.organization.0, name, data })
    }

    /// Who asks for a second factor has one.
    async fn keep_self_in(reader: &mut Reader, ctx: &Context) -> Result<()> {
        let Actor::User { id, .. } = &ctx.actor else { return Ok(()) };
        if reader.find_second_factor(*id).await?.is_some_and(|factor| factor.confirmed_at.is_some()) {
            return Ok(());
        }
        Err(Error::conflict("no_second_factor", "set up your own second factor first: you would keep yourself out"))
    }

    /// Which rule of an organization a session does not meet.
    pub(crate) async fn unmet(
        &self,
        reader: &mut Reader,
        organization: OrganizationId,
        session: &Session,
    ) -> Result<Option<Unmet>> {
        let Some(tenant) = self.directory.tenant(organization) else { return Ok(None) };
        let SignInRules { second_factor, session_hours } = tenant.sign_in;
        let age = self.now().duration_since(session.created_at);
        if session_hours.is_some_and(|hours| age >= SignedDuration::from_hours(hours)) {
            return Ok(Some(Unmet::SignInAgain));
        }
        if !second_factor {
            return Ok(None);
        }
        let factor = reader.find_second_factor(session.user).await?;
        let has_one = factor.is_some_and(|factor| factor.confirmed_at.is_some());
        Ok((!has_one).then_some(Unmet::SecondFactor))
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

/// Reads the rules as they are stored.
pub(crate) fn sign_in_rules(stored: Option<Value>) -> Result<SignInRules> {
    let read = stored.map(serde_json::from_value).transpose();
    Ok(read.map_err(|_| Error::internal("a setting cannot be read"))?.unwrap_or_default())
}
