//! The file with what must not be in the database: the pepper of key digests and the master key of secrets.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use data_encoding::BASE64;
use keyrack_core::Pepper;
use keyrack_core::token::MasterKey;
use keyrack_engine::Random;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const HEADER: &str = "# Pepper and master key of a Keyrack database. Keep this file secret, and keep a copy of it apart from the\n\
    # database's: without it no key can be recognised any more.\n\n";

/// What stands in the file. The first of each is in use; the others are being replaced.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keyfile {
    pepper: Vec<Entry>,
    master_key: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: i64,
    /// 32 bytes in base64.
    key: Zeroizing<String>,
}

impl Keyfile {
    /// Makes a new file, readable by its owner only. One that is there is left alone and refused.
    pub(crate) fn create(path: &Path, random: &dyn Random) -> anyhow::Result<Self> {
        let entry = || -> anyhow::Result<Entry> {
            let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random.bytes()?);
            Ok(Entry { id: 1, key: Zeroizing::new(BASE64.encode(&*bytes)) })
        };
        let keyfile = Self { pepper: vec![entry()?], master_key: vec![entry()?] };
        let text = Zeroizing::new(format!("{HEADER}{}", toml::to_string(&keyfile)?));
        let write = || -> std::io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // The name must survive a power loss too.
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        write().with_context(|| format!("cannot make the key file {}", path.display()))?;
        Ok(keyfile)
    }

    /// Reads a file; `None` if there is none. One that others can read, or that holds no proper key, is refused.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let shown = path.display();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read the key file {shown}")),
        };
        let metadata = file.metadata()?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!("others can read the key file {shown} (mode {mode:04o}); mend it with: chmod 600 {shown}");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            bail!("the key file {shown} belongs to another user; run keyrack as its owner");
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).with_context(|| format!("cannot read the key file {shown}"))?;
        // The text of a TOML error quotes the line, which may hold a key: only the place is told.
        let keyfile: Self = toml::from_str(&text).map_err(|error| {
            let before = text.bytes().take(error.span().map_or(0, |span| span.start));
            let at = before.filter(|byte| *byte == b'\n').count() + 1;
            anyhow::anyhow!("the key file {shown} cannot be read (line {at}); restore it from its copy")
        })?;
        if keyfile.pepper.is_empty() || keyfile.master_key.is_empty() {
            bail!("the key file {shown} lacks a pepper or a master key; restore it from its copy");
        }
        for entry in keyfile.pepper.iter().chain(&keyfile.master_key) {
            entry
                .bytes()
                .with_context(|| format!("the key file {shown} holds a key that is none; restore it from its copy"))?;
        }
        Ok(Some(keyfile))
    }

    /// The peppers, the one in use first.
    pub(crate) fn peppers(&self) -> anyhow::Result<Vec<Pepper>> {
        self.pepper.iter().map(|entry| Ok(Pepper::new(entry.id, &*entry.bytes()?))).collect()
    }
}

impl Keyfile {
    /// The master keys, the one in use first.
    pub(crate) fn master_keys(&self) -> anyhow::Result<Vec<MasterKey>> {
        self.master_key.iter().map(|entry| Ok(MasterKey::new(entry.id, &*entry.bytes()?))).collect()
    }
}

impl Entry {
    fn bytes(&self) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let decoded = Zeroizing::new(BASE64.decode(self.key.as_bytes()).context("a key is written in base64")?);
        let bytes = <[u8; 32]>::try_from(decoded.as_slice()).context("a key has 32 bytes")?;
        // 32 random bytes have fewer than 16 different values once in 10^13 files; "changeme" always has.
        let different: std::collections::BTreeSet<u8> = bytes.iter().copied().collect();
        if different.len() < 16 || bytes.is_ascii() {
            bail!("this is a placeholder and not a random key");
        }
        Ok(Zeroizing::new(bytes))
    }
}
