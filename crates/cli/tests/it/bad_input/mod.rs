//! Whatever is sent, the answer says what is wrong with it, nothing changes, and the server goes on.

mod addresses;
mod bodies;
mod carriers;
mod doors;
mod foreign;
mod names;
mod schema;
mod sockets;
mod values;
