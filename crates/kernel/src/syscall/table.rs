//! The syscall table: one line a call, `NUMBER handler(arguments)`.
//!
//! What is not here answers ENOSYS and is counted in /proc/ruml/unimplemented. docs/compatibility.md is made from this
//! table.

use abi::Result;
use abi::nr;

use super::arg::{Handler, show_args};

/// One entry.
pub struct Syscall {
    /// Name as in the man page.
    pub name: &'static str,
    /// Runs it.
    pub call: fn(&[u64; 6]) -> Result<u64>,
    /// Shows the arguments for a trace.
    pub show: fn(&[u64; 6], &mut String),
}

/// Numbers below this have a place in the table.
pub const NR_SYSCALLS: usize = 512;

macro_rules! syscalls {
    ($($nr:ident $($path:ident)::+ ($($arg:ident),*);)*) => {
        static TABLE: [Option<Syscall>; NR_SYSCALLS] = {
            let mut table = [const { None }; NR_SYSCALLS];
            $(
                table[nr::$nr as usize] = Some(Syscall {
                    name: match nr::name(nr::$nr) { Some(name) => name, None => "?" },
                    call: |args| Handler::call(crate::$($path)::+, args),
                    show: |args, out| show_args(crate::$($path)::+, args, &[$(stringify!($arg)),*], out),
                });
            )*
            table
        };
    };
}

/// The entry of a number.
pub fn lookup(nr: u64) -> Option<&'static Syscall> {
    TABLE.get(usize::try_from(nr).ok()?)?.as_ref()
}

syscalls! {
    // task: identity
    GETPID task::ids::getpid();
    GETPPID task::ids::getppid();
    GETTID task::ids::gettid();

    // task: life and death
    CLONE task::fork::clone(flags, stack, parent_tid, child_tid, tls);
    CLONE3 task::fork::clone3(args, size);
    EXIT task::exit::exit(status);
    EXIT_GROUP task::exit::exit_group(status);
    FORK task::fork::fork();
    GETRUSAGE task::rusage::getrusage(who, usage);
    PIDFD_GETFD task::pidfd::pidfd_getfd(pidfd, targetfd, flags);
    PIDFD_OPEN task::pidfd::pidfd_open(pid, flags);
    PIDFD_SEND_SIGNAL task::pidfd::pidfd_send_signal(pidfd, sig, info, flags);
    TIMES task::rusage::times(buf);
    VFORK task::fork::vfork();
    WAIT4 task::wait::wait4(pid, wstatus, options, rusage);
    WAITID task::wait::waitid(which, id, info, options, rusage);

    // task: limits
    GETRLIMIT task::rlimit::getrlimit(resource, rlim);
    PRLIMIT64 task::rlimit::prlimit64(pid, resource, new_limit, old_limit);
    SETRLIMIT task::rlimit::setrlimit(resource, rlim);

    // futex
    FUTEX ipc::futex::futex(uaddr, op, val, timeout, uaddr2, val3);
    FUTEX_WAITV ipc::futex::futex_waitv(waiters, nr_futexes, flags, timeout, clockid);
    GET_ROBUST_LIST ipc::futex::get_robust_list(pid, head_ptr, len_ptr);
    SET_ROBUST_LIST ipc::futex::set_robust_list(head, len);
}
