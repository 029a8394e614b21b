//! Settings: one table says what there is; a flag, a variable and a line in `keyrack.toml` follow from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use ipnet::IpNet;
use jiff::SignedDuration;

/// A setting. Its variable is `KEYRACK_` and the key in upper case, with `__` for each dot.
struct Setting {
    key: &'static str,
    flag: &'static str,
    variable: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
    is_secret: bool,
}

macro_rules! settings {
    ($($key:literal $flag:literal $variable:literal $value:literal $default:expr, $secret:literal, $help:literal;)*) => {
        &[$(Setting {
            key: $key, flag: $flag, variable: $variable, value: $value, default: $default, is_secret: $secret, help: $help,
        }),*]
    };
}

const SETTINGS: &[Setting] = settings! {
    "listen" "listen" "KEYRACK_LISTEN" "ADDRESS" Some("127.0.0.1:8000"), false,
        "Address to serve on; port 0 picks a free one";
    "tls.certificate" "tls-certificate" "KEYRACK_TLS__CERTIFICATE" "FILE" None, false,
        "Certificate in PEM, with those that lead to its root; then only HTTPS is served. A changed file is taken up within seconds";
    "tls.key" "tls-key" "KEYRACK_TLS__KEY" "FILE" None, false,
        "The certificate's private key in PEM";
    "plain_http" "plain-http" "KEYRACK_PLAIN_HTTP" "WHERE" Some("loopback"), false,
        "Where HTTP without TLS is served: loopback, or anywhere (where something else encrypts)";
    "drain" "drain" "KEYRACK_DRAIN" "DURATION" Some("3s"), false,
        "How long to answer on after SIGTERM while /health/ready says no, so that a balancer sends nobody any more";
    "database" "database" "KEYRACK_DATABASE" "URL" Some("sqlite:keyrack.db"), false,
        "Database: sqlite:FILE or postgres://...";
    "keyfile" "keyfile" "KEYRACK_KEYFILE" "FILE" None, false,
        "File with pepper and master key; beside a SQLite database, or keyrack.keyfile here";
    "master_key.days" "master-key-days" "KEYRACK_MASTER_KEY__DAYS" "DAYS" Some("90"), false,
        "After how many days the server puts another master key into use; 0 for never by itself";
    "trusted_proxies" "trusted-proxies" "KEYRACK_TRUSTED_PROXIES" "NETWORKS" None, false,
        "Proxies whose X-Forwarded-For is believed, with commas between";
    "console_host" "console-host" "KEYRACK_CONSOLE_HOST" "HOST" None, false,
        "Host name of the console and the API, on which nothing else is then served; every host if missing";
    "setup" "setup" "KEYRACK_SETUP" "WHERE" Some("loopback"), false,
        "Where the set-up link of a new instance works: loopback, anywhere, or nowhere";
    "public_url" "public-url" "KEYRACK_PUBLIC_URL" "URL" None, false,
        "Where people reach the console, for links in letters; from console_host or listen if missing";
    "mail.url" "mail-url" "KEYRACK_MAIL__URL" "URL" None, true,
        "How letters go out: smtp://USER:PASSWORD@HOST (with STARTTLS), smtps://..., file:FOLDER or none; a folder beside the database if missing";
    "mail.from" "mail-from" "KEYRACK_MAIL__FROM" "ADDRESS" None, false,
        "The address that letters come from, such as Keyrack <keyrack@example.com>";
    "mail.ca" "mail-ca" "KEYRACK_MAIL__CA" "FILE" None, false,
        "Certificate in PEM to trust the mail server by, beside those that the web trusts";
    "failure_limit" "failure-limit" "KEYRACK_FAILURE_LIMIT" "COUNT" Some("100"), false,
        "How many 401s an address may be answered a minute, before they become 429; 0 for any number";
    "egress.allow" "egress-allow" "KEYRACK_EGRESS__ALLOW" "NETWORKS" None, false,
        "Private networks that upstreams may be in, with commas between";
    "grpc.listen" "grpc-listen" "KEYRACK_GRPC__LISTEN" "ADDRESS" None, false,
        "Address to answer Envoy on over gRPC, usually port 8001; none if missing. Over TLS where tls.certificate is given";
    "metrics.listen" "metrics-listen" "KEYRACK_METRICS__LISTEN" "ADDRESS" None, false,
        "Address to serve /metrics on; none if missing";
    "log.level" "log-level" "KEYRACK_LOG__LEVEL" "LEVEL" Some("info"), false,
        "error, warn, info, debug or trace, or a filter such as warn,keyrack=debug";
    "log.format" "log-format" "KEYRACK_LOG__FORMAT" "FORMAT" Some("pretty"), false,
        "pretty or json";
    "url" "url" "KEYRACK_URL" "URL" None, false,
        "Manage the running server at this address, instead of the database";
    "key" "key" "KEYRACK_KEY" "KEY" None, true,
        "Management key for --url; better given as the variable than as a flag";
    "organization" "organization" "KEYRACK_ORGANIZATION" "SLUG" None, false,
        "Organization to manage; the first one if missing";
};

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A flag.
    Flag,
    /// A variable.
    Variable,
    /// The file.
    File,
    /// Nobody said anything.
    Default,
}

