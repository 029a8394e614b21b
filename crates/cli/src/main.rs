//! The `keyrack` program.

/// Serving makes and drops many small things on several threads, which this allocator does at half the cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keyrack::run(std::env::args_os())
}
