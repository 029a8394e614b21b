//! `keyrack verify`

use std::process::ExitCode;

use clap::Args;
use keyrack_client::wire::{Role, VerifyKey};

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::{exit, output};

/// May a key do something?
#[derive(Args)]
pub(crate) struct Verify {
    /// The key; - reads it from standard input, where nobody else on the host sees it
    #[arg(default_value = "-", hide_default_value = true, value_name = "KEY")]
    text: String,
    /// The scope it must have
    #[arg(long)]
    scope: Option<String>,
    /// The workspace the request is about
    #[arg(long)]
    workspace: Option<String>,
    /// A group it must be in; given several times, any of them
    #[arg(long = "group", value_name = "GROUP")]
    groups: Option<Vec<String>>,
    /// A role it must count as; given several times, any of them
    #[arg(long = "role", value_name = "ROLE")]
    roles: Option<Vec<Role>>,
    /// The address the request comes from
    #[arg(long)]
    ip: Option<String>,
    /// Take so many units of its limits and quota, as a request would; without this nothing is taken
    #[arg(long, value_name = "UNITS")]
    cost: Option<i64>,
}

/// Asks; the exit code tells the answer.
pub(crate) async fn run(verify: Verify, json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let key = match verify.text.as_str() {
        "-" => super::read_secret("the key")?.to_string(),
        text => text.to_owned(),
    };
    let client = connect::client(settings, Needs { keys: true, ..Needs::default() }).await?;
    let question = VerifyKey {
        key,
        scope: verify.scope,
        workspace: verify.workspace,
        groups: verify.groups,
        roles: verify.roles,
        ip: verify.ip,
        cost: verify.cost,
        peek: verify.cost.is_none().then_some(true),
        ..VerifyKey::default()
    };
    let verified = client.verify_key(&question).await?;
    if json {
        output::json(&verified)?;
    } else {
        let mut facts = vec![("valid", verified.valid.to_string()), ("code", verified.code.to_string())];
        facts.push(("message", verified.message.to_string()));
        if let Some(key) = &verified.key {
            facts.push(("key", format!("{} ({})", key.name, key.id)));
        }
        if let Some(organization) = &verified.organization {
            facts.push(("organization", organization.name.to_string()));
        }
        if let Some(quota) = verified.limits.as_ref().and_then(|limits| limits.quota.as_ref()) {
            facts.push(("quota", format!("{} of {} left this month", quota.remaining, quota.limit)));
        }
        for rate in verified.limits.iter().flat_map(|limits| &limits.rate_limits) {
            facts.push((
                "rate limit",
                format!("{} of {} left in {} s ({})", rate.remaining, rate.limit, rate.window_seconds, rate.of),
            ));
        }
        output::facts(&facts);
    }
    Ok(ExitCode::from(if verified.valid { exit::DONE } else { exit::NOT_VALID }))
}
