//! /proc/PID/status: the same as stat and more, for people.

use std::sync::atomic::Ordering;

use abi::Result;
use abi::resource::RLIMIT_SIGPENDING;

use super::super::{Text, put};
use super::Who;
use super::stat::{Signals, state};
use crate::fs::cpu_set;
use crate::mm::Mm;
use crate::signal::pending_of_user;
use crate::task::{Task, pid};

/// /proc/PID/status
pub(super) fn status(who: &Who) -> Result<Vec<u8>> {
    let task = who.task()?;
    let mut out = Text::default();
    out.bytes(b"Name:\t");
    out.escaped(&task.comm(), b"\n\\");
    put!(out, "\nUmask:\t{:04o}\n", task.fs().umask());
    identity(&mut out, who, &task);
    match task.mm() {
        Ok(mm) => memory(&mut out, &mm),
        Err(_) => put!(out, "Kthread:\t{}\n", u8::from(state(&task).0 != 'Z')),
    }
    signals(&mut out, &task);
    credentials(&mut out, &task);
    cpus(&mut out, &task);
    let [_, _, voluntary, involuntary] = task.counters();
    put!(out, "voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{involuntary}\n");
    Ok(out.0)
}

fn identity(out: &mut Text, who: &Who, task: &Task) {
    let process = &task.process;
    let (letter, word) = state(task);
    put!(out, "State:\t{letter} ({word})\nTgid:\t{}\nNgid:\t0\n", process.tgid);
    put!(out, "Pid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n", who.pid, process.ppid(), task.ptrace.tracer_pid());
    let cred = task.cred();
    put!(out, "Uid:\t{}\t{}\t{}\t{}\n", cred.uid, cred.euid, cred.suid, cred.fsuid);
    put!(out, "Gid:\t{}\t{}\t{}\t{}\n", cred.gid, cred.egid, cred.sgid, cred.fsgid);
    // As Linux's tables grow: at least 64, then by doubling.
    let fds = task.files().map_or(0, |files| files.len().next_power_of_two().max(64));
    put!(out, "FDSize:\t{fds}\nGroups:\t");
    cred.groups.iter().for_each(|group| put!(out, "{group} "));
    put!(out, "\nNStgid:\t{}\nNSpid:\t{}\n", process.tgid, who.pid);
    put!(out, "NSpgid:\t{}\nNSsid:\t{}\n", process.pgrp(), process.session());
}

fn memory(out: &mut Text, mm: &Mm) {
    let stat = mm.stat();
    let (totals, layout) = (stat.totals, stat.layout);
    let shared = mm.space.shared_bytes();
    let page = abi::mm::PAGE_SIZE;
    let text = layout
        .end_code
        .next_multiple_of(page)
        .saturating_sub(layout.start_code & !(page - 1))
        .min(totals.exec);
    out.bytes(b"Kthread:\t0\n");
    let mut line = |name: &str, bytes: u64| put!(out, "{name}:\t{:8} kB\n", bytes >> 10);
    line("VmPeak", totals.total.max(stat.hiwater_vm));
    line("VmSize", totals.total);
    line("VmLck", totals.locked);
    line("VmPin", 0);
    line("VmHWM", stat.hiwater_rss.max(stat.rss));
    line("VmRSS", stat.rss);
    line("RssAnon", stat.rss.saturating_sub(shared));
    line("RssFile", shared);
    line("RssShmem", 0);
    line("VmData", totals.data);
    line("VmStk", totals.stack);
    line("VmExe", text);
    line("VmLib", totals.exec - text);
    line("VmPTE", (stat.rss / 512).next_multiple_of(page));
    line("VmSwap", 0);
    line("HugetlbPages", 0);
    out.bytes(b"CoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\n");
}

fn signals(out: &mut Text, task: &Task) {
    let process = &task.process;
    let queued = pending_of_user(task.cred().uid);
    put!(
        out,
        "Threads:\t{}\nSigQ:\t{queued}/{}\n",
        process.threads().len(),
        process.rlimit(RLIMIT_SIGPENDING)
    );
    let set = Signals::of(task);
    let lines = [
        ("SigPnd", set.pending),
        ("ShdPnd", set.shared),
        ("SigBlk", set.blocked),
        ("SigIgn", set.ignored),
        ("SigCgt", set.caught),
    ];
    lines.iter().for_each(|(name, bits)| put!(out, "{name}:\t{bits:016x}\n"));
}

fn credentials(out: &mut Text, task: &Task) {
    let cred = task.cred();
    let lines = [
        ("CapInh", cred.inheritable),
        ("CapPrm", cred.permitted),
        ("CapEff", cred.effective),
        ("CapBnd", cred.bounding),
        ("CapAmb", cred.ambient),
    ];
    lines.iter().for_each(|(name, set)| put!(out, "{name}:\t{:016x}\n", set.0));
    put!(out, "NoNewPrivs:\t{}\n", u8::from(task.no_new_privs.load(Ordering::Relaxed)));
    put!(out, "Seccomp:\t{}\nSeccomp_filters:\t{}\n", task.seccomp.mode(), task.seccomp.count());
    out.bytes(b"Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n");
}

fn cpus(out: &mut Text, task: &Task) {
    let allowed = task.sched.attr().affinity & cpu_set::all();
    put!(out, "Cpus_allowed:\t{}\n", cpu_set::mask(allowed, cpu_set::count()));
    put!(out, "Cpus_allowed_list:\t{}\n", cpu_set::list(allowed));
    out.bytes(b"Mems_allowed:\t1\nMems_allowed_list:\t0\n");
}

/// A line in /proc/ruml/tasks about one thread.
pub(in super::super) fn brief(task: &Task) -> Vec<u8> {
    let mut out = Text::default();
    put!(out, "{:>7} {:>7} {} ", task.tgid(), task.tid(), state(task).0);
    out.escaped(&task.comm(), b"\n\\");
    put!(
        out,
        " cpu {} on_cpu {}",
        task.sched.last_cpu.load(Ordering::Relaxed),
        u8::from(task.sched.on_cpu())
    );
    put!(out, " killed {}\n", u8::from(task.killed.load(Ordering::Relaxed)));
    out.0
}

/// Every thread of every process.
pub(in super::super) fn all_tasks() -> Vec<std::sync::Arc<Task>> {
    pid::tasklist().all_tasks()
}
