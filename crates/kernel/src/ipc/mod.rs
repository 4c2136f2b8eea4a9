//! Inter-process communication: pipes, eventfd, epoll, futexes, System V objects.

pub mod futex;
