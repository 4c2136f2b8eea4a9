//! Where trace lines go.
//!
//! A call's line is printed when the call ends. If a line of a call that began later comes first, the call is printed in
//! two: `NAME(… <unfinished ...>` before that line, `<... NAME resumed>…` at its end. When a vCPU has nothing to do,
//! the beginnings of the calls under way are shown, so that a guest that hangs shows where.
//!
//! Lock: TRACE, outside of PRINTK alone.

use crate::printk::Sink;
use crate::sync::{SpinLock, rank};

const UNFINISHED: &str = " <unfinished ...>\n";

struct Output {
    sink: Option<Sink>,
    /// Calls under way of which nothing is printed, in the order of their beginnings.
    pending: Vec<(i32, String)>,
    /// The task whose call is the unfinished last line.
    open: Option<i32>,
}

static OUTPUT: SpinLock<Output> =
    SpinLock::new(rank::TRACE, Output { sink: None, pending: Vec::new(), open: None });

/// Sets where traces go.
pub fn set_sink(sink: Option<Sink>) {
    OUTPUT.lock().sink = sink;
}

/// A call of `tid` begins, with this text.
pub(super) fn begin(tid: i32, head: String) {
    OUTPUT.lock().begin(tid, head);
}

/// The call of `tid` ends: `resumed` goes before `tail` if the beginning stands on another line.
pub(super) fn end(tid: i32, resumed: &str, tail: &str) {
    OUTPUT.lock().end(tid, resumed, tail);
}

/// A line of its own.
pub(super) fn whole(line: &str) {
    let mut output = OUTPUT.lock();
    let under_way = output.pending.len();
    output.flush(under_way);
    output.close(None);
    output.write(&format!("{line}\n"));
}

/// Shows the beginnings of calls that are under way: the vCPU has nothing to do.
pub fn idle() {
    OUTPUT.lock().idle();
}

/// Ends a line that a call has begun, before something else is written to the same place.
pub fn break_line() {
    OUTPUT.lock().close(None);
}

impl Output {
    fn write(&mut self, text: &str) {
        if let Some(sink) = &mut self.sink {
            sink(text);
        }
    }

    fn begin(&mut self, tid: i32, head: String) {
        // A call that never came back: its task had an oops.
        self.pending.retain(|(t, _)| *t != tid);
        self.pending.push((tid, head));
    }

    fn end(&mut self, tid: i32, resumed: &str, tail: &str) {
        if let Some(at) = self.pending.iter().position(|(t, _)| *t == tid) {
            self.flush(at);
            let (_, head) = self.pending.remove(0);
            self.close(None);
            self.write(&format!("{head}{tail}\n"));
        } else if self.open == Some(tid) {
            self.open = None;
            self.write(&format!("{tail}\n"));
        } else {
            let all = self.pending.len();
            self.flush(all);
            self.close(None);
            self.write(&format!("{resumed}{tail}\n"));
        }
    }

    /// Prints the beginnings of the first `count` calls as unfinished.
    fn flush(&mut self, count: usize) {
        for (_, head) in self.pending.drain(..count).collect::<Vec<_>>() {
            self.close(None);
            self.write(&format!("{head}{UNFINISHED}"));
        }
    }

    /// Ends the line that is open, and notes whose line is open now.
    fn close(&mut self, next: Option<i32>) {
        if core::mem::replace(&mut self.open, next).is_some() {
            self.write(UNFINISHED);
        }
    }

    fn idle(&mut self) {
        let Some(last) = self.pending.len().checked_sub(1) else { return };
        self.flush(last);
        if let Some((tid, head)) = self.pending.pop() {
            self.close(Some(tid));
            self.write(&head);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn output() -> (Output, Arc<Mutex<String>>) {
        let text = Arc::new(Mutex::new(String::new()));
        let copy = text.clone();
        let sink: Sink = Box::new(move |t: &str| copy.lock().unwrap().push_str(t));
        (Output { sink: Some(sink), pending: Vec::new(), open: None }, text)
    }

    #[test]
    fn calls_that_do_not_overlap_are_whole() {
        let (mut out, text) = output();
        out.begin(1, "a(".into());
        out.end(1, "R", ") = 0");
        // One that began first and ended first is whole, too.
        out.begin(1, "b(".into());
        out.begin(2, "c(".into());
        out.end(1, "R", ") = 1");
        out.end(2, "R", ") = 2");
        assert_eq!(*text.lock().unwrap(), "a() = 0\nb() = 1\nc() = 2\n");
    }

    #[test]
    fn a_line_between_cuts_a_call_in_two() {
        let (mut out, text) = output();
        out.begin(1, "wait(".into());
        out.begin(2, "b(".into());
        out.end(2, "R", ") = 2");
        out.end(1, "<... wait resumed>", ") = 1");
        assert_eq!(*text.lock().unwrap(), "wait( <unfinished ...>\nb() = 2\n<... wait resumed>) = 1\n");
    }

    #[test]
    fn an_idle_machine_shows_what_blocks() {
        let (mut out, text) = output();
        out.begin(1, "wait(".into());
        out.begin(2, "read(".into());
        out.idle();
        assert_eq!(*text.lock().unwrap(), "wait( <unfinished ...>\nread(");
        out.end(2, "R", "3) = 3");
        out.end(1, "<... wait resumed>", ") = 1");
        assert_eq!(*text.lock().unwrap(), "wait( <unfinished ...>\nread(3) = 3\n<... wait resumed>) = 1\n");
    }
}
