//! The file with what must not be in the database: the pepper of key digests and the master key of secrets.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use keyrack_core::Pepper;
use keyrack_core::token::MasterKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::{NoRandomness, Random};

const HEADER: &str = "# Pepper and master key of a Keyrack database. Keep this file secret, and keep a copy of it apart from the\n\
    # database's: without it no key can be recognised any more.\n\n";

/// Why a key file cannot be used. No text says anything of what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyfileError {
    /// It cannot be made.
    #[error("cannot make the key file {0}")]
    Make(PathBuf, #[source] io::Error),
    /// There is no randomness to make it of.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// It is there and cannot be read.
    #[error("cannot read the key file {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Others than its owner may read it.
    #[error("others can read the key file {0} (mode {1:04o}); mend it with: chmod 600 {0}")]
    Exposed(PathBuf, u32),
    /// It belongs to another user than this process does.
    #[error("the key file {0} belongs to another user; run keyrack as its owner")]
    Foreign(PathBuf),
    /// It is no key file.
    #[error("the key file {0} cannot be read (line {1}); restore it from its copy")]
    Malformed(PathBuf, usize),
    /// It has no pepper or no master key.
    #[error("the key file {0} lacks a pepper or a master key; restore it from its copy")]
    Incomplete(PathBuf),
    /// Somebody else is changing it.
    #[error("another keyrack is just changing the key file (it holds {0}); try again")]
    Changing(PathBuf),
    /// What stands in the place of a key is none.
    #[error("the key file {0} holds a key that is none: {1}; restore it from its copy")]
    NoKey(PathBuf, &'static str),
}

/// What stands in the file. Which pepper and which master key are in use the database says.
pub struct Keyfile {
    peppers: Vec<(i64, Key)>,
    master_keys: Vec<(i64, Key)>,
}

type Key = Zeroizing<[u8; 32]>;

/// How it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
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
    pub fn create(path: &Path, random: &dyn Random) -> Result<Self, KeyfileError> {
        let key = || -> Result<(i64, Key), NoRandomness> { Ok((1, Zeroizing::new(random.bytes()?))) };
        let keyfile = Self { peppers: vec![key()?], master_keys: vec![key()?] };
        let write = || -> io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(keyfile.text()?.as_bytes())?;
            file.sync_all()?;
            sync_folder(path)
        };
        write().map_err(|error| KeyfileError::Make(path.to_owned(), error))?;
        Ok(keyfile)
    }

    /// Reads a file; `None` if there is none. One that others can read, or that holds no proper key, is refused.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyfileError> {
        let named = || path.to_owned();
        let cannot_read = |error| KeyfileError::Read(path.to_owned(), error);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot_read(error)),
        };
        let metadata = file.metadata().map_err(cannot_read)?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyfileError::Exposed(named(), mode));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(KeyfileError::Foreign(named()));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(cannot_read)?;
        // The text of a TOML error quotes the line, which may hold a key: only the place is told.
        let written: Written = toml::from_str(&text).map_err(|error| {
            let before = text.bytes().take(error.span().map_or(0, |span| span.start));
            KeyfileError::Malformed(named(), before.filter(|byte| *byte == b'\n').count() + 1)
        })?;
        if written.pepper.is_empty() || written.master_key.is_empty() {
            return Err(KeyfileError::Incomplete(named()));
        }
        let keys = |entries: &[Entry]| entries.iter().map(Entry::read).collect::<Result<Vec<_>, _>>();
        let no_key = |why| KeyfileError::NoKey(path.to_owned(), why);
        let (peppers, master_keys) = (keys(&written.pepper), keys(&written.master_key));
        Ok(Some(Self { peppers: peppers.map_err(no_key)?, master_keys: master_keys.map_err(no_key)? }))
    }

    /// The peppers.
    #[must_use]
    pub fn peppers(&self) -> Vec<Pepper> {
        self.peppers.iter().map(|(id, key)| Pepper::new(*id, key)).collect()
    }

    /// The master keys.
    #[must_use]
    pub fn master_keys(&self) -> Vec<MasterKey> {
        self.master_keys.iter().map(|(id, key)| MasterKey::new(*id, key)).collect()
    }

    /// Puts a new master key into a file, behind those that are there; its number.
    pub fn add_master_key(path: &Path, random: &dyn Random) -> Result<i64, KeyfileError> {
        Self::add(path, random, |keyfile| &mut keyfile.master_keys)
    }

    /// Puts a new pepper into a file, behind those that are there; its number.
    pub fn add_pepper(path: &Path, random: &dyn Random) -> Result<i64, KeyfileError> {
        Self::add(path, random, |keyfile| &mut keyfile.peppers)
    }

    fn add(
        path: &Path,
        random: &dyn Random,
        to: impl FnOnce(&mut Self) -> &mut Vec<(i64, Key)>,
    ) -> Result<i64, KeyfileError> {
        let key = Zeroizing::new(random.bytes()?);
        let mut id = 1;
        Self::change(path, |keyfile| {
            let keys = to(keyfile);
            id = keys.iter().map(|(id, _)| *id).max().unwrap_or(0) + 1;
            keys.push((id, key));
        })?;
        Ok(id)
    }

    /// Takes master keys out of a file.
    pub fn remove_master_keys(path: &Path, ids: &[i64]) -> Result<(), KeyfileError> {
        Self::change(path, |keyfile| keyfile.master_keys.retain(|(id, _)| !ids.contains(id)))
    }

    /// Takes peppers out of a file.
    pub fn remove_peppers(path: &Path, ids: &[i64]) -> Result<(), KeyfileError> {
        Self::change(path, |keyfile| keyfile.peppers.retain(|(id, _)| !ids.contains(id)))
    }

    /// Puts a changed file in the place of a file: whoever reads it finds the one or the other, whole.
    fn change(path: &Path, change: impl FnOnce(&mut Self)) -> Result<(), KeyfileError> {
        let beside = path.with_added_extension("new");
        let mut file = locked(&beside)?;
        let replace = || {
            let missing = || KeyfileError::Read(path.to_owned(), io::ErrorKind::NotFound.into());
            let mut keyfile = Self::load(path)?.ok_or_else(missing)?;
            change(&mut keyfile);
            let mut write = || {
                // Whoever was here before may have been killed.
                file.set_len(0)?;
                file.write_all(keyfile.text()?.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&beside, path)?;
                sync_folder(path)
            };
            write().map_err(|error: io::Error| KeyfileError::Make(path.to_owned(), error))
        };
        let replaced = replace();
        if replaced.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        replaced
    }

    fn text(&self) -> io::Result<Zeroizing<String>> {
        Ok(Zeroizing::new(format!("{HEADER}{}", toml::to_string(&self.written()).map_err(io::Error::other)?)))
    }

    fn written(&self) -> Written {
        let entries = |keys: &[(i64, Key)]| {
            keys.iter().map(|(id, key)| Entry { id: *id, key: Zeroizing::new(BASE64.encode(&**key)) }).collect()
        };
        Written { pepper: entries(&self.peppers), master_key: entries(&self.master_keys) }
    }
}

