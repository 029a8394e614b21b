//! Exit codes and how an error is told.

use std::process::ExitCode;

use keyrack_client::ClientError;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Something went wrong; nothing was changed, or the message says what was.
pub(crate) const FAILED: u8 = 1;
/// `verify` says no.
pub(crate) const NOT_VALID: u8 = 3;
/// The change is committed, but the running server was not seen to apply it.
pub(crate) const NOT_YET_SEEN: u8 = 4;

/// Tells an error on stderr, with its causes, and gives the exit code.
#[expect(clippy::print_stderr, reason = "this is where errors are told")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors repeat their cause; once is enough.
        if !told.contains(&cause) {
            eprintln!("  because: {cause}");
        }
        told = cause;
    }
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { body, .. }) if body.error == "not_yet_seen" => NOT_YET_SEEN,
        _ if matches!(error.downcast_ref(), Some(keyrack_engine::Error::NotYetSeen)) => NOT_YET_SEEN,
        _ => FAILED,
    }
}
