//! The `keyrack` program.

fn main() -> std::process::ExitCode {
    keyrack::run(std::env::args_os())
}
