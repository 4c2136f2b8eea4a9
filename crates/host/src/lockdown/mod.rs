//! ruml locks itself in: what a guest that got hold of the kernel's process could still do to the host.
//!
//! - `landlock.rs`: of the host's files only the folders that the guest is shown, and /proc.
//! - `seccomp.rs`: only the host calls that this program needs; no exec, no fork, no ptrace, no new executable memory.
//!
//! Landlock holds for a thread and those it starts, so it comes before vCPUs are started ([`Ruleset::enter`], in the
//! helper threads too); seccomp holds for all threads at once and comes right before the first guest program
//! ([`seal`]), when the terminal and what else needs a fork is set up. Stub processes are outside: the first one is
//! started before either, and has a stricter filter of its own.

mod landlock;
mod seccomp;

pub use landlock::{Policy, Ruleset};
pub use seccomp::seal;

#[cfg(test)]
mod tests;
