//! Scheduling and the system as a whole.

use abi::sched::{SCHED_RESET_ON_FORK, SchedParam};

use super::super::line::Line;

values! {
    policy_name(u32) in sched {
        SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_IDLE SCHED_DEADLINE SCHED_EXT
    }
    /// getpriority(2)
    priority_which(u32) in sched { PRIO_PROCESS PRIO_PGRP PRIO_USER }
    /// ioprio_get(2)
    ioprio_which(u32) in sched { IOPRIO_WHO_PROCESS IOPRIO_WHO_PGRP IOPRIO_WHO_USER }
    /// kcmp(2)
    kcmp_type(u32) in sched {
        KCMP_FILE KCMP_VM KCMP_FILES KCMP_FS KCMP_SIGHAND KCMP_IO KCMP_SYSVSEM KCMP_EPOLL_TFD
    }
    /// membarrier(2)
    membarrier_cmd(u32) in sched {
        MEMBARRIER_CMD_QUERY MEMBARRIER_CMD_GLOBAL MEMBARRIER_CMD_GLOBAL_EXPEDITED
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED MEMBARRIER_CMD_PRIVATE_EXPEDITED
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ MEMBARRIER_CMD_GET_REGISTRATIONS
    }
    /// reboot(2)
    reboot_cmd(u32) in utsname {
        LINUX_REBOOT_CMD_RESTART LINUX_REBOOT_CMD_HALT LINUX_REBOOT_CMD_CAD_ON LINUX_REBOOT_CMD_CAD_OFF
        LINUX_REBOOT_CMD_POWER_OFF LINUX_REBOOT_CMD_RESTART2
    }
}

flags! {
    /// membarrier(2)
    membarrier_flags(u32) in sched { MEMBARRIER_CMD_FLAG_CPU }
}

/// A scheduling policy with its flag.
pub fn policy(raw: u64, line: &mut Line<'_>) {
    let policy = raw as u32;
    policy_name(u64::from(policy & !SCHED_RESET_ON_FORK), line);
    if policy & SCHED_RESET_ON_FORK != 0 {
        line.put("|SCHED_RESET_ON_FORK");
    }
}

/// The result of sched_getscheduler(2).
pub fn policy_result(raw: u64, line: &mut Line<'_>) {
    write!(line, "{raw} (");
    policy(raw, line);
    line.put(")");
}

/// `struct sched_param`
pub fn sched_param(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |param: &SchedParam, line| write!(line, "[{}]", param.sched_priority));
}

/// A set of processors: its size is the argument before.
pub fn cpu_set(raw: u64, line: &mut Line<'_>) {
    let bytes = line.result().filter(|n| *n > 0).unwrap_or_else(|| line.previous_arg());
    if line.failed() {
        return line.put_addr(raw);
    }
    let mut words = Vec::new();
    for index in 0..(bytes / 8).min(16) {
        let Some(word) = line.read::<u64>(raw.wrapping_add(index * 8)) else { return line.put_addr(raw) };
        words.push(word);
    }
    line.put("[");
    let members = (0..words.len() * 64).filter(|i| words[i / 64] >> (i % 64) & 1 != 0);
    for (nth, member) in members.enumerate() {
        write!(line, "{}{member}", if nth > 0 { " " } else { "" });
    }
    line.put("]");
}
