//! What a page says of what was done just before: the address names it, the words stand here.

use http::Uri;

/// Every one of them.
const TOASTS: [(&str, &str); 36] = [
    ("welcome", "Signed in."),
    ("key-changed", "The key is changed."),
    ("key-disabled", "The key is disabled. Nothing accepts it."),
    ("key-enabled", "The key is enabled again."),
    ("key-revoked", "The key is revoked. Nothing accepts it."),
    ("key-deleted", "The key is deleted."),
    ("key-not-kept", "The text of this key is not kept: its group was not recoverable when it was made."),
    ("keys-done", "Done with the selected keys."),
    ("secret-ended", "The old secret is ended. Nothing accepts it."),
    ("group-created", "The group is created."),
    ("group-changed", "The group is changed."),
    ("group-deleted", "The group is deleted."),
    ("workspace-created", "The workspace is created."),
    ("workspace-changed", "The workspace is renamed."),
    ("workspace-deleted", "The workspace is deleted."),
    ("member-changed", "The role is changed."),
    ("member-removed", "The member is removed. Keys they made go on working."),
    ("invitation-withdrawn", "The invitation is withdrawn."),
    ("joined", "You are a member now."),
    ("route-created", "The route is created."),
    ("route-changed", "The route is changed."),
    ("script-saved", "The script is saved. It answers from now on."),
    ("route-deleted", "The route is deleted."),
    ("secret-created", "The secret is created. Callers are given it from now on."),
    ("secret-changed", "The secret is changed."),
    ("secret-deleted", "The secret is deleted. Callers who had it are given none, or one that counts less."),
    ("settings-changed", "The settings are changed."),
    ("read", "All notifications are marked as read."),
    ("profile-changed", "Your profile is changed."),
    ("password-changed", "Your password is changed. All other sessions have ended."),
    ("session-ended", "The session has ended."),
    ("second-factor-wanted", "Your organization lets in people with a second factor only. Set one up here."),
    ("factor-removed", "The second factor is removed."),
    ("organization-created", "The organization is created."),
    ("signed-out", "You are signed out."),
    ("ready", "Keyrack is set up. Sign in to begin."),
];

/// What was done.
#[derive(Clone, Copy)]
pub(super) struct Toast {
    name: &'static str,
    pub(super) words: &'static str,
}

impl Toast {
    /// Whether it was this.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// What the address of a page says was done.
pub(super) fn of(uri: &Uri) -> Option<Toast> {
    let done = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("done="))?;
    TOASTS.iter().find(|(name, _)| *name == done).map(|(name, words)| Toast { name, words })
}
