//! Terminals.

/// A terminal.
pub struct Tty;

/// The leader of a session exits: its controlling terminal is hung up.
pub fn session_leader_exit(_process: &crate::task::Process) {}
