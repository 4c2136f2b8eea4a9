//! Inter-process communication: pipes and FIFOs, splice, futexes, System V message queues and semaphores,
//! POSIX message queues.
//!
//! Neighbours: `event` (eventfd, epoll), `net::unix` (sockets), `mm` (shared memory).

pub mod futex;
pub mod mqueue;
pub mod pipe;
pub mod splice;
pub mod sysv;
