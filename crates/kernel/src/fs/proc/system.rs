//! What the machine is and does: stat, uptime, loadavg, version, cmdline, cpuinfo, sysrq-trigger.

use std::sync::Arc;

use abi::resource::SI_LOAD_SHIFT;
use abi::time::NSEC_PER_SEC;

use super::pid::ticks;
use super::put;
use crate::fs::kernfs::{Tree, text, var};
use crate::sched::{loads, vcpus};
use crate::task::sys::{RELEASE, VERSION};
use crate::task::{TaskState, pid};
use crate::{boot, time};

pub(super) fn files() -> Vec<Arc<Tree>> {
    vec![
        text("cmdline", || format!("{}\n", boot::machine_cmdline())),
        text("cpuinfo", cpuinfo),
        text("loadavg", loadavg),
        text("stat", stat),
        text("uptime", uptime),
        text("version", || format!("Linux version {RELEASE} (ruml@ruml) (rustc) {VERSION}\n")),
        var("sysrq-trigger", 0o200, String::new, super::sysrq::write),
    ]
}

fn uptime() -> String {
    let idle: u64 = vcpus().iter().map(|v| v.times().idle).sum();
    let centis = |ns: u64| (ns / NSEC_PER_SEC, ns % NSEC_PER_SEC / 10_000_000);
    let ((s, c), (idle_s, idle_c)) = (centis(time::since_boot()), centis(idle));
    format!("{s}.{c:02} {idle_s}.{idle_c:02}\n")
}

/// Threads that run or wait for a vCPU, and that sleep without being interruptible.
fn running_and_blocked() -> (usize, usize) {
    let all = pid::tasklist().all_tasks();
    let count = |wanted: fn(TaskState) -> bool| all.iter().filter(|t| wanted(t.state())).count();
    let running = count(|s| s == TaskState::Running);
    (running, count(|s| matches!(s, TaskState::Uninterruptible | TaskState::Killable)))
}

fn loadavg() -> String {
    let one = 1u64 << SI_LOAD_SHIFT;
    let mut out = String::new();
    for load in loads() {
        // Rounded to hundredths.
        let load = load + one / 200;
        put!(out, "{}.{:02} ", load / one, load % one * 100 / one);
    }
    let (threads, last) = {
        let list = pid::tasklist();
        (list.threads(), list.last_pid())
    };
    put!(out, "{}/{threads} {last}\n", running_and_blocked().0);
    out
}

fn stat() -> String {
    let times: Vec<_> = vcpus().iter().map(|v| v.times()).collect();
    let sum = |part: fn(&crate::sched::CpuTimes) -> u64| times.iter().map(part).sum::<u64>();
    let mut out = String::new();
    let mut line = |name: &str, user: u64, system: u64, idle: u64| {
        put!(out, "{name} {} 0 {} {} 0 0 0 0 0 0\n", ticks(user), ticks(system), ticks(idle));
    };
    line("cpu ", sum(|t| t.user), sum(|t| t.system), sum(|t| t.idle));
    for (i, t) in times.iter().enumerate() {
        line(&format!("cpu{i}"), t.user, t.system, t.idle);
    }
    let switches: u64 = vcpus().iter().map(|v| v.switches()).sum();
    let now = time::now_realtime().tv_sec as u64;
    let btime = now.saturating_sub(time::since_boot() / NSEC_PER_SEC);
    let (running, blocked) = running_and_blocked();
    put!(out, "intr 0\nctxt {switches}\nbtime {btime}\nprocesses {}\n", pid::tasklist().forks());
    put!(out, "procs_running {running}\nprocs_blocked {blocked}\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n");
    out
}

/// The host's processors, as many as there are vCPUs: guest programs run on them as they are.
fn cpuinfo() -> String {
    cpuinfo_of(host::cpu::cpuinfo(), vcpus().len().max(1))
}

fn cpuinfo_of(host: &str, count: usize) -> String {
    let blocks: Vec<&str> = host.split("\n\n").filter(|b| b.starts_with("processor")).collect();
    let mut out = String::new();
    for n in 0..count {
        let block = blocks.get(n).or(blocks.first()).copied().unwrap_or("processor\t: 0");
        for line in block.lines() {
            let key = line.split(['\t', ':']).next().unwrap_or_default();
            match key {
                "processor" | "core id" | "apicid" | "initial apicid" => put!(out, "{}{n}\n", label(line)),
                "siblings" | "cpu cores" => put!(out, "{}{count}\n", label(line)),
                "physical id" => put!(out, "{}0\n", label(line)),
                // A guest of this machine has no use for its virtualisation.
                "vmx flags" => {}
                "flags" => put!(out, "{}{}\n", label(line), without_vm(line)),
                _ => put!(out, "{line}\n"),
            }
        }
        out.push('\n');
    }
    out
}

/// What stands before the value, colon and blank included.
fn label(line: &str) -> String {
    line.split_once(": ").map_or_else(|| line.to_owned(), |(key, _)| format!("{key}: "))
}

fn without_vm(line: &str) -> String {
    let flags = line.split_once(": ").map_or("", |(_, flags)| flags);
    flags.split(' ').filter(|f| !matches!(*f, "vmx" | "svm")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_anew() {
        let host = "processor\t: 0\nphysical id\t: 3\nsiblings\t: 64\ncore id\t\t: 9\nflags\t\t: fpu vmx sse\n\n\
                    processor\t: 1\ncore id\t\t: 10\n\n";
        let text = cpuinfo_of(host, 3);
        let blocks: Vec<&str> = text.split("\n\n").filter(|b| !b.is_empty()).collect();
        assert_eq!(blocks.len(), 3);
        assert_eq!(
            blocks[0],
            "processor\t: 0\nphysical id\t: 0\nsiblings\t: 3\ncore id\t\t: 0\nflags\t\t: fpu sse"
        );
        assert!(blocks[1].starts_with("processor\t: 1\ncore id\t\t: 1"));
        assert!(blocks[2].starts_with("processor\t: 2\nphysical id\t: 0"));
    }
}
