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

    // ipc: pipes
    PIPE ipc::pipe::pipe(fds);
    PIPE2 ipc::pipe::pipe2(fds, flags);

    // event: poll, select, epoll, eventfd
    POLL event::poll::poll(fds, nfds, timeout);
    PPOLL event::poll::ppoll(fds, nfds, timeout, sigmask, sigsetsize);
    SELECT event::select::select(n, readfds, writefds, exceptfds, timeout);
    PSELECT6 event::select::pselect6(n, readfds, writefds, exceptfds, timeout, sigmask);
    EPOLL_CREATE event::epoll::epoll_create(size);
    EPOLL_CREATE1 event::epoll::epoll_create1(flags);
    EPOLL_CTL event::epoll::epoll_ctl(epfd, op, fd, event);
    EPOLL_WAIT event::epoll::epoll_wait(epfd, events, maxevents, timeout);
    EPOLL_PWAIT event::epoll::epoll_pwait(epfd, events, maxevents, timeout, sigmask, sigsetsize);
    EPOLL_PWAIT2 event::epoll::epoll_pwait2(epfd, events, maxevents, timeout, sigmask, sigsetsize);
    EVENTFD event::eventfd::eventfd(initval);
    EVENTFD2 event::eventfd::eventfd2(initval, flags);
    // exec
    EXECVE task::exec::execve(filename, argv, envp);
    EXECVEAT task::exec::execveat(dirfd, filename, argv, envp, flags);
    // mm
    MMAP mm::mmap::mmap(addr, length, prot, flags, fd, offset);
    MUNMAP mm::mmap::munmap(addr, length);
    BRK mm::mmap::brk(addr);
    REMAP_FILE_PAGES mm::mmap::remap_file_pages(addr, size, prot, pgoff, flags);
}
