//! /proc/sys/kernel.

use std::sync::Arc;

use abi::Result;
use abi::errno::EINVAL;
use abi::utsname::__NEW_UTS_LEN;

use super::{cell, fixed, number, told};
use crate::fs::kernfs::{Tree, dir, text, var, word};
use crate::mm::overcommit;
use crate::task::sys::{self, RELEASE, VERSION};
use crate::task::{CapSet, coredump, fork, pid};
use crate::{printk, tty};

pub(super) fn tree() -> Arc<Tree> {
    let names = [
        text("ostype", || "Linux\n"),
        text("osrelease", || format!("{RELEASE}\n")),
        text("version", || format!("{VERSION}\n")),
        name("hostname", sys::hostname, sys::set_hostname),
        name("domainname", sys::domainname, sys::set_domainname),
    ];
    let limits = [
        told("cap_last_cap", || i64::from(CapSet::FULL.0.trailing_ones()) - 1),
        told("ngroups_max", || 65536),
        number(
            "pid_max",
            || i64::from(pid::pid_max()),
            (i64::from(pid::PID_MAX_RANGE.0), i64::from(pid::PID_MAX_RANGE.1)),
            |max| pid::set_pid_max(max as i32),
        ),
        fixed("threads-max", fork::max_threads() as i64),
        fixed("overflowuid", 65534),
        fixed("overflowgid", 65534),
        fixed("randomize_va_space", 2),
        fixed("tainted", 0),
        cell("panic", 0, (i64::from(i32::MIN), i64::from(i32::MAX))),
        cell("panic_on_oops", 0, (0, 1)),
        number(
            "core_uses_pid",
            || i64::from(coredump::uses_pid()),
            (0, 1),
            |on| coredump::set_uses_pid(on != 0),
        ),
        number(
            "core_pipe_limit",
            || i64::from(coredump::pipe_limit()),
            (0, i64::from(i32::MAX)),
            |limit| coredump::set_pipe_limit(limit as u32),
        ),
        fixed("dmesg_restrict", 0),
        fixed("kptr_restrict", 1),
        fixed("perf_event_paranoid", 2),
        fixed("unprivileged_bpf_disabled", 2),
        fixed("sched_autogroup_enabled", 0),
        fixed("sched_child_runs_first", 0),
        fixed("sched_rr_timeslice_ms", (crate::sched::SLICE / 1_000_000) as i64),
        fixed("ctrl-alt-del", 0),
        cell("sysrq", 1, (0, 511)),
    ];
    let sysv = [
        fixed("shmmax", i64::MAX),
        fixed("shmmni", 4096),
        told("shmall", || (overcommit::total() / abi::mm::PAGE_SIZE) as i64),
        fixed("msgmax", 8192),
        fixed("msgmnb", 16384),
        fixed("msgmni", 32000),
        text("sem", || "32000\t1024000000\t500\t32000\n"),
    ];
    let random = dir(
        "random",
        [
            text("boot_id", || format!("{}\n", sys::boot_id())),
            text("uuid", || format!("{}\n", sys::uuid())),
            told("entropy_avail", || i64::from(sys::ENTROPY_AVAIL)),
            told("poolsize", || i64::from(sys::ENTROPY_AVAIL)),
            fixed("urandom_min_reseed_secs", 60),
            fixed("write_wakeup_threshold", i64::from(sys::ENTROPY_AVAIL)),
        ],
    );
    let pty = dir(
        "pty",
        [
            fixed("max", tty::pty::MAX as i64),
            fixed("reserve", 0),
            told("nr", || tty::pty::nodes().len() as i64),
        ],
    );
    let printk = var("printk", 0o644, || format!("{}\t4\t1\t7\n", printk::console_level()), set_printk);
    let others = [random, pty, printk, core_pattern()];
    dir("kernel", names.into_iter().chain(limits).chain(sysv).chain(others))
}

/// A name up to its first newline, 64 bytes at most.
fn name(file: &str, get: fn() -> Vec<u8>, set: fn(&[u8])) -> Arc<Tree> {
    let show = move || {
        let mut name = get();
        name.push(b'\n');
        name
    };
    var(file, 0o644, show, move |data| {
        let end = data.iter().position(|&b| b == b'\n' || b == 0).unwrap_or(data.len());
        set(&data[..end.min(__NEW_UTS_LEN)]);
        Ok(())
    })
}

/// The first of four numbers is the console level; the others have no meaning here.
fn set_printk(data: &[u8]) -> Result<()> {
    let first = word(data)?.split_ascii_whitespace().next().ok_or(EINVAL)?;
    let level: u8 = first.parse().map_err(|_| EINVAL)?;
    printk::set_console_level(level);
    Ok(())
}

/// Where core dumps go.
fn core_pattern() -> Arc<Tree> {
    let show = || {
        let mut pattern = coredump::pattern();
        pattern.push(b'\n');
        pattern
    };
    var("core_pattern", 0o644, show, |data| {
        let end = data.iter().position(|&b| b == b'\n' || b == 0).unwrap_or(data.len());
        coredump::set_pattern(&data[..end]);
        Ok(())
    })
}
