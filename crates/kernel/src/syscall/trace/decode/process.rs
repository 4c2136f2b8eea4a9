//! Processes: clone, exec, wait, prctl, limits.

use abi::resource::{RLIM_INFINITY, Rlimit, Rusage};
use abi::sched::{CSIGNAL, CloneArgs};
use abi::utsname::Utsname;
use abi::wait::{W_CONTINUED, wcoredump, wexitstatus, wifexited, wifstopped, wtermsig};

use super::super::line::Line;
use super::{address, hex, signal_name};

flags! {
    clone_bits(u64) in sched {
        CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_PIDFD CLONE_PTRACE CLONE_VFORK CLONE_PARENT CLONE_THREAD
        CLONE_NEWNS CLONE_SYSVSEM CLONE_SETTLS CLONE_PARENT_SETTID CLONE_CHILD_CLEARTID CLONE_DETACHED CLONE_UNTRACED
        CLONE_CHILD_SETTID CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_IO
        CLONE_CLEAR_SIGHAND CLONE_INTO_CGROUP
    }
    /// unshare(2), setns(2)
    unshare_flags(u64) in sched {
        CLONE_NEWTIME CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_THREAD CLONE_NEWNS CLONE_SYSVSEM
        CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET
    }
    /// wait4(2), waitid(2)
    wait_options(u32) in wait { WNOHANG WSTOPPED WEXITED WCONTINUED WNOWAIT __WNOTHREAD __WALL __WCLONE }
    /// pidfd_open(2)
    pidfd_flags(u32) in sched { PIDFD_NONBLOCK PIDFD_THREAD }
    /// pidfd_send_signal(2)
    pidfd_signal_flags(u32) in sched { PIDFD_SIGNAL_THREAD PIDFD_SIGNAL_THREAD_GROUP PIDFD_SIGNAL_PROCESS_GROUP }
    /// getrandom(2)
    random_flags(u32) in ioctl { GRND_NONBLOCK GRND_RANDOM GRND_INSECURE }
    persona_bits(u32) in prctl {
        UNAME26 ADDR_NO_RANDOMIZE FDPIC_FUNCPTRS MMAP_PAGE_ZERO ADDR_COMPAT_LAYOUT READ_IMPLIES_EXEC ADDR_LIMIT_32BIT
        SHORT_INODE WHOLE_SECONDS STICKY_TIMEOUTS ADDR_LIMIT_3GB
    }
}

values! {
    /// waitid(2)
    id_type(u32) in wait { P_ALL P_PID P_PGID P_PIDFD }
    /// getrlimit(2)
    resource(u32) in resource {
        RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE
        RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME
    }
    /// getrusage(2)
    rusage_who(u32) in resource { RUSAGE_SELF RUSAGE_CHILDREN RUSAGE_THREAD }
    /// arch_prctl(2)
    arch_code(u32) in prctl {
        ARCH_SET_GS ARCH_SET_FS ARCH_GET_FS ARCH_GET_GS ARCH_GET_CPUID ARCH_SET_CPUID ARCH_GET_XCOMP_SUPP
        ARCH_GET_XCOMP_PERM ARCH_REQ_XCOMP_PERM ARCH_MAP_VDSO_X32 ARCH_MAP_VDSO_32 ARCH_MAP_VDSO_64 ARCH_SHSTK_ENABLE
        ARCH_SHSTK_DISABLE ARCH_SHSTK_LOCK ARCH_SHSTK_UNLOCK ARCH_SHSTK_STATUS
    }
    /// prctl(2)
    prctl_option(u32) in prctl {
        PR_SET_PDEATHSIG PR_GET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE PR_GET_UNALIGN PR_SET_UNALIGN PR_GET_KEEPCAPS
        PR_SET_KEEPCAPS PR_GET_FPEMU PR_SET_FPEMU PR_GET_FPEXC PR_SET_FPEXC PR_GET_TIMING PR_SET_TIMING PR_SET_NAME
        PR_GET_NAME PR_GET_ENDIAN PR_SET_ENDIAN PR_GET_SECCOMP PR_SET_SECCOMP PR_CAPBSET_READ PR_CAPBSET_DROP
        PR_GET_TSC PR_SET_TSC PR_GET_SECUREBITS PR_SET_SECUREBITS PR_SET_TIMERSLACK PR_GET_TIMERSLACK
        PR_TASK_PERF_EVENTS_DISABLE PR_TASK_PERF_EVENTS_ENABLE PR_MCE_KILL PR_MCE_KILL_GET PR_SET_MM
        PR_SET_CHILD_SUBREAPER PR_GET_CHILD_SUBREAPER PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS PR_GET_TID_ADDRESS
        PR_SET_THP_DISABLE PR_GET_THP_DISABLE PR_MPX_ENABLE_MANAGEMENT PR_MPX_DISABLE_MANAGEMENT PR_SET_FP_MODE
        PR_GET_FP_MODE PR_CAP_AMBIENT PR_SVE_SET_VL PR_SVE_GET_VL PR_GET_SPECULATION_CTRL PR_SET_SPECULATION_CTRL
        PR_PAC_RESET_KEYS PR_SET_TAGGED_ADDR_CTRL PR_GET_TAGGED_ADDR_CTRL PR_SET_IO_FLUSHER PR_GET_IO_FLUSHER
        PR_SET_SYSCALL_USER_DISPATCH PR_SCHED_CORE PR_SET_MDWE PR_GET_MDWE PR_SET_MEMORY_MERGE PR_GET_MEMORY_MERGE
        PR_FUTEX_HASH PR_SET_VMA PR_GET_AUXV PR_SET_PTRACER
    }
}

