//! The processes in which scripts run.

use std::path::PathBuf;

use keyrack_script::PoolSettings;

/// How many scripts run at once for each processor. Most of them wait for others, and what they compute gives way to the rest.
const EACH: usize = 16;

/// This very program, also where its file has been replaced since it was started.
pub(crate) fn processes() -> PoolSettings {
    let most = EACH * std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    PoolSettings { program: PathBuf::from("/proc/self/exe"), arguments: vec!["run-scripts".into()], most }
}
