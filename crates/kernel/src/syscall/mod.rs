//! The way in: numbers to handlers.
//!
//! - `table.rs`: one line a syscall: number, handler, arguments and how a trace shows them.
//! - `arg.rs`: how a register becomes a typed argument, and how a trace shows it.
//! - `entry.rs`: dispatch, restart, counting of calls that aren't there.
//! - `trace/`: what `--trace` prints.
//!
//! A handler is a plain function beside the concept that it belongs to (`vfs`, `task`, `signal` …); its parameters are
//! typed by [`Arg`] and its result by [`Ret`].

mod arg;
mod entry;
mod table;
pub mod trace;

pub use arg::{Arg, Ret, UserPath};
pub use entry::{dispatch, unimplemented_counts};
pub use table::{Syscall, entries, lookup};
pub use trace::{CallSet, set_trace, trace_enabled};
