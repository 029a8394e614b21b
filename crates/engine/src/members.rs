//! Members of an organization and invitations to it.

use jiff::SignedDuration;
use keyrack_core::{Authority, InvitationId, Role, UserId, name};
use keyrack_store::{Event, Invitation, Member, SubjectKind, UserAccount, Writer};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::actor::{Actor, Context};
use crate::engine::{Engine, Subject};
use crate::keys::Page;
use crate::letters::Content;
use crate::sessions::{Token, digest_of};
use crate::{Error, Result};

/// How long an invitation can be accepted.
const INVITATION_LENGTH: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Who is to become a member.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Their e-mail address.
    pub email: String,
    /// As what.
    pub role: Role,
    /// A password for an account made at once: instance admins only, for an address that is not known yet.
    pub password: Option<String>,
    /// Their name, for an account made at once.
    pub name: Option<String>,
}

/// What came of it.
pub enum Invited {
    /// They are a member.
    Member(Member),
    /// They have been invited; the token is theirs to accept with, and is shown this once.
    Invitation(Invitation, Token),
}

impl Engine {
    /// Makes a person a member, or invites them.
    pub async fn add_member(&self, ctx: &Context, new: NewMember) -> Result<Invited> {
        let email = name::email(&new.email).map_err(|e| Error::invalid("email", e))?;
        let name = name::name(new.name.as_deref().unwrap_or(&name::of_address(&email)))
            .map_err(|e| Error::invalid("name", e))?;
        let Some(password) = new.password else { return self.invite(ctx, email, new.role).await };
        Self::only_instance_admin(ctx)?;
        let password_hash = Some(self.passwords.hash_password(&password).await?);
        let now = self.now();
        let id = UserId::new(now, self.random_id()?);
        let user =
            UserAccount { id, email, name, password_hash, is_instance_admin: false, created_at: now, updated_at: now };
        let (mut writer, authority) = self.begin(ctx).await?;
        self.may_give(&mut writer, ctx, new.role, &authority).await?;
        writer.insert_user(&user).await?;
        let member = self.insert_member(&mut writer, ctx, id, new.role).await?;
        let event = self.event(ctx, "member.added", about(&member))?;
        self.commit(writer, event).await?;
        Ok(Invited::Member(member))
    }

    async fn insert_member(&self, writer: &mut Writer, ctx: &Context, user: UserId, role: Role) -> Result<Member> {
        writer.insert_member(ctx.organization, user, role, self.now()).await?;
        writer.find_member(ctx.organization, user).await?.ok_or(Error::internal("a member is not there"))
    }

    async fn invite(&self, ctx: &Context, email: String, role: Role) -> Result<Invited> {
        let now = self.now();
        let token = Token::draw(self.random.as_ref())?;
        let (mut writer, authority) = self.begin(ctx).await?;
        self.may_give(&mut writer, ctx, role, &authority).await?;
        if let Some(user) = writer.find_user_by_email(&email).await?
            && writer.find_member(ctx.organization, user.id).await?.is_some()
        {
            return Err(keyrack_store::StoreError::Conflict(keyrack_store::Conflict::Membership).into());
        }
        let invitation = Invitation {
            id: InvitationId::new(now, self.random_id()?),
            organization: ctx.organization,
            email,
            role,
            created_at: now,
            expires_at: now.saturating_add(INVITATION_LENGTH).unwrap_or(now),
        };
        writer.insert_invitation(&invitation, &digest_of(token.expose())).await?;
        let content = Content::Invitation {
            organization: self.tenant(ctx)?.organization.name.clone(),
            by: ctx.actor.name().to_owned(),
            role,
            token: Zeroizing::new(token.expose().to_owned()),
            expires_at: invitation.expires_at,
        };
        self.write_letter(&mut writer, &invitation.email, &content).await?;
        let data = serde_json::json!({ "role": role });
        let subject = Subject { kind: SubjectKind::Member, id: invitation.id.0, name: &invitation.email, data };
        let event = self.event(ctx, "member.invited", subject)?;
        self.commit(writer, event).await?;
        Ok(Invited::Invitation(invitation, token))
    }