impl Source {
    /// In words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Variable => "environment",
            Self::File => "keyrack.toml",
            Self::Default => "default",
        }
    }
}

/// A setting as it is in force.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    /// Its key.
    pub(crate) key: &'static str,
    /// Its value, if it has one.
    pub(crate) value: Option<String>,
    /// Who says so.
    pub(crate) source: Source,
    /// Whether it must not be shown.
    pub(crate) is_secret: bool,
}

/// All settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings(Vec<InForce>);

impl Settings {
    /// Adds a flag for each setting to a command.
    pub(crate) fn add_flags(command: Command) -> Command {
        let config = Arg::new("config").long("config").env("KEYRACK_CONFIG").value_name("FILE").global(true);
        let config = config
            .help("Configuration file; keyrack.toml here if it is there")
            .help_heading("Settings")
            .hide_env_values(true);
        let flags = SETTINGS.iter().map(|s| {
            let arg = Arg::new(s.key).long(s.flag).env(s.variable).value_name(s.value).global(true);
            let help = s.default.map_or_else(|| s.help.to_owned(), |d| format!("{} [default: {d}]", s.help));
            arg.help(help).help_heading("Settings").hide_env_values(true)
        });
        command.arg(config).args(flags)
    }

    /// Reads flags, variables and the file, in this order of precedence.
    pub(crate) fn load(matches: &ArgMatches) -> anyhow::Result<Self> {
        let file = match matches.get_one::<String>("config") {
            Some(path) => read_file(path)?,
            None if std::path::Path::new("keyrack.toml").exists() => read_file("keyrack.toml")?,
            None => toml::Table::new(),
        };
        refuse_unknown(&file, "")?;
        let each = SETTINGS.iter().map(|s| {
            // A flag may stand before or behind the subcommand; clap tells both through the innermost matches.
            let mut innermost = matches;
            while let Some((_, deeper)) = innermost.subcommand() {
                innermost = deeper;
            }
            let given = innermost.get_one::<String>(s.key).cloned();
            let (value, source) = match (given, innermost.value_source(s.key)) {
                (Some(value), Some(ValueSource::EnvVariable)) => (Some(value), Source::Variable),
                (Some(value), _) => (Some(value), Source::Flag),
                (None, _) => match from_file(&file, s.key)? {
                    Some(value) => (Some(value), Source::File),
                    None => (s.default.map(str::to_owned), Source::Default),
                },
            };
            Ok(InForce { key: s.key, value, source, is_secret: s.is_secret })
        });
        Ok(Self(each.collect::<anyhow::Result<_>>()?))
    }