/// The flags of clone(2), with the exit signal in their low byte.
pub fn clone_flags(raw: u64, line: &mut Line<'_>) {
    let bits = raw & !CSIGNAL;
    if bits != 0 {
        clone_bits(bits, line);
    }
    match raw & CSIGNAL {
        0 if bits != 0 => {}
        0 => line.put("0"),
        signal => {
            line.put(if bits == 0 { "" } else { "|" });
            signal_name(signal, line);
        }
    }
}

/// `struct clone_args`; its first version, which every later one begins with.
pub fn clone_args(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |first: &[u64; abi::sched::CLONE_ARGS_SIZE_VER0 / 8], line| {
        let [flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls] = *first;
        let args = CloneArgs {
            flags,
            pidfd,
            child_tid,
            parent_tid,
            exit_signal,
            stack,
            stack_size,
            tls,
            ..CloneArgs::default()
        };
        line.put("{flags=");
        clone_bits(args.flags, line);
        for (name, value) in
            [("pidfd", args.pidfd), ("child_tid", args.child_tid), ("parent_tid", args.parent_tid)]
        {
            if value != 0 {
                write!(line, ", {name}={value:#x}");
            }
        }
        line.put(", exit_signal=");
        signal_name(args.exit_signal, line);
        line.put(", stack=");
        address(args.stack, line);
        write!(line, ", stack_size={:#x}", args.stack_size);
        if args.tls != 0 {
            write!(line, ", tls={:#x}", args.tls);
        }
        line.put("}");
    });
}

/// argv of execve(2).
pub fn argv(raw: u64, line: &mut Line<'_>) {
    let count = strings(raw, line);
    line.array(raw, count, |at: &u64, line| line.string(*at));
}

/// envp of execve(2): only how much there is.
pub fn envp(raw: u64, line: &mut Line<'_>) {
    let count = strings(raw, line);
    address(raw, line);
    if raw != 0 {
        write!(line, " /* {count} vars */");
    }
}

/// The length of an array of pointers that ends with a null one.
fn strings(raw: u64, line: &Line<'_>) -> u64 {
    (0..4096u64)
        .find(|i| line.read::<u64>(raw.wrapping_add(i * 8)).is_none_or(|pointer| pointer == 0))
        .unwrap_or(4096)
}

