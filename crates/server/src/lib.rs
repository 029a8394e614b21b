//! HTTP: the management API, the doors and the listeners.