    /// Every setting.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &InForce> {
        self.0.iter()
    }

    fn find(&self, key: &str) -> Option<&InForce> {
        self.0.iter().find(|s| s.key == key)
    }

    /// The value of a setting.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.find(key)?.value.as_deref().filter(|v| !v.is_empty())
    }

    /// Whether somebody set it.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.find(key).is_some_and(|s| s.source != Source::Default)
    }

    /// The same settings with another value for one of them.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        for setting in self.0.iter_mut().filter(|s| s.key == key) {
            setting.value = Some(value.to_owned());
        }
        self
    }

    /// The database's URL.
    pub(crate) fn database(&self) -> &str {
        self.get("database").unwrap_or_default()
    }

    /// Where pepper and master key are.
    pub(crate) fn keyfile(&self) -> PathBuf {
        if let Some(path) = self.get("keyfile") {
            return path.into();
        }
        match self.database().strip_prefix("sqlite:") {
            Some(path) => format!("{}.keyfile", path.strip_prefix("//").unwrap_or(path)).into(),
            None => "keyrack.keyfile".into(),
        }
    }

    /// An address to listen on.
    pub(crate) fn address(&self, key: &'static str) -> anyhow::Result<Option<SocketAddr>> {
        let read = self.get(key).map(str::parse).transpose();
        read.with_context(|| format!("{key} must be an address and a port, such as 127.0.0.1:8000"))
    }

    /// A span of time.
    pub(crate) fn duration(&self, key: &'static str) -> anyhow::Result<Duration> {
        let read = self.get(key).unwrap_or_default().parse::<SignedDuration>();
        let read = read.ok().and_then(|duration| Duration::try_from(duration).ok());
        read.with_context(|| format!("{key} must be a span of time, such as 3s or 1m"))
    }

    /// A number of things.
    pub(crate) fn count(&self, key: &'static str) -> anyhow::Result<u16> {
        let read = self.get(key).unwrap_or_default().parse();
        read.with_context(|| format!("{key} must be a number from 0 to {}", u16::MAX))
    }

    /// A list of networks.
    pub(crate) fn networks(&self, key: &'static str) -> anyhow::Result<Vec<IpNet>> {
        let each = self.get(key).unwrap_or_default().split(',').map(str::trim).filter(|n| !n.is_empty());
        let read = each.map(|n| keyrack_core::address::network(n).with_context(|| format!("{key}: {n}")));
        read.collect()
    }
}

fn read_file(path: &str) -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.parse().with_context(|| format!("{path} is not what TOML looks like"))
}

/// The value at a dotted key, as text. Lists are joined with commas.
fn from_file(file: &toml::Table, key: &str) -> anyhow::Result<Option<String>> {
    let mut table = file;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        match table.get(part) {
            None => return Ok(None),
            Some(toml::Value::Table(deeper)) if parts.peek().is_some() => table = deeper,
            Some(toml::Value::String(text)) => return Ok(Some(text.clone())),
            Some(toml::Value::Array(list)) => {
                let texts: Option<Vec<&str>> = list.iter().map(toml::Value::as_str).collect();
                return texts.map(|t| Some(t.join(","))).with_context(|| format!("{key} must be a list of texts"));
            }
            Some(toml::Value::Integer(number)) if is_number(key) => return Ok(Some(number.to_string())),
            Some(_) => bail!("{key} must be a text or a list of texts"),
        }
    }
    Ok(None)
}

/// Whether a setting is a number.
fn is_number(key: &str) -> bool {
    let defaults = SETTINGS.iter().filter(|s| s.key == key).filter_map(|s| s.default);
    defaults.into_iter().any(|default| default.parse::<u64>().is_ok())
}

/// A misspelt setting is told, not passed over.
fn refuse_unknown(table: &toml::Table, prefix: &str) -> anyhow::Result<()> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let is_group = SETTINGS.iter().any(|s| s.key.starts_with(&format!("{key}.")));
        match value {
            toml::Value::Table(deeper) if is_group => refuse_unknown(deeper, &key)?,
            _ if SETTINGS.iter().any(|s| s.key == key) => {}
            _ => bail!("keyrack.toml has a setting {key}, which does not exist; keyrack config shows those that do"),
        }
    }
    Ok(())
}