/// A wait status in memory.
pub fn wait_status(raw: u64, line: &mut Line<'_>) {
    // With WNOHANG and nobody to report, nothing is written.
    if line.result() == Some(0) {
        return address(raw, line);
    }
    line.object(raw, |status: &i32, line| {
        let status = *status;
        if status == W_CONTINUED {
            line.put("[{WIFCONTINUED(s)}]");
        } else if wifstopped(status) {
            line.put("[{WIFSTOPPED(s) && WSTOPSIG(s) == ");
            signal_name(wexitstatus(status) as u64, line);
            line.put("}]");
        } else if wifexited(status) {
            write!(line, "[{{WIFEXITED(s) && WEXITSTATUS(s) == {}}}]", wexitstatus(status));
        } else {
            line.put("[{WIFSIGNALED(s) && WTERMSIG(s) == ");
            signal_name(u64::from(wtermsig(status)), line);
            line.put(if wcoredump(status) { " && WCOREDUMP(s)}]" } else { "}]" });
        }
    });
}

/// `struct rusage`
pub fn rusage(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |usage: &Rusage, line| {
        line.put("{ru_utime=");
        super::timeval_fields(&usage.ru_utime, line);
        line.put(", ru_stime=");
        super::timeval_fields(&usage.ru_stime, line);
        line.put(", ...}");
    });
}

/// `struct rlimit`
pub fn rlimit(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |limit: &Rlimit, line| {
        line.put("{rlim_cur=");
        limit_value(limit.rlim_cur, line);
        line.put(", rlim_max=");
        limit_value(limit.rlim_max, line);
        line.put("}");
    });
}

fn limit_value(value: u64, line: &mut Line<'_>) {
    match value {
        RLIM_INFINITY => write!(line, "RLIM64_INFINITY"),
        value if value > 1024 && value % 1024 == 0 => write!(line, "{}*1024", value / 1024),
        value => write!(line, "{value}"),
    }
}

/// The second argument of prctl(2).
pub fn prctl_arg(raw: u64, line: &mut Line<'_>) {
    use abi::prctl::*;
    match line.arg(0) as u32 {
        PR_SET_PDEATHSIG => signal_name(raw, line),
        PR_SET_NAME => line.string(raw),
        PR_GET_DUMPABLE | PR_GET_KEEPCAPS | PR_GET_NO_NEW_PRIVS | PR_GET_TIMERSLACK | PR_GET_SECCOMP
        | PR_GET_SECUREBITS => line.omit(),
        _ => hex(raw, line),
    }
}

/// A further argument of prctl(2): left out with those behind it if they are all 0.
pub fn prctl_rest(raw: u64, line: &mut Line<'_>) {
    if line.rest_is_zero() { line.omit() } else { hex(raw, line) }
}

/// personality(2)
pub fn persona(raw: u64, line: &mut Line<'_>) {
    use abi::prctl::{PER_LINUX, PER_LINUX32, PER_MASK, PERSONALITY_QUERY};
    let persona = raw as u32;
    if persona == PERSONALITY_QUERY {
        return line.put("0xffffffff");
    }
    line.one_of(
        u64::from(persona & PER_MASK),
        &[(PER_LINUX.into(), "PER_LINUX"), (PER_LINUX32.into(), "PER_LINUX32")],
    );
    if persona & !PER_MASK != 0 {
        line.put("|");
        persona_bits(u64::from(persona & !PER_MASK), line);
    }
}

/// `struct utsname`
pub fn utsname(raw: u64, line: &mut Line<'_>) {
    line.object(raw, |names: &Utsname, line| {
        let text = |field: &[u8]| field.split(|b| *b == 0).next().unwrap_or_default().to_vec();
        line.put("{sysname=");
        line.quote(&text(&names.sysname));
        line.put(", nodename=");
        line.quote(&text(&names.nodename));
        line.put(", release=");
        line.quote(&text(&names.release));
        line.put(", ...}");
    });
}

/// Groups that setgroups(2) sets: their count is the argument before.
pub fn groups(raw: u64, line: &mut Line<'_>) {
    let count = line.previous_arg() as u32;
    line.array(raw, u64::from(count), |id: &u32, line| super::id(u64::from(*id), line));
}

/// Groups that getgroups(2) found.
pub fn groups_found(raw: u64, line: &mut Line<'_>) {
    match line.result().filter(|_| line.previous_arg() != 0) {
        Some(count) => line.array(raw, count, |id: &u32, line| super::id(u64::from(*id), line)),
        None => address(raw, line),
    }
}
