//! Tracing: a line for each syscall, as strace(1) prints them, with signals and exits.
//!
//! - `calls.rs`: which calls are traced (`--trace=CALLS`).
//! - `line.rs`: the text of arguments, and guest memory as a decoder reads it.
//! - `output.rs`: where lines go, and calls that another task's line cuts in two.
//! - `decode.rs` and what is under it: what arguments and results mean, by area; the table names them.
//!
//! A trace changes nothing: memory is read without serving faults, and what cannot be read is shown as an address.

mod calls;
pub(super) mod decode;
mod line;
mod output;

use std::sync::atomic::{AtomicBool, Ordering};

use abi::signal::SigInfo;
use abi::{Errno, Result};

use super::table::Syscall;
use crate::task::Task;

pub use calls::CallSet;
pub use decode::signal_name;
pub(super) use line::{Decoder, Param};
pub use line::{Line, Memory};
pub use output::{break_line, idle, set_sink};

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Begins to trace these calls.
pub fn set_trace(calls: &CallSet) {
    calls.install();
    ENABLED.store(true, Ordering::SeqCst);
    // What stubs answer themselves would not be seen.
    host::answers::enable(false);
}

/// Whether syscalls are traced.
pub fn trace_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// `[PID NAME] ` of a task.
fn prefix(task: &Task) -> String {
    format!("[{} {}] ", task.tid(), task.comm().escape_ascii())
}

/// Runs a call and prints its line, if it is to be traced.
pub(super) fn traced(
    task: &Task,
    number: u64,
    args: &[u64; 6],
    entry: Option<&'static Syscall>,
    call: impl FnOnce() -> Result<u64>,
) -> Result<u64> {
    if !calls::wanted(number) {
        return call();
    }
    let name = abi::nr::name(number).map_or_else(|| format!("syscall_{number:#x}"), str::to_owned);
    let params = params(entry);
    let mut shown = Shown::new(&params, args, &task.mm().ok());
    // execve(2) of a thread changes the number.
    let tid = task.tid();
    output::begin(tid, format!("{}{name}({}", prefix(task), shown.head()));
    let started = host::clock::monotonic();
    let result = call();
    let took = host::clock::monotonic().saturating_sub(started);
    let memory = task.mm().ok();
    shown.finish(&params, args, &result, &memory);
    let mut line = Line::new(args, &memory, Some(&result));
    show_result(entry.and_then(|e| e.result), &result, &mut line);
    let tail = format!(
        "{}) = {} <{}.{:06}>",
        shown.tail(),
        line.text(),
        took / 1_000_000_000,
        took / 1000 % 1_000_000
    );
    output::end(tid, &format!("{}<... {name} resumed>", prefix(task)), &tail);
    result
}

/// How each argument is shown; of a call that isn't in the table nothing is known.
fn params(entry: Option<&'static Syscall>) -> Vec<Param> {
    let Some(entry) = entry else { return vec![Param::Before(decode::address); 6] };
    let types = (entry.types)();
    entry
        .params
        .iter()
        .zip(types)
        .map(|(param, by_type)| match *param {
            Param::Typed => Param::Before(*by_type),
            param => param,
        })
        .collect()
}

/// The arguments of a call as text: before it all but what it will have written.
struct Shown {
    /// None: left out.
    args: Vec<Option<String>>,
    /// So many were shown before the call.
    known: usize,
}

impl Shown {
    fn new(params: &[Param], args: &[u64; 6], memory: &dyn Memory) -> Shown {
        let shown = params.iter().zip(0..).map(|(param, index)| match param {
            Param::Before(decoder) => Line::new(args, memory, None).argument(index, *decoder),
            _ => Some(String::new()),
        });
        let known = params.iter().position(|p| matches!(p, Param::After(_))).unwrap_or(params.len());
        Shown { args: shown.collect(), known }
    }

    fn finish(&mut self, params: &[Param], args: &[u64; 6], result: &Result<u64>, memory: &dyn Memory) {
        for (index, (param, shown)) in params.iter().zip(&mut self.args).enumerate() {
            if let Param::After(decoder) = param {
                *shown = Line::new(args, memory, Some(result)).argument(index, *decoder);
            }
        }
    }

    /// The arguments up to the first that isn't known before the call.
    fn head(&self) -> String {
        let mut text = join(&self.args[..self.known]);
        if !text.is_empty() && self.known < self.args.len() {
            text.push_str(", ");
        }
        text
    }

    /// The others.
    fn tail(&self) -> String {
        join(&self.args[self.known..])
    }
}

fn join(args: &[Option<String>]) -> String {
    args.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn show_result(decoder: Option<Decoder>, result: &Result<u64>, line: &mut Line<'_>) {
    match (result, decoder) {
        (Ok(value), Some(decoder)) => decoder(*value, line),
        (Ok(value), None) => decode::signed(*value, line),
        (Err(errno), _) => show_errno(*errno, line),
    }
}

fn show_errno(errno: Errno, line: &mut Line<'_>) {
    use abi::errno::{ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS};
    let restart = match errno {
        ERESTARTSYS => "To be restarted if SA_RESTART is set",
        ERESTARTNOINTR => "To be restarted",
        ERESTARTNOHAND => "To be restarted if no handler",
        ERESTART_RESTARTBLOCK => "Interrupted by signal",
        _ => "",
    };
    if restart.is_empty() {
        write!(line, "-1 {errno} ({})", description(errno))
    } else {
        write!(line, "? {errno} ({restart})")
    }
}

/// What strerror(3) says.
fn description(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw()).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Prints a signal that the current task takes.
pub fn signal_taken(task: &Task, info: &SigInfo) {
    let mut line = Line::new(&[0; 6], &None, None);
    signal_name(info.si_signo as u64, &mut line);
    line.put(" ");
    decode::siginfo_fields(info, &mut line);
    output::whole(&format!("{}--- {} ---", prefix(task), line.text()));
}

/// Prints that the current task is stopped by a signal.
pub fn stopped(task: &Task, sig: u32) {
    let mut line = Line::new(&[0; 6], &None, None);
    signal_name(u64::from(sig), &mut line);
    output::whole(&format!("{}--- stopped by {} ---", prefix(task), line.text()));
}

/// Prints the end of a thread, with its wait status.
pub fn exited(task: &Task, status: i32) {
    use abi::wait::{wexitstatus, wifexited, wtermsig};
    let mut line = Line::new(&[0; 6], &None, None);
    if wifexited(status) {
        write!(line, "exited with {}", wexitstatus(status));
    } else {
        line.put("killed by ");
        signal_name(u64::from(wtermsig(status)), &mut line);
    }
    output::whole(&format!("{}+++ {} +++", prefix(task), line.text()));
}

#[cfg(test)]
mod tests;
