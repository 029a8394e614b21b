//! `keyrack users`

use anyhow::{Context as _, bail};
use clap::Subcommand;
use keyrack_client::Client;
use keyrack_client::wire::{AddMember, Member, Role, UpdateMember};
use keyrack_engine::EngineRole;
use uuid::Uuid;

use crate::config::Settings;
use crate::connect::{self, Connection, Needs};
use crate::{output, serve};

/// What to do with people.
#[derive(Subcommand)]
pub(crate) enum Users {
    /// Add a person to the organization: by invitation, or at once with a password
    Add {
        /// Their e-mail address
        email: String,
        /// member, admin or owner
        #[arg(long, default_value = "member")]
        role: Role,
        /// Their name
        #[arg(long)]
        name: Option<String>,
        /// Make the account at once, with the password on standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the people of the organization
    List,
    /// Give a person another role
    Role {
        /// Their e-mail address or id
        user: String,
        /// member, admin or owner
        role: Role,
    },
    /// Remove a person from the organization; keys they made go on working
    Remove {
        /// Their e-mail address or id
        user: String,
    },
    /// Let a person in again who is locked out, with the password on standard input: second factor and sessions end. On the host only
    Recover {
        /// Their e-mail address
        email: String,
    },
}

/// Does it.
pub(crate) async fn run(command: Users, json: bool, settings: &Settings) -> anyhow::Result<()> {
    if let Users::Recover { email } = &command {
        return recover(email, json, settings).await;
    }
    let password = match &command {
        Users::Add { password_stdin: true, .. } => Some(super::read_secret("the password")?.to_string()),
        _ => None,
    };
    let client = connect::client(settings, Needs::default()).await?;
    match command {
        Users::Add { email, role, name, .. } => {
            let added = client.add_member(&AddMember { email, role, password, name }).await?;
            if json {
                return output::json(&added);
            }
            match (added.member, added.invitation) {
                (Some(member), _) => serve::announce(&format!("added {} as {}", member.email, member.role)),
                (None, Some(invitation)) => {
                    let until = output::moment(Some(invitation.expires_at));
                    serve::announce(&format!("invited {}; the invitation holds until {until} UTC", invitation.email));
                    serve::announce(&format!("Hand over this token; it is shown this once:\n\n{}", invitation.token));
                }
                (None, None) => {}
            }
            Ok(())
        }
        Users::List => show(all(&client).await?, json),
        Users::Role { user, role } => {
            let member = named(&client, &user).await?;
            show(vec![client.update_member(member.user_id, &UpdateMember { role }).await?], json)
        }
        Users::Remove { user } => {
            let member = named(&client, &user).await?;
            client.remove_member(member.user_id).await?;
            if json {
                return output::json(&serde_json::json!({ "removed": member.user_id }));
            }
            serve::announce(&format!("removed {}", member.email));
            Ok(())
        }
        Users::Recover { .. } => Ok(()),
    }
}

/// Whoever can read the database and its key file may let anybody in; nobody may over a network.
async fn recover(email: &str, json: bool, settings: &Settings) -> anyhow::Result<()> {
    if settings.is_set("url") {
        bail!("users recover works on the database only, on the machine that has it: leave --url out");
    }
    let password = super::read_secret("the new password")?;
    let engine = connect::engine(settings, EngineRole::Guest { keys: false }).await?;
    let user = engine.recover_user(email, &password).await?;
    if json {
        return output::json(&serde_json::json!({ "user_id": user.id, "email": user.email }));
    }
    serve::announce(&format!("{} signs in with the new password; second factor and sessions are gone", user.email));
    Ok(())
}

async fn all(client: &Client<Connection>) -> anyhow::Result<Vec<Member>> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = client.list_members(cursor.as_deref()).await?;
        all.extend(page.data);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

/// The member of an id.
pub(crate) async fn find(client: &Client<Connection>, id: Uuid) -> anyhow::Result<Option<Member>> {
    Ok(all(client).await?.into_iter().find(|m| m.user_id == id))
}

async fn named(client: &Client<Connection>, email_or_id: &str) -> anyhow::Result<Member> {
    let found = all(client).await?.into_iter().find(|m| m.email == email_or_id || m.user_id.to_string() == email_or_id);
    found.with_context(|| format!("{email_or_id} is no member"))
}

fn show(members: Vec<Member>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&members);
    }
    let row = |m: Member| [m.user_id.to_string(), m.email, m.name, m.role.to_string()];
    output::table(["id", "e-mail", "name", "role"], members.into_iter().map(row));
    Ok(())
}
