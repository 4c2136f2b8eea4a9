//! AF_UNIX, unix(7).
//!
//! - `socket.rs`: [`UnixSocket`] and its state. `options.rs`: its own options. `close.rs`: shutdown and the end.
//!   `stream.rs`, `dgram.rs`: how bytes travel. `connect.rs`: connect, listen, accept. `name.rs`: addresses. `queue.rs`:
//!   messages in a receive queue and who pays for them. `scm.rs`: descriptors in flight. `gc.rs`: sockets that only
//!   messages of each other hold.
//!
//! Locks: a reader's `iolock` (sleeping), then `gc` (sleeping), then SOCKET of one socket at a time. A message is never
//! dropped under SOCKET: it may hold files.

mod close;
mod connect;
mod dgram;
mod gc;
mod name;
mod options;
mod path;
mod proc;
mod queue;
mod scm;
mod socket;
mod stream;

pub use proc::proc_line;
pub use scm::Rights;
pub use socket::{MAX_DGRAM_QLEN, UnixSocket, create, pair};
