//! keyrack
fn main() {}
