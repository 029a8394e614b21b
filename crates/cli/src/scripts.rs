//! The processes in which scripts run.

use std::path::PathBuf;

use keyrack_script::PoolSettings;

/// How many scripts run at once: most of them wait for others, and each may need its memory.
const MOST: usize = 32;

/// This very program, also where its file has been replaced since it was started.
pub(crate) fn processes() -> PoolSettings {
    PoolSettings { program: PathBuf::from("/proc/self/exe"), arguments: vec!["run-scripts".into()], most: MOST }
}
