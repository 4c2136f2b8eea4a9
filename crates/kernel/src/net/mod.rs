//! Sockets, socket(2).
//!
//! - `socket.rs`: what a protocol implements ([`Socket`]), its open file, sockfs. `calls.rs`: the syscalls but for
//!   messages, which are in `msg.rs` with their control data (`control.rs`) and addresses (`addr.rs`).
//! - `options.rs`: options of level SOL_SOCKET.
//! - `unix/`: AF_UNIX. `netlink/`: AF_NETLINK. `device.rs`: interfaces, of which there is the loopback device.
//!
//! Locks: SOCKET_TABLE (names), then SOCKET (one socket's state); no two sockets' locks are held at once.

mod addr;
mod calls;
mod control;
pub mod device;
mod inet;
mod msg;
pub mod netlink;
mod options;
mod socket;
pub mod unix;

pub use calls::{
    accept, accept4, bind, connect, getpeername, getsockname, getsockopt, listen, setsockopt, shutdown,
    socket, socketpair,
};
pub use msg::{recvfrom, recvmmsg, recvmsg, sendmmsg, sendmsg, sendto};
pub use options::{BUF_DEFAULT, BUF_MAX};
pub use socket::register;
pub use socket::{Ancillary, RecvMsg, SendMsg, Socket, SocketFile};
