//! What owners and admins are told.

use keyrack_client::wire;
use keyrack_engine::Notification;

use super::object;

/// A notification for the wire.
pub(crate) fn notification(one: Notification, read: bool) -> wire::Notification {
    wire::Notification {
        id: one.id.0,
        message: keyrack_engine::told(&one),
        kind: one.kind,
        subject_kind: one.subject_kind.as_str().to_owned(),
        subject_id: one.subject_id,
        subject_name: one.subject_name,
        data: object(Some(one.data)).unwrap_or_default(),
        created_at: one.created_at,
        read,
    }
}