    /// Accepts an invitation. Whoever has no account yet gets one with this password; whoever has one proves it with theirs.
    pub async fn accept_invitation(&self, token: &str, password: &str, request_id: Option<Uuid>) -> Result<Member> {
        let digest = digest_of(token);
        let now = self.now();
        let mut reader = self.reader().await?;
        let invitation = reader.find_invitation(&digest).await?.filter(|i| i.expires_at > now);
        let invitation = invitation.ok_or(Error::NotFound("invitation"))?;
        let known = reader.find_user_by_email(&invitation.email).await?;
        drop(reader);
        let user = match known {
            Some(user) => {
                if !self.passwords.verify_password(password, user.password_hash.clone()).await? {
                    return Err(Error::Unauthorized);
                }
                user
            }
            None => UserAccount {
                id: UserId::new(now, self.random_id()?),
                email: invitation.email.clone(),
                name: name::of_address(&invitation.email),
                password_hash: Some(self.passwords.hash_password(password).await?),
                is_instance_admin: false,
                created_at: now,
                updated_at: now,
            },
        };
        let mut writer = self.store.write(&[invitation.organization]).await?;
        if !writer.delete_invitation(invitation.organization, invitation.id).await? {
            return Err(Error::NotFound("invitation"));
        }
        if writer.find_user(user.id).await?.is_none() {
            writer.insert_user(&user).await?;
        }
        let ctx = Context { request_id, ..Context::host(invitation.organization) };
        let member = self.insert_member(&mut writer, &ctx, user.id, invitation.role).await?;
        let event = self.event(&ctx, "member.joined", about(&member))?;
        self.commit(writer, event).await?;
        Ok(member)
    }

    /// The invitations to the organization that can still be accepted.
    pub async fn list_invitations(&self, ctx: &Context) -> Result<Vec<Invitation>> {
        Ok(self.reader().await?.list_invitations(ctx.organization, self.now()).await?)
    }

    /// Takes an invitation back.
    pub async fn withdraw_invitation(&self, ctx: &Context, id: InvitationId) -> Result<()> {
        let (mut writer, _) = self.begin(ctx).await?;
        let now = self.now();
        let invitations = writer.list_invitations(ctx.organization, now).await?;
        let invitation = invitations.into_iter().find(|i| i.id == id).ok_or(Error::NotFound("invitation"))?;
        writer.delete_invitation(ctx.organization, id).await?;
        let data = serde_json::json!({ "role": invitation.role });
        let subject = Subject { kind: SubjectKind::Member, id: id.0, name: &invitation.email, data };
        let event = self.event(ctx, "member.invitation_withdrawn", subject)?;
        self.commit(writer, event).await.map(|_| ())
    }

    /// What an invitation's token invites to, and whether the person has an account already.
    pub async fn look_at_invitation(&self, token: &str) -> Result<Option<(Invitation, bool)>> {
        let mut reader = self.reader().await?;
        let invitation = reader.find_invitation(&digest_of(token)).await?.filter(|i| i.expires_at > self.now());
        let Some(invitation) = invitation else { return Ok(None) };
        let is_known = reader.find_user_by_email(&invitation.email).await?.is_some_and(|u| u.password_hash.is_some());
        Ok(Some((invitation, is_known)))
    }

    /// The members of the organization.
    pub async fn list_members(&self, ctx: &Context, after: Option<UserId>, limit: i64) -> Result<Page<Member>> {
        let mut data = self.reader().await?.list_members(ctx.organization, after, limit + 1).await?;
        let limit = usize::try_from(limit).unwrap_or(0);
        let has_more = data.len() > limit;
        data.truncate(limit);
        let next_cursor = data.last().filter(|_| has_more).map(|m| m.user.to_string());
        Ok(Page { data, next_cursor })
    }

