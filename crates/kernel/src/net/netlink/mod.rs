//! AF_NETLINK, netlink(7): messages between the kernel and programs, and among programs.
//!
//! - `socket.rs`: [`NetlinkSocket`]: addresses, groups, receiving. `deliver.rs`: who hears a message.
//! - `message.rs`: building and reading messages and their attributes.
//! - `route/`: NETLINK_ROUTE: interfaces, addresses, routes. NETLINK_KOBJECT_UEVENT is written by `crate::uevent`.
//!
//! Locks: SOCKET_TABLE over the list of sockets, then SOCKET of one at a time.

mod deliver;
pub mod message;
pub mod route;
mod socket;

pub use deliver::broadcast;
pub use socket::{NetlinkSocket, create, proc_table};
