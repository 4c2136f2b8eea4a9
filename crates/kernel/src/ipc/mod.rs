//! Inter-process communication: pipes and FIFOs, splice, System V message queues and semaphores.
//!
//! Neighbours: `event` (eventfd, epoll), `net::unix` (sockets), `mm` (shared memory).

pub mod pipe;