    /// Gives a member another role. Only a person who is an owner makes or unmakes owners, and the last one stays.
    pub async fn change_role(&self, ctx: &Context, user: UserId, role: Role) -> Result<Member> {
        let (mut writer, authority) = self.begin(ctx).await?;
        let member = writer.find_member(ctx.organization, user).await?.ok_or(Error::NotFound("member"))?;
        if member.role == role {
            return Ok(member);
        }
        self.only_people_make_owners(&mut writer, ctx, role.max(member.role), authority.role).await?;
        if role > member.role {
            self.may_give(&mut writer, ctx, role, &authority).await?;
        }
        keep_an_owner(&mut writer, &member).await?;
        writer.update_member(ctx.organization, user, role).await?;
        let after = Member { role, ..member };
        let event = self.event(ctx, "member.role_changed", about(&after))?;
        self.commit(writer, event).await?;
        Ok(after)
    }

    /// Removes a member. Keys they made go on working.
    pub async fn remove_member(&self, ctx: &Context, user: UserId) -> Result<()> {
        let (mut writer, authority) = self.begin(ctx).await?;
        let member = writer.find_member(ctx.organization, user).await?.ok_or(Error::NotFound("member"))?;
        self.only_people_make_owners(&mut writer, ctx, member.role, authority.role).await?;
        keep_an_owner(&mut writer, &member).await?;
        writer.delete_member(ctx.organization, user).await?;
        let event = self.event(ctx, "member.removed", about(&member))?;
        self.commit(writer, event).await.map(|_| ())
    }

    /// The organization's audit log, newest first.
    pub async fn list_audit(
        &self,
        ctx: &Context,
        filter: &keyrack_store::AuditFilter,
        limit: i64,
    ) -> Result<Page<Event>> {
        let mut data = self.reader().await?.list_audit(ctx.organization, filter, limit + 1).await?;
        let limit = usize::try_from(limit).unwrap_or(0);
        let has_more = data.len() > limit;
        data.truncate(limit);
        let next_cursor = data.last().filter(|_| has_more).map(|e| e.seq.to_string());
        Ok(Page { data, next_cursor })
    }
}

impl Engine {
    /// Nobody makes a member who may do more than he may himself, for longer or from elsewhere: a key of few scopes, or of few
    /// days, would else invite its own admin.
    async fn may_give(&self, writer: &mut Writer, ctx: &Context, role: Role, authority: &Authority) -> Result<()> {
        self.only_people_make_owners(writer, ctx, role, authority.role).await?;
        if authority.expires_at.is_some() || !authority.ip_allowlist.is_unrestricted() {
            let message =
                "a member neither ends with your key nor is kept to its addresses; use a key that has no such limits";
            return Err(Error::forbidden("insufficient_authority", message));
        }
        authority.scopes.covers(&role.scopes()).map_err(|missing| {
            let message = format!("the member would have the scope {missing}, which you do not have");
            Error::forbidden("insufficient_scope", message)
        })
    }

    /// Who owns an organization is for people to say: for its owners, with their password entered again, and for the host's command
    /// line.
    async fn only_people_make_owners(&self, writer: &mut Writer, ctx: &Context, role: Role, own: Role) -> Result<()> {
        if role < Role::Owner {
            return Ok(());
        }
        match ctx.actor {
            Actor::Key { .. } => Err(Error::forbidden("key_not_accepted", "changes of owners take no key")),
            _ if own < Role::Owner => {
                Err(Error::forbidden("insufficient_role", "only an owner makes or removes owners"))
            }
            _ => self.require_step_up(writer, ctx).await,
        }
    }
}

async fn keep_an_owner(writer: &mut Writer, member: &Member) -> Result<()> {
    if member.role == Role::Owner && writer.count_owners(member.organization).await? <= 1 {
        return Err(Error::conflict("last_owner", "an organization keeps at least one owner"));
    }
    Ok(())
}

fn about(member: &Member) -> Subject<'_> {
    let id: Uuid = member.user.0;
    let data = serde_json::json!({ "role": member.role });
    Subject { kind: SubjectKind::Member, id, name: &member.email, data }
}
