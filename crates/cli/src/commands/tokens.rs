//! `keyrack tokens`

use std::process::ExitCode;

use clap::Subcommand;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyrack_client::wire::{CreateToken, TokenKeys};
use keyrack_core::token::{self, Claims, PublicKey, TokenError, Unverified};

use crate::config::Settings;
use crate::connect::{self, Needs};
use crate::{exit, output};

/// What to do with tokens.
#[derive(Subcommand)]
pub(crate) enum Tokens {
    /// Exchange the key that calls (--key) for a token; needs --url
    Create {
        /// What it may do, no more than the key; may be given several times
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Option<Vec<String>>,
        /// How many seconds it lives: 1 to 3600; an hour if missing
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<i64>,
    },
    /// Show what a token says, and whether its signature is right; - reads it from standard input
    Inspect {
        /// The token
        #[arg(default_value = "-")]
        token: String,
    },
    /// Show the keys that tokens are checked with
    Keys,
    /// Make a new signing key; tokens of the one before are taken until they have expired
    RotateKey,
}

/// Does it.
pub(crate) async fn run(command: Tokens, json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let client = connect::client(settings, Needs::default()).await?;
    match command {
        Tokens::Create { scopes, expires_in } => {
            let made = client.create_token(&CreateToken { scopes, expires_in }).await?;
            if json {
                output::json(&made)?;
            } else {
                crate::serve::announce(&made.token);
            }
        }
        Tokens::Inspect { token } => {
            let text = if token == "-" { super::read_secret("the token")?.to_string() } else { token };
            return inspect(&text, &client.token_keys().await?, json);
        }
        Tokens::Keys => show(&client.token_keys().await?, json)?,
        Tokens::RotateKey => show(&client.create_signing_key().await?, json)?,
    }
    Ok(ExitCode::from(exit::DONE))
}

fn show(keys: &TokenKeys, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(keys);
    }
    let row = |key: &keyrack_client::wire::TokenKey| [key.kid.clone(), key.alg.clone(), key.x.clone()];
    output::table(["kid", "algorithm", "public key"], keys.keys.iter().map(row));
    Ok(())
}

/// The exit code says whether it would be taken by who checks it offline.
fn inspect(text: &str, keys: &TokenKeys, json: bool) -> anyhow::Result<ExitCode> {
    let public = |key: &keyrack_client::wire::TokenKey| PublicKey::new(&BASE64URL_NOPAD.decode(key.x.as_bytes()).ok()?);
    let keys: Vec<PublicKey> = keys.keys.iter().filter_map(public).collect();
    let read = Unverified::read(text);
    let kid = read.as_ref().map(|token| HEXLOWER.encode(&token.kid())).ok();
    let signed = read.and_then(|token| {
        let key = keys.iter().find(|key| key.kid() == token.kid()).ok_or(TokenError::UnknownKey)?;
        token.verify(key)
    });
    let verdict = token::verify(text, &keys, connect::clock().now()).map(drop);
    let said = signed.as_ref().ok();
    let problem = verdict.err().map(|error| error.to_string());
    if json {
        output::json(&serde_json::json!({
            "valid": problem.is_none(), "problem": problem, "kid": kid, "claims": said.map(claims),
        }))?;
    } else {
        let mut facts = vec![("valid", problem.unwrap_or_else(|| "yes, as far as can be told offline".to_owned()))];
        facts.extend(kid.map(|kid| ("kid", kid)));
        if let Some(claims) = said {
            facts.extend([
                ("key", claims.key.to_string()),
                ("secret version", claims.secret_version.to_string()),
                ("organization", claims.organization.to_string()),
                ("tier", claims.tier.as_str().to_owned()),
                ("scopes", claims.scopes.as_ref().map_or("those of the key".to_owned(), |s| s.to_strings().join(" "))),
                ("issued", output::moment(Some(claims.issued_at))),
                ("expires", output::moment(Some(claims.expires_at))),
            ]);
        }
        output::facts(&facts);
    }
    Ok(ExitCode::from(if verdict.is_ok() { exit::DONE } else { exit::NOT_VALID }))
}

fn claims(claims: &Claims) -> serde_json::Value {
    serde_json::json!({
        "key_id": claims.key,
        "org_id": claims.organization,
        "tier": claims.tier,
        "sv": claims.secret_version,
        "scopes": claims.scopes.as_ref().map(keyrack_core::ScopeSet::to_strings),
        "iat": claims.issued_at,
        "exp": claims.expires_at,
    })
}
