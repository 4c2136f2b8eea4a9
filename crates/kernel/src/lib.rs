//! The Linux kernel of ruml, in Linux's words.
//!
//! `syscall` is the way in; `task`, `sched` and `signal` are processes; `mm` is guest memory; `vfs` and `fs` are files;
//! `block`, `ipc`, `net`, `tty` and `time` are what their names say; `boot` brings the machine up. `sync` has the locks and the
//! wait primitive. ARCHITECTURE.md follows a syscall, a page fault and a block request through them.
#![forbid(unsafe_code)]

pub mod block;
pub mod boot;
pub mod bpf;
pub mod cgroup;
pub mod char;
pub mod event;
pub mod fastpath;
pub mod fs;
pub mod ipc;
pub mod keys;
pub mod mm;
pub mod net;
pub mod printk;
pub mod sched;
pub mod signal;
pub mod sync;
pub mod syscall;
pub mod task;
pub mod time;
pub mod tty;
pub mod uaccess;
pub mod uevent;
pub mod vfs;
