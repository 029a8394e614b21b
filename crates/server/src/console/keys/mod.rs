//! API keys: the list, making them, and all about one.

pub(super) mod change;
pub(super) mod create;
pub(super) mod end;
pub(super) mod list;
pub(super) mod page;
pub(super) mod reveal;
pub(super) mod rotate;
pub(super) mod selected;
