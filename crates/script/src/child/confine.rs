//! What a process that runs scripts gives up before it sees the first: nearly everything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// How much more memory the process may ask the system for than it has asked for already: the engine's own limit is far below.
const MEMORY: u64 = 192 << 20;

/// What is needed to compute, to wait for a pipe, and to end.
const NEEDED: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Gives up what cannot be needed. From here on no file can be opened, no connection made, no program started, nothing read but from
/// `input` and nothing written but to `output`: whoever tries is ended by the system.
pub(super) fn confine(input: &File, output: &File) -> io::Result<()> {
    let at_most = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    // Whoever started it may die without a word, and a script may never end.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, 0)?;
    at_most(Resource::Nproc, 0)?;
    at_most(Resource::Data, data()? + MEMORY)?;
    // The streams it has, and none besides.
    at_most(Resource::Nofile, 4)?;
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEEDED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_read, vec![with(input)?]);
    rules.insert(libc::SYS_write, vec![with(output)?]);
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch);
    let program: BpfProgram = filter.map_err(io::Error::other)?.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// That the first argument of a call is this file.
fn with(file: &File) -> io::Result<SeccompRule> {
    let number = u64::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number);
    SeccompRule::new(vec![is_it.map_err(io::Error::other)?]).map_err(io::Error::other)
}

/// How much memory it has asked for, in bytes: allocators ask for more than they need (`proc(5)`, the sixth field of `statm`).
fn data() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = statm.split_whitespace().nth(5).and_then(|pages| pages.parse().ok());
    let size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    pages.map(|pages| pages * size).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
