//! `keyrack doctor`: what is wrong with the installation.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use keyrack_engine::{EngineRole, Keyfile, Store};
use serde::Serialize;

use crate::config::Settings;
use crate::{connect, exit, logging, mail, output, serve};

/// What to do besides looking.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Say that this machine's clock is right, although it has jumped ahead or nothing was written down for a month
    #[arg(long)]
    accept_clock: bool,
}

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    detail: String,
}

/// Looks at settings, key file, database and clock, and changes nothing but what it is told to.
pub(crate) async fn run(doctor: &Doctor, json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    let mut found = |what, result: anyhow::Result<String>| {
        let ok = result.is_ok();
        let detail = result.unwrap_or_else(|error| format!("{error:#}"));
        findings.push(Finding { what, ok, detail });
        ok
    };
    found("settings", look_at_settings(settings));
    found("mail", mail::look(settings).await);
    let path = settings.keyfile();
    let has_keyfile = found("key file", look_at_keyfile(&path));
    let has_database = found("database", look_at_database(settings).await);
    if has_keyfile && has_database {
        found("clock", look_at_clock(doctor, settings).await);
        found("keys", look_at_keys(settings).await);
    }
    let is_well = findings.iter().all(|f| f.ok);
    if json {
        output::json(&findings)?;
    } else {
        let mark = |f: &Finding| if f.ok { "ok" } else { "WRONG" }.to_owned();
        output::table(["", "what", "detail"], findings.iter().map(|f| [mark(f), f.what.to_owned(), f.detail.clone()]));
    }
    Ok(ExitCode::from(if is_well { exit::DONE } else { exit::FAILED }))
}

fn look_at_settings(settings: &Settings) -> anyhow::Result<String> {
    for listens in ["listen", "grpc.listen", "metrics.listen"] {
        settings.address(listens)?;
    }
    if serve::tls(settings)?.is_none() {
        serve::refuse_plain(settings)?;
    }
    settings.duration("drain")?;
    settings.count("master_key.days")?;
    settings.networks("trusted_proxies")?;
    settings.networks("egress.allow")?;
    logging::filter(settings)?;
    logging::is_json(settings)?;
    Ok(format!("serves on {}", settings.get("listen").unwrap_or_default()))
}

fn look_at_keyfile(path: &Path) -> anyhow::Result<String> {
    match Keyfile::load(path)? {
        Some(keyfile) => Ok(format!("{} holds {} pepper(s)", path.display(), keyfile.peppers().len())),
        None => anyhow::bail!("{} is not there; init or the first serve makes it", path.display()),
    }
}

async fn look_at_database(settings: &Settings) -> anyhow::Result<String> {
    let url = settings.database();
    if let Some(path) = url.strip_prefix("sqlite:").map(|p| p.strip_prefix("//").unwrap_or(p))
        && !Path::new(path).exists()
    {
        anyhow::bail!("{path} is not there; init or the first serve makes it");
    }
    let store = Store::open(url, connect::clock().now()).await?;
    let served = match store.served_up_to().await? {
        Some(_) => "a server is running on it",
        None => "no server is running on it",
    };
    Ok(format!("{} answers; {served}", connect::shown(url)))
}

async fn look_at_clock(doctor: &Doctor, settings: &Settings) -> anyhow::Result<String> {
    let engine = connect::engine(settings, EngineRole::Guest { keys: false }).await?;
    if doctor.accept_clock {
        let accepted = engine.accept_clock().await?;
        return Ok(format!("{accepted} is accepted as the time it is"));
    }
    let (shown, is_believed) = engine.clock();
    if !is_believed {
        anyhow::bail!(
            "it shows {shown}, over 30 days after anything that is written down: set it right; or if it is right, say so \
             with: keyrack doctor --accept-clock"
        );
    }
    Ok(format!("it shows {shown}"))
}

async fn look_at_keys(settings: &Settings) -> anyhow::Result<String> {
    let engine = connect::engine(settings, EngineRole::Guest { keys: true }).await?;
    Ok(format!("the pepper fits; {} secret(s) can be read", engine.keyring_size()))
}
