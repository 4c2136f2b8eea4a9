//! /proc/PID/stat and statm: numbers in a line.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::resource::RLIMIT_RSS;
use abi::signal::{SIG_DFL, SIG_IGN};
use abi::time::{NSEC_PER_SEC, USER_HZ};

use super::super::{Text, put};
use super::Who;
use crate::sched::guest_so_far;
use crate::task::{Process, Task, TaskState, ptrace_access, rusage};

/// Flags of a task that programs look at.
const PF_EXITING: u32 = 0x4;
const PF_FORKNOEXEC: u32 = 0x40;
const PF_KTHREAD: u32 = 0x20_0000;
const PF_RANDOMIZE: u32 = 0x40_0000;

const PAGE: u64 = abi::mm::PAGE_SIZE;

/// ns in ticks of USER_HZ.
pub(in super::super) fn ticks(ns: u64) -> u64 {
    ns / (NSEC_PER_SEC / USER_HZ)
}

/// Start of a task since the boot, ns.
pub(super) fn start_time(task: &Task) -> u64 {
    // Both clocks are the host's; only their distance to the guest's counts.
    let age = host::clock::boottime().saturating_sub(task.start_time);
    crate::time::since_boot().saturating_sub(age)
}

/// Sets of signals, by bit.
#[derive(Default)]
pub(super) struct Signals {
    pub pending: u64,
    pub shared: u64,
    pub blocked: u64,
    pub ignored: u64,
    pub caught: u64,
}

impl Signals {
    pub fn of(task: &Task) -> Signals {
        let process = &task.process;
        let mut signals = Signals { shared: process.pending.lock().set.bits, ..Signals::default() };
        {
            let own = task.signal.lock();
            (signals.pending, signals.blocked) = (own.pending.set.bits, own.blocked.bits);
        }
        let actions = *process.sighand().actions.lock();
        for (i, action) in actions.iter().enumerate() {
            match action.handler {
                SIG_DFL => {}
                SIG_IGN => signals.ignored |= 1 << i,
                _ => signals.caught |= 1 << i,
            }
        }
        signals
    }
}

/// /proc/PID/stat
pub(super) fn stat(who: &Who) -> Result<Vec<u8>> {
    let task = who.task()?;
    let process = &task.process;
    let may_look = ptrace_access(&task).is_ok();
    let mm = task.mm().ok().map(|mm| mm.stat());
    let threads = process.threads();
    let signals = Signals::of(&task);
    let attr = task.sched.attr();
    let (tty_nr, tty_pgrp) = terminal(process);

    let mut out = Text::default();
    put!(out, "{} (", who.pid);
    out.bytes(&task.comm());
    put!(out, ") {} {}", state(&task).0, process.ppid());
    put!(out, " {} {} {tty_nr} {tty_pgrp} {}", process.pgrp(), process.session(), flags(&task));
    let Cpu { min_flt, maj_flt, user, system } = cpu(who, &task, &threads);
    let (cmin_flt, cmaj_flt) = if who.whole { children_faults(process) } else { (0, 0) };
    put!(out, " {min_flt} {cmin_flt} {maj_flt} {cmaj_flt} {} {}", ticks(user), ticks(system));
    let load = |n: &std::sync::atomic::AtomicU64| ticks(n.load(Ordering::Relaxed));
    put!(out, " {} {}", load(&process.cutime), load(&process.cstime));
    let effective = task.sched.realtime_priority();
    let (priority, rt_priority) = if effective > 0 {
        (-1 - i64::from(effective), attr.priority)
    } else {
        (20 + i64::from(attr.nice), 0)
    };
    put!(out, " {priority} {} {} 0 {}", attr.nice, threads.len(), ticks(start_time(&task)));
    let rsslim = process.rlimit(RLIMIT_RSS);
    match &mm {
        Some(mm) => {
            let l = &mm.layout;
            let shown = |addr: u64, hidden: u64| if may_look { addr } else { hidden };
            put!(out, " {} {} {rsslim}", mm.totals.total, mm.rss / PAGE);
            put!(out, " {} {} {}", shown(l.start_code, 1), shown(l.end_code, 1), shown(l.start_stack, 0));
        }
        None => put!(out, " 0 0 {rsslim} 0 0 0"),
    }
    // The stack pointer and the instruction pointer, of tasks that are being dumped only.
    put!(out, " 0 0");
    // Real-time signals don't fit in these.
    let low = |set: u64| set & 0x7fff_ffff;
    let (pending, blocked) = (low(signals.pending), low(signals.blocked));
    put!(out, " {pending} {blocked} {} {}", low(signals.ignored), low(signals.caught));
    let waits = state(&task).0 != 'R';
    put!(out, " {} 0 0 {}", u8::from(waits && may_look), exit_signal(who, process));
    let last_cpu = task.sched.last_cpu.load(Ordering::Relaxed);
    put!(out, " {last_cpu} {rt_priority} {} 0 0 0", attr.policy as u32);
    match mm.filter(|_| may_look) {
        Some(mm) => {
            let l = mm.layout;
            put!(out, " {} {} {} {}", l.start_data, l.end_data, l.start_brk, l.arg_start);
            put!(out, " {} {} {}", l.arg_end, l.env_start, l.env_end);
        }
        None => put!(out, " 0 0 0 0 0 0 0"),
    }
    let exit_code = if may_look { exit_code(who, &task) } else { 0 };
    put!(out, " {exit_code}\n");
    Ok(out.0)
}

