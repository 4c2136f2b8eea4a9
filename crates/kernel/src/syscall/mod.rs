//! The way in: numbers to handlers.
//!
//! - `table.rs`: one line a syscall: number, handler, argument names.
//! - `arg.rs`: how a register becomes a typed argument, and how a trace shows it.
//! - `entry.rs`: dispatch, tracing, restart, counting of calls that aren't there.
//!
//! A handler is a plain function beside the concept that it belongs to (`vfs`, `task`, `signal` …); its parameters are
//! typed by [`Arg`] and its result by [`Ret`].

mod arg;
mod entry;
mod table;

pub use arg::{Arg, Ret, Show, UserPath};
pub use entry::{dispatch, set_trace, trace_enabled, unimplemented_counts};
pub use table::{Syscall, entries, lookup};
