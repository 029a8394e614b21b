//! `create_api_key`: short for `keyrack keys create` and `keyrack keys revoke`, with the same configuration.

fn main() -> std::process::ExitCode {
    keyrack::run_create_api_key(std::env::args_os())
}
