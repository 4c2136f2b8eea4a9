//! The seccomp filter of this program itself.
//!
//! A call that is not in [`PLAIN`] and passes no check of [`checked`] is not made: it answers EPERM, and the first time
//! for each number a line on standard error says so, because it is ruml's own mistake or an attack. The list is what
//! this program, Rust's library and glibc call.

use std::sync::atomic::{AtomicU64, Ordering};

use super::landlock::no_new_privs;
use crate::sys::check;
use libc::sock_filter;

use crate::bpf::*;

/// Calls with any arguments. The often made ones are first: on hosts that don't remember a filter's answers the order is
/// the cost.
const PLAIN: &[libc::c_long] = &[
    libc::SYS_futex,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    // Files.
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_lseek,
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_getcwd,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_memfd_create,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_signalfd4,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Disks.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Sockets; which ones, socket(2) says.
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    // Threads, time, signals; stubs are killed and reaped.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getpgrp,
    libc::SYS_getsid,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_waitid,
    libc::SYS_wait4,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
];

const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Calls whose arguments are looked at: the instructions that follow when the number is the call's. Each ends in a
/// verdict.
fn checked(network: bool) -> Vec<(libc::c_long, Vec<sock_filter>)> {
    let allow = insn(RET, 0, 0, ALLOW);
    let trap = insn(RET, 0, 0, TRAP);
    // Allowed when the argument is one of these.
    let one_of = |n: u32, values: &[u32]| {
        let mut code = vec![insn(LD_ABS, 0, 0, low(n))];
        for value in values {
            code.extend([insn(JEQ, 0, 1, *value), allow]);
        }
        code.push(trap);
        code
    };
    // Allowed unless the argument has any of these bits.
    let without = |n: u32, bits: u32| vec![insn(LD_ABS, 0, 0, low(n)), insn(JSET, 1, 0, bits), allow, trap];
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD) as u32;
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|family| family as u32);
    let typing = |request: u64| request as u32;
    vec![
        (libc::SYS_mmap, without(2, libc::PROT_EXEC as u32)),
        (libc::SYS_mprotect, without(2, libc::PROT_EXEC as u32)),
        // Threads, but no process.
        (
            libc::SYS_clone,
            vec![insn(LD_ABS, 0, 0, low(0)), insn(AND_K, 0, 0, thread), insn(JEQ, 0, 1, thread), allow, trap],
        ),
        // Its flags lie in memory; glibc then takes clone.
        (libc::SYS_clone3, vec![insn(RET, 0, 0, NO_SUCH_CALL)]),
        // The names of threads and of memory.
        (libc::SYS_prctl, one_of(0, &[libc::PR_SET_NAME as u32, libc::PR_SET_VMA as u32])),
        (libc::SYS_socket, one_of(0, if network { &families } else { &families[..1] })),
        // Nothing is typed into the user's terminal.
        (
            libc::SYS_ioctl,
            vec![
                insn(LD_ABS, 0, 0, low(1)),
                insn(JEQ, 2, 0, typing(libc::TIOCSTI)),
                insn(JEQ, 1, 0, typing(libc::TIOCLINUX)),
                allow,
                trap,
            ],
        ),
        // Read, not set.
        (
            libc::SYS_prlimit64,
            vec![
                insn(LD_ABS, 0, 0, low(2)),
                insn(JEQ, 0, 3, 0),
                insn(LD_ABS, 0, 0, low(2) + 4),
                insn(JEQ, 0, 1, 0),
                allow,
                trap,
            ],
        ),
    ]
}

fn program(network: bool) -> Vec<sock_filter> {
    let mut out = vec![
        insn(LD_ABS, 0, 0, 4),
        insn(JEQ, 1, 0, ARCH_X86_64),
        insn(RET, 0, 0, KILL),
        insn(LD_ABS, 0, 0, 0),
    ];
    for nr in PLAIN {
        out.extend([insn(JEQ, 0, 1, *nr as u32), insn(RET, 0, 0, ALLOW)]);
    }
    for (nr, code) in checked(network) {
        out.push(insn(JEQ, 0, code.len() as u8, nr as u32));
        out.extend(code);
    }
    out.push(insn(RET, 0, 0, TRAP));
    out
}

/// Refuses all threads of this program, from now on and for ever, every host call that it has no need for.
///
/// # Errors
/// Why it could not be done, in words.
pub fn seal(network: bool) -> Result<(), String> {
    let text = |what: &str, e: abi::Errno| format!("{what}: {e}");
    // SAFETY: an all-zero sigaction is a value of that plain structure, and `action` lives through the call. The handler
    // calls write(2) and nothing else.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = refused as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
        check(libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()).into())
            .map_err(|e| text("sigaction", e))?;
    }
    no_new_privs().map_err(|e| text("no_new_privs", e))?;
    let mut code = program(network);
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `program` and the instructions that it points to outlive the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match check(answer) {
        Ok(0) => Ok(()),
        Ok(tid) => Err(format!("seccomp: thread {tid} has a filter of its own")),
        Err(e) => Err(text("seccomp", e)),
    }
}

/// Numbers that have been told of.
static TOLD: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// A call that is not on the list: it answers EPERM.
extern "C" fn refused(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    /// The part of siginfo_t that SIGSYS fills.
    #[repr(C)]
    struct SigSys {
        common: [i32; 4],
        address: u64,
        number: i32,
        arch: u32,
    }
    // SAFETY: the host passes a siginfo_t of a SIGSYS and the context that it restores from.
    let number = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        context.uc_mcontext.gregs[libc::REG_RAX as usize] = -i64::from(libc::EPERM);
        (*info.cast::<SigSys>()).number
    };
    let index = (number as u32 as usize).min(511);
    if TOLD[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed) >> (index % 64) & 1 == 0 {
        let mut line = *b"ruml: host call ... is not on the list of lockdown/seccomp.rs, refused\r\n";
        let digits = [index / 100, index / 10 % 10, index % 10];
        line[16..19].iter_mut().zip(digits).for_each(|(to, digit)| *to = b'0' + (digit % 10) as u8);
        // SAFETY: the bytes are readable; write(2) is async-signal-safe.
        unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
    }
}