/// The letter and the word for a task's state.
pub(super) fn state(task: &Task) -> (char, &'static str) {
    let letter = task.state().letter();
    let word = match letter {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk sleep",
        'T' => "stopped",
        't' => "tracing stop",
        'Z' => "zombie",
        _ => "dead",
    };
    (letter, word)
}

/// Device number and foreground group of the controlling terminal: 0 and -1 for none.
fn terminal(process: &Process) -> (u64, i32) {
    let tty = process.link.lock().tty.clone();
    tty.map_or((0, -1), |tty| {
        let dev = abi::stat::makedev(tty.dev.0, tty.dev.1);
        (dev, tty.session_and_foreground().1)
    })
}

fn flags(task: &Task) -> u32 {
    let mut flags = PF_RANDOMIZE;
    let ended = task.state() == TaskState::Zombie;
    if task.mm().is_err() && !ended {
        flags |= PF_KTHREAD;
    }
    if !task.process.did_exec.load(Ordering::Relaxed) {
        flags |= PF_FORKNOEXEC;
    }
    if task.killed.load(Ordering::Relaxed) || ended {
        flags |= PF_EXITING;
    }
    flags
}

/// Faults and CPU time.
struct Cpu {
    min_flt: u64,
    maj_flt: u64,
    user: u64,
    system: u64,
}

fn cpu(who: &Who, task: &Task, threads: &[Arc<Task>]) -> Cpu {
    let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    if !who.whole {
        let [min_flt, maj_flt, ..] = task.counters();
        return Cpu {
            min_flt,
            maj_flt,
            user: load(&task.sched.utime) + guest_so_far(task),
            system: load(&task.sched.stime),
        };
    }
    let process = &task.process;
    let dead = process.totals.lock().own;
    let living = rusage::living(process);
    let (min_flt, maj_flt) = (dead[0] + living[0], dead[1] + living[1]);
    let under_way: u64 = threads.iter().map(|t| guest_so_far(t)).sum();
    Cpu { min_flt, maj_flt, user: load(&process.utime) + under_way, system: load(&process.stime) }
}

fn children_faults(process: &Process) -> (u64, u64) {
    let [min_flt, maj_flt, ..] = process.totals.lock().children;
    (min_flt, maj_flt)
}

/// A thread that is not the first tells nobody.
fn exit_signal(who: &Who, process: &Process) -> i32 {
    if who.pid == process.tgid { process.exit_signal.load(Ordering::Relaxed) } else { -1 }
}

fn exit_code(who: &Who, task: &Task) -> i32 {
    if who.whole && task.process.zombie.load(Ordering::Relaxed) {
        return task.process.exit_code.load(Ordering::Relaxed);
    }
    task.exit_code.load(Ordering::Relaxed)
}

/// /proc/PID/statm: pages.
pub(super) fn statm(who: &Who) -> Result<Vec<u8>> {
    let Some(mm) = who.mm()? else { return Ok(b"0 0 0 0 0 0 0\n".to_vec()) };
    let stat = mm.stat();
    let code =
        stat.layout.end_code.next_multiple_of(PAGE).saturating_sub(stat.layout.start_code & !(PAGE - 1));
    let data = stat.totals.data + stat.totals.stack;
    let shared = mm.space.shared_bytes();
    let line = format!(
        "{} {} {} {} 0 {} 0\n",
        stat.totals.total / PAGE,
        stat.rss / PAGE,
        shared / PAGE,
        code / PAGE,
        data / PAGE
    );
    Ok(line.into_bytes())
}
