//! [`TaskState`]: what a task is doing.

/// What a task is doing, as in /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// On a vCPU or in a run queue (R).
    Running,
    /// Asleep; a signal wakes it (S).
    Interruptible,
    /// Asleep; a fatal signal wakes it (D).
    Killable,
    /// Asleep; nothing but its event wakes it (D).
    Uninterruptible,
    /// Stopped by job control (T); SIGCONT or SIGKILL wakes it.
    Stopped,
    /// Stopped by a tracer (t).
    Traced,
    /// Exited, not yet reaped (Z).
    Zombie,
    /// Gone (X).
    Dead,
}

impl TaskState {
    /// The letter in /proc/PID/stat.
    pub fn letter(self) -> char {
        match self {
            TaskState::Running => 'R',
            TaskState::Interruptible => 'S',
            TaskState::Killable | TaskState::Uninterruptible => 'D',
            TaskState::Stopped => 'T',
            TaskState::Traced => 't',
            TaskState::Zombie => 'Z',
            TaskState::Dead => 'X',
        }
    }
}