/// A file that only we write to, until it is closed or put into another's place.
fn locked(path: &Path) -> Result<File, KeyfileError> {
    let cannot_make = |error| KeyfileError::Make(path.to_owned(), error);
    loop {
        let file =
            File::options().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(cannot_make)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(KeyfileError::Changing(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(cannot_make(error)),
        }
        // Between the two it may have been put into the place of the key file.
        let ours = file.metadata().map_err(cannot_make)?.ino();
        if std::fs::metadata(path).is_ok_and(|named| named.ino() == ours) {
            return Ok(file);
        }
    }
}

/// The name of a file must survive a power loss too.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

impl Entry {
    fn read(&self) -> Result<(i64, Key), &'static str> {
        let decoded = BASE64.decode(self.key.as_bytes()).map_err(|_| "a key is written in base64")?;
        let decoded = Zeroizing::new(decoded);
        let bytes = Zeroizing::new(<[u8; 32]>::try_from(decoded.as_slice()).map_err(|_| "a key has 32 bytes")?);
        // 32 random bytes have fewer than 16 different values once in 10^13 files; "changeme" always has.
        let different: std::collections::BTreeSet<u8> = bytes.iter().copied().collect();
        if different.len() < 16 || bytes.is_ascii() {
            return Err("this is a placeholder and not a random key");
        }
        Ok((self.id, bytes))
    }
}
