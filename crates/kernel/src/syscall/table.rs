//! The syscall table: one line a call, `NUMBER handler(arguments)`.
//!
//! An argument is shown in traces as its type has it, or by the decoder of [`super::trace`] named behind it: `arg: decoder`
//! before the call, `arg -> decoder` after it, where the call writes. `=> decoder` shows the result.
//!
//! What is not here answers ENOSYS and is counted in /proc/ruml/unimplemented. docs/compatibility.md is made from this
//! table.

use abi::Result;
use abi::nr;

use super::arg::{Handler, shown_by_type};
use super::trace::{Decoder, Param, decode};

/// One entry.
pub struct Syscall {
    /// Name as in the man page.
    pub name: &'static str,
    /// Runs it.
    pub call: fn(&[u64; 6]) -> Result<u64>,
    /// How a trace shows each argument.
    pub(super) params: &'static [Param],
    /// How the types of the arguments are shown where `params` doesn't say.
    pub(super) types: fn() -> &'static [Decoder],
    /// How a trace shows the result; None: as a number.
    pub(super) result: Option<Decoder>,
}

/// Numbers below this have a place in the table.
pub const NR_SYSCALLS: usize = 512;

macro_rules! param {
    ($arg:ident) => {
        Param::Typed
    };
    ($arg:ident : $decoder:ident) => {
        Param::Before(decode::$decoder)
    };
    ($arg:ident -> $decoder:ident) => {
        Param::After(decode::$decoder)
    };
}

macro_rules! result {
    () => {
        None
    };
    ($decoder:ident) => {
        Some(decode::$decoder)
    };
}

macro_rules! syscalls {
    ($(
        $nr:ident $($path:ident)::+ ($($arg:ident $(: $before:ident)? $(-> $after:ident)?),*) $(=> $result:ident)?;
    )*) => {
        static TABLE: [Option<Syscall>; NR_SYSCALLS] = {
            let mut table = [const { None }; NR_SYSCALLS];
            $(
                table[nr::$nr as usize] = Some(Syscall {
                    name: match nr::name(nr::$nr) { Some(name) => name, None => "?" },
                    call: |args| Handler::call(crate::$($path)::+, args),
                    params: &[$(param!($arg $(: $before)? $(-> $after)?)),*],
                    types: || shown_by_type(crate::$($path)::+),
                    result: result!($($result)?),
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

/// Numbers and names of every entry, in order.
pub fn entries() -> impl Iterator<Item = (u64, &'static str)> {
    TABLE.iter().enumerate().filter_map(|(nr, entry)| Some((nr as u64, entry.as_ref()?.name)))
}

syscalls! {
    // task: identity
    GETPID task::ids::getpid();
    GETPPID task::ids::getppid();
    GETTID task::ids::gettid();

    // ipc: pipes
    PIPE ipc::pipe::pipe(fds -> fd_pair);
    PIPE2 ipc::pipe::pipe2(fds -> fd_pair, flags: fd_flags);

    // event: poll, select, epoll, eventfd
    POLL event::poll::poll(fds: poll_fds, nfds, timeout) => poll_result;
    PPOLL event::poll::ppoll(fds: poll_fds, nfds, timeout: timespec, sigmask: sigset, sigsetsize) => poll_result;
    SELECT event::select::select(n, readfds: fd_set, writefds: fd_set, exceptfds: fd_set, timeout: timeval) => select_result;
    PSELECT6 event::select::pselect6(n, readfds: fd_set, writefds: fd_set, exceptfds: fd_set, timeout: timespec, sigmask) => select_result;
    EPOLL_CREATE event::epoll::epoll_create(size);
    EPOLL_CREATE1 event::epoll::epoll_create1(flags: epoll_flags);
    EPOLL_CTL event::epoll::epoll_ctl(epfd, op: epoll_op, fd, event: epoll_event);
    EPOLL_WAIT event::epoll::epoll_wait(epfd, events -> epoll_events, maxevents, timeout);
    EPOLL_PWAIT event::epoll::epoll_pwait(epfd, events -> epoll_events, maxevents, timeout, sigmask: sigset, sigsetsize);
    EPOLL_PWAIT2 event::epoll::epoll_pwait2(epfd, events -> epoll_events, maxevents, timeout: timespec, sigmask: sigset, sigsetsize);
    EVENTFD event::eventfd::eventfd(initval);
    EVENTFD2 event::eventfd::eventfd2(initval, flags: fd_flags);
    // exec
    EXECVE task::exec::execve(filename, argv: argv, envp: envp);
    EXECVEAT task::exec::execveat(dirfd, filename, argv: argv, envp: envp, flags: at_flags);
    // mm
    MMAP mm::mmap::mmap(addr: address, length: signed, prot: prot, flags: map_flags, fd, offset) => address;
    MUNMAP mm::mmap::munmap(addr: address, length: signed);
    BRK mm::mmap::brk(addr: address) => address;
    MPROTECT mm::mprotect::mprotect(addr: address, length: signed, prot: prot);
    PKEY_MPROTECT mm::mprotect::pkey_mprotect(addr: address, length: signed, prot: prot, pkey);
    PKEY_ALLOC mm::mprotect::pkey_alloc(flags, access_rights: pkey_rights);
    PKEY_FREE mm::mprotect::pkey_free(pkey);
    MREMAP mm::mremap::mremap(old_address: address, old_size: signed, new_size: signed, flags: mremap_flags, new_address: mremap_to) => address;
    MADVISE mm::madvise::madvise(addr: address, length: signed, advice: madvice);
    PROCESS_MADVISE mm::remote::process_madvise(pidfd, vec, vlen, advice: madvice, flags);
    PROCESS_VM_READV mm::remote::process_vm_readv(pid, local_iov, liovcnt, remote_iov, riovcnt, flags);
    PROCESS_VM_WRITEV mm::remote::process_vm_writev(pid, local_iov, liovcnt, remote_iov, riovcnt, flags);
    MSYNC mm::msync::msync(addr: address, length: signed, flags: msync_flags);
    MINCORE mm::msync::mincore(addr: address, length: signed, vec: address);
    MLOCK mm::mlock::mlock(addr: address, length: signed);
    MLOCK2 mm::mlock::mlock2(addr: address, length: signed, flags: mlock_flags);
    MUNLOCK mm::mlock::munlock(addr: address, length: signed);
    MLOCKALL mm::mlock::mlockall(flags: mlockall_flags);
    MUNLOCKALL mm::mlock::munlockall();
    SHMGET mm::shm::shmget(key: ipc_key, size, shmflg: ipc_flags);
    SHMAT mm::shm::shmat(shmid, shmaddr: address, shmflg: shmat_flags) => address;
    SHMDT mm::shm::shmdt(shmaddr: address);
    SHMCTL mm::shm::shmctl(shmid, cmd: shm_cmd, buf);
    REMAP_FILE_PAGES mm::mmap::remap_file_pages(addr: address, size: signed, prot: prot, pgoff, flags: map_flags);
    // vfs: opening, reading, writing
    OPEN vfs::open::open(path, flags, mode: create_mode);
    CREAT vfs::open::creat(path, mode: octal);
    OPENAT vfs::open::openat(dirfd, path, flags, mode: create_mode);
    OPENAT2 vfs::open::openat2(dirfd, path, how: open_how, size);
    READ vfs::read_write::read(fd, buf -> filled, count);
    WRITE vfs::read_write::write(fd, buf: bytes, count);
    PREAD64 vfs::read_write::pread64(fd, buf -> filled, count, pos);
    PWRITE64 vfs::read_write::pwrite64(fd, buf: bytes, count, pos);
    READV vfs::read_write::readv(fd, iov -> iovec_filled, count);
    WRITEV vfs::read_write::writev(fd, iov: iovec, count);
    PREADV vfs::read_write::preadv(fd, iov -> iovec_filled, count, pos, pos_high);
    PWRITEV vfs::read_write::pwritev(fd, iov: iovec, count, pos, pos_high);
    PREADV2 vfs::read_write::preadv2(fd, iov -> iovec_filled, count, pos, pos_high, flags: rwf_flags);
    PWRITEV2 vfs::read_write::pwritev2(fd, iov: iovec, count, pos, pos_high, flags: rwf_flags);
    LSEEK vfs::read_write::lseek(fd, offset, whence: whence);
    SENDFILE vfs::read_write::sendfile(out_fd, in_fd, offset: long_at, count);
    COPY_FILE_RANGE vfs::read_write::copy_file_range(fd_in, off_in: long_at, fd_out, off_out: long_at, len, flags);

    // vfs: descriptors
    CLOSE vfs::fcntl::close(fd);
    CLOSE_RANGE vfs::fcntl::close_range(first, last, flags: close_range_flags);
    DUP vfs::fcntl::dup(fd);
    DUP2 vfs::fcntl::dup2(old, new);
    DUP3 vfs::fcntl::dup3(old, new, flags: fd_flags);
    FCNTL vfs::fcntl::fcntl(fd, cmd: fcntl_cmd, arg: fcntl_arg) => fcntl_result;
    IOCTL vfs::fcntl::ioctl(fd, cmd: ioctl_cmd, arg -> ioctl_arg);
    FLOCK vfs::fcntl::flock(fd, operation: flock_op);
    NAME_TO_HANDLE_AT vfs::handles::name_to_handle_at(dirfd, path, handle, mount_id, flags: at_flags);
    OPEN_BY_HANDLE_AT vfs::handles::open_by_handle_at(mount_fd, handle, flags);

    // vfs: attributes
    STAT vfs::stat_calls::stat(path, buf -> stat_buf);
    LSTAT vfs::stat_calls::lstat(path, buf -> stat_buf);
    FSTAT vfs::stat_calls::fstat(fd, buf -> stat_buf);
    NEWFSTATAT vfs::stat_calls::newfstatat(dirfd, path, buf -> stat_buf, flags: at_flags);
    STATX vfs::stat_calls::statx(dirfd, path, flags: at_flags, mask: statx_mask, buf -> statx_buf);
    STATFS vfs::stat_calls::statfs(path, buf -> statfs_buf);
    FSTATFS vfs::stat_calls::fstatfs(fd, buf -> statfs_buf);
    ACCESS vfs::stat_calls::access(path, mode: access_mode);
    FACCESSAT vfs::stat_calls::faccessat(dirfd, path, mode: access_mode);
    FACCESSAT2 vfs::stat_calls::faccessat2(dirfd, path, mode: access_mode, flags: access_flags);
    READLINK vfs::stat_calls::readlink(path, buf -> filled, size);
    READLINKAT vfs::stat_calls::readlinkat(dirfd, path, buf -> filled, size);
    UMASK vfs::attr::umask(mask: octal) => octal;
    CHMOD vfs::attr::chmod(path, mode: octal);
    FCHMOD vfs::attr::fchmod(fd, mode: octal);
    FCHMODAT vfs::attr::fchmodat(dirfd, path, mode: octal);
    FCHMODAT2 vfs::attr::fchmodat2(dirfd, path, mode: octal, flags: at_flags);
    CHOWN vfs::attr::chown(path, uid: id, gid: id);
    LCHOWN vfs::attr::lchown(path, uid: id, gid: id);
    FCHOWN vfs::attr::fchown(fd, uid: id, gid: id);
    FCHOWNAT vfs::attr::fchownat(dirfd, path, uid: id, gid: id, flags: at_flags);
    UTIME vfs::attr::utime(path, times: utimbuf);
    UTIMES vfs::attr::utimes(path, times: utime_vals);
    FUTIMESAT vfs::attr::futimesat(dirfd, path, times: utime_vals);
    UTIMENSAT vfs::attr::utimensat(dirfd, path, times: utime_specs, flags: at_flags);
    TRUNCATE vfs::attr::truncate(path, len);
    FTRUNCATE vfs::attr::ftruncate(fd, len);
    FALLOCATE vfs::attr::fallocate(fd, mode: fallocate_mode, offset, len);

    // vfs: directories and names
    GETDENTS vfs::dirs::getdents(fd, buf -> dirents, count);
    GETDENTS64 vfs::dirs::getdents64(fd, buf -> dirents, count);
    MKDIR vfs::dirs::mkdir(path, mode: octal);
    MKDIRAT vfs::dirs::mkdirat(dirfd, path, mode: octal);
    RMDIR vfs::dirs::rmdir(path);
    UNLINK vfs::dirs::unlink(path);
    UNLINKAT vfs::dirs::unlinkat(dirfd, path, flags: unlink_flags);
    MKNOD vfs::namei::mknod(path, mode: file_mode, dev: device);
    MKNODAT vfs::namei::mknodat(dirfd, path, mode: file_mode, dev: device);
    LINK vfs::links::link(old, new);
    LINKAT vfs::links::linkat(old_dirfd, old, new_dirfd, new, flags: at_flags);
    SYMLINK vfs::links::symlink(target, path);
    SYMLINKAT vfs::links::symlinkat(target, dirfd, path);
    RENAME vfs::links::rename(old, new);
    RENAMEAT vfs::links::renameat(old_dirfd, old, new_dirfd, new);
    RENAMEAT2 vfs::links::renameat2(old_dirfd, old, new_dirfd, new, flags: rename_flags);
    CHDIR vfs::dirs::chdir(path);
    FCHDIR vfs::dirs::fchdir(fd);
    CHROOT vfs::dirs::chroot(path);
    GETCWD vfs::dirs::getcwd(buf -> string, size);
    // task: life and death
    CLONE task::fork::clone(flags: clone_flags, stack: address, parent_tid: address, child_tid: address, tls);
    CLONE3 task::fork::clone3(args: clone_args, size);
    EXIT task::exit::exit(status) => never;
    EXIT_GROUP task::exit::exit_group(status) => never;
    FORK task::fork::fork();
    GETRUSAGE task::rusage::getrusage(who: rusage_who, usage -> rusage);
    PIDFD_GETFD task::pidfd::pidfd_getfd(pidfd, targetfd, flags);
    PIDFD_OPEN task::pidfd::pidfd_open(pid, flags: pidfd_flags);
    PIDFD_SEND_SIGNAL task::pidfd::pidfd_send_signal(pidfd, sig, info: siginfo, flags: pidfd_signal_flags);
    TIMES task::rusage::times(buf);
    VFORK task::fork::vfork();
    WAIT4 task::wait::wait4(pid, wstatus -> wait_status, options: wait_options, rusage -> rusage);
    WAITID task::wait::waitid(which: id_type, id, info -> siginfo, options: wait_options, rusage -> rusage);

    // task: limits
    GETRLIMIT task::rlimit::getrlimit(resource: resource, rlim -> rlimit);
    PRLIMIT64 task::rlimit::prlimit64(pid, resource: resource, new_limit: rlimit, old_limit -> rlimit);
    SETRLIMIT task::rlimit::setrlimit(resource: resource, rlim: rlimit);

    // task: credentials, groups, sessions
    CAPGET task::capability::capget(hdrp, datap);
    CAPSET task::capability::capset(hdrp, datap);
    GETEGID task::setid::getegid();
    GETEUID task::setid::geteuid();
    GETGID task::setid::getgid();
    GETGROUPS task::setid::getgroups(size, list -> groups_found);
    GETPGID task::session::getpgid(pid);
    GETPGRP task::session::getpgrp();
    GETRESGID task::setid::getresgid(rgid -> int_at, egid -> int_at, sgid -> int_at);
    GETRESUID task::setid::getresuid(ruid -> int_at, euid -> int_at, suid -> int_at);
    GETSID task::session::getsid(pid);
    GETUID task::setid::getuid();
    SETFSGID task::setid::setfsgid(fsgid: id);
    SETFSUID task::setid::setfsuid(fsuid: id);
    SETGID task::setid::setgid(gid: id);
    SETGROUPS task::setid::setgroups(size, list: groups);
    SETPGID task::session::setpgid(pid, pgid);
    SETREGID task::setid::setregid(rgid: id, egid: id);
    SETRESGID task::setid::setresgid(rgid: id, egid: id, sgid: id);
    SETRESUID task::setid::setresuid(ruid: id, euid: id, suid: id);
    SETREUID task::setid::setreuid(ruid: id, euid: id);
    SETSID task::session::setsid();
    SETUID task::setid::setuid(uid: id);

    // task: everything else about itself
    ARCH_PRCTL task::prctl::arch_prctl(code: arch_code, addr: address);
    KCMP task::share::kcmp(pid1, pid2, type_: kcmp_type, idx1, idx2);
    MEMBARRIER task::membarrier::membarrier(cmd: membarrier_cmd, flags: membarrier_flags, cpu_id);
    PERSONALITY task::prctl::personality(persona: persona) => hex;
    PRCTL task::prctl::prctl(option: prctl_option, arg2: prctl_arg, arg3: prctl_rest, arg4: prctl_rest, arg5: prctl_rest);
    RSEQ task::rseq::rseq(rseq: address, rseq_len, flags: hex, sig: hex);
    SETNS task::share::setns(fd, nstype: unshare_flags);
    SET_TID_ADDRESS task::ids::set_tid_address(tidptr);
    UNSHARE task::share::unshare(flags: unshare_flags);

    // scheduling
    GETPRIORITY sched::priority::getpriority(which: priority_which, who);
    IOPRIO_GET sched::priority::ioprio_get(which: ioprio_which, who) => hex;
    IOPRIO_SET sched::priority::ioprio_set(which: ioprio_which, who, ioprio: hex);
    SCHED_GETAFFINITY sched::calls::sched_getaffinity(pid, cpusetsize, mask -> cpu_set);
    SCHED_GETATTR sched::calls::sched_getattr(pid, attr, size, flags);
    SCHED_GETPARAM sched::calls::sched_getparam(pid, param -> sched_param);
    SCHED_GETSCHEDULER sched::calls::sched_getscheduler(pid) => policy_result;
    SCHED_GET_PRIORITY_MAX sched::calls::sched_get_priority_max(policy: policy);
    SCHED_GET_PRIORITY_MIN sched::calls::sched_get_priority_min(policy: policy);
    SCHED_RR_GET_INTERVAL sched::calls::sched_rr_get_interval(pid, tp -> timespec);
    SCHED_SETAFFINITY sched::calls::sched_setaffinity(pid, cpusetsize, mask: cpu_set);
    SCHED_SETATTR sched::calls::sched_setattr(pid, attr, flags);
    SCHED_SETPARAM sched::calls::sched_setparam(pid, param: sched_param);
    SCHED_SETSCHEDULER sched::calls::sched_setscheduler(pid, policy: policy, param: sched_param);
    SCHED_YIELD sched::calls::sched_yield();
    SETPRIORITY sched::priority::setpriority(which: priority_which, who, niceval);

    // the system as a whole
    GETCPU task::sys::getcpu(cpu -> int_at, node -> int_at, tcache);
    GETRANDOM task::sys::getrandom(buf -> filled, buflen, flags: random_flags);
    REBOOT task::sys::reboot(magic: hex, magic2, cmd: reboot_cmd, arg);
    SETDOMAINNAME task::sys::setdomainname(name: bytes, len);
    SETHOSTNAME task::sys::sethostname(name: bytes, len);
    SYSINFO task::sys::sysinfo(info);
    SYSLOG task::syslog::syslog(type_, bufp, len);
    UNAME task::sys::uname(buf -> utsname);

    // futex
    FUTEX ipc::futex::futex(uaddr, op: futex_op, val, timeout: futex_timeout, uaddr2: futex_second, val3: futex_value3);
    FUTEX_WAITV ipc::futex::futex_waitv(waiters, nr_futexes, flags, timeout, clockid);
    GET_ROBUST_LIST ipc::futex::get_robust_list(pid, head_ptr, len_ptr);
    SET_ROBUST_LIST ipc::futex::set_robust_list(head, len);

    // vfs: extended attributes
    SETXATTR vfs::xattr_calls::setxattr(path, name: string, value: bytes, size, flags: xattr_flags);
    LSETXATTR vfs::xattr_calls::lsetxattr(path, name: string, value: bytes, size, flags: xattr_flags);
    FSETXATTR vfs::xattr_calls::fsetxattr(fd, name: string, value: bytes, size, flags: xattr_flags);
    SETXATTRAT vfs::xattr_calls::setxattrat(dirfd, path, at_flags: at_flags, name: string, args, size);
    GETXATTR vfs::xattr_calls::getxattr(path, name: string, value -> filled, size);
    LGETXATTR vfs::xattr_calls::lgetxattr(path, name: string, value -> filled, size);
    FGETXATTR vfs::xattr_calls::fgetxattr(fd, name: string, value -> filled, size);
    GETXATTRAT vfs::xattr_calls::getxattrat(dirfd, path, at_flags: at_flags, name: string, args, size);
    LISTXATTR vfs::xattr_calls::listxattr(path, list -> filled, size);
    LLISTXATTR vfs::xattr_calls::llistxattr(path, list -> filled, size);
    FLISTXATTR vfs::xattr_calls::flistxattr(fd, list -> filled, size);
    LISTXATTRAT vfs::xattr_calls::listxattrat(dirfd, path, at_flags: at_flags, list -> filled, size);
    REMOVEXATTR vfs::xattr_calls::removexattr(path, name: string);
    LREMOVEXATTR vfs::xattr_calls::lremovexattr(path, name: string);
    FREMOVEXATTR vfs::xattr_calls::fremovexattr(fd, name: string);
    REMOVEXATTRAT vfs::xattr_calls::removexattrat(dirfd, path, at_flags: at_flags, name: string);

    // vfs: durability and advice
    SYNC vfs::sync_calls::sync();
    SYNCFS vfs::sync_calls::syncfs(fd);
    FSYNC vfs::sync_calls::fsync(fd);
    FDATASYNC vfs::sync_calls::fdatasync(fd);
    SYNC_FILE_RANGE vfs::sync_calls::sync_file_range(fd, offset, len, flags: sync_range_flags);
    FADVISE64 vfs::sync_calls::fadvise64(fd, offset, len, advice: fadvice);
    READAHEAD vfs::sync_calls::readahead(fd, offset, count);

    // vfs: mounts
    MOUNT vfs::mount_calls::mount(source: string, target: string, fs_type: string, flags: mount_flags, data: string);
    UMOUNT2 vfs::mount_calls::umount2(target, flags: umount_flags);
    SWAPON block::swap::swapon(path, flags);
    SWAPOFF block::swap::swapoff(path);
    PIVOT_ROOT vfs::mount_calls::pivot_root(new_root, put_old);
    FSOPEN vfs::fs_context::fsopen(fs_name, flags: hex);
    FSPICK vfs::fs_context::fspick(dirfd, path, flags: hex);
    FSCONFIG vfs::fs_context::fsconfig(fd, command, key: string, value: string, aux);
    FSMOUNT vfs::fs_context::fsmount(fd, flags: hex, attributes: hex);
    OPEN_TREE vfs::fs_context::open_tree(dirfd, path, flags: hex);
    MOVE_MOUNT vfs::fs_context::move_mount(from_fd, from, to_fd, to, flags: hex);
    MOUNT_SETATTR vfs::fs_context::mount_setattr(dirfd, path, flags: hex, attr, size);
    // signals
    RT_SIGACTION signal::rt_sigaction(sig, act: sigaction, oldact -> sigaction, sigsetsize);
    RT_SIGPROCMASK signal::mask::rt_sigprocmask(how: sigmask_how, set: sigset, oldset -> sigset, sigsetsize);
    RT_SIGRETURN signal::rt_sigreturn();
    RT_SIGPENDING signal::mask::rt_sigpending(set -> sigset, sigsetsize);
    RT_SIGSUSPEND signal::mask::rt_sigsuspend(mask: sigset, sigsetsize);
    RT_SIGTIMEDWAIT signal::mask::rt_sigtimedwait(set: sigset, info -> siginfo, timeout: timespec, sigsetsize);
    RT_SIGQUEUEINFO signal::kill::rt_sigqueueinfo(pid, sig, info: siginfo);
    RT_TGSIGQUEUEINFO signal::kill::rt_tgsigqueueinfo(tgid, tid, sig, info: siginfo);
    KILL signal::kill::kill(pid, sig);
    TKILL signal::kill::tkill(tid, sig);
    TGKILL signal::kill::tgkill(tgid, tid, sig);
    SIGALTSTACK signal::sigaltstack(ss: sigaltstack, old_ss -> sigaltstack);
    PAUSE signal::mask::pause();
    SIGNALFD signal::signalfd::signalfd(fd, mask: sigset, sigsetsize);
    SIGNALFD4 signal::signalfd::signalfd4(fd, mask: sigset, sigsetsize, flags: signalfd_flags);
    RESTART_SYSCALL signal::restart::restart_syscall();

    // clocks and timers
    CLOCK_GETTIME time::calls::clock_gettime(clockid, tp -> timespec);
    CLOCK_SETTIME time::calls::clock_settime(clockid, tp: timespec);
    CLOCK_GETRES time::calls::clock_getres(clockid, res -> timespec);
    CLOCK_NANOSLEEP time::sleep::clock_nanosleep(clockid, flags: timer_flags, time: timespec, rem -> timespec);
    CLOCK_ADJTIME time::clock_adjtime(clockid, buf);
    ADJTIMEX time::adjtimex(buf);
    GETTIMEOFDAY time::calls::gettimeofday(tv -> timeval, tz);
    SETTIMEOFDAY time::calls::settimeofday(tv: timeval, tz);
    TIME time::calls::time(tloc -> long_at);
    NANOSLEEP time::sleep::nanosleep(duration: timespec, rem -> timespec);
    ALARM time::itimer::alarm(seconds);
    SETITIMER time::itimer::setitimer(which: itimer_which, new: itimerval, old -> itimerval);
    GETITIMER time::itimer::getitimer(which: itimer_which, value -> itimerval);
    TIMER_CREATE time::posix_timer::timer_create(clockid, sevp: sigevent, timerid -> int_at);
    TIMER_SETTIME time::posix_timer::timer_settime(timerid, flags: timer_flags, new: itimerspec, old -> itimerspec);
    TIMER_GETTIME time::posix_timer::timer_gettime(timerid, value -> itimerspec);
    TIMER_GETOVERRUN time::posix_timer::timer_getoverrun(timerid);
    TIMER_DELETE time::posix_timer::timer_delete(timerid);
    TIMERFD_CREATE time::timerfd::timerfd_create(clockid, flags: timerfd_flags);
    TIMERFD_SETTIME time::timerfd::timerfd_settime(fd, flags: timerfd_set_flags, new: itimerspec, old -> itimerspec);
    TIMERFD_GETTIME time::timerfd::timerfd_gettime(fd, value -> itimerspec);
    // ipc: splice
    SPLICE ipc::splice::splice(fd_in, off_in: long_at, fd_out, off_out: long_at, len, flags: splice_flags);
    TEE ipc::splice::tee(fd_in, fd_out, len, flags: splice_flags);
    VMSPLICE ipc::splice::vmsplice(fd, iov: iovec, count, flags: splice_flags);

    // ipc: System V
    MSGGET ipc::sysv::msg::msgget(key: ipc_key, flags: ipc_flags);
    MSGSND ipc::sysv::msg::msgsnd(id, msg, size, flags: msgop_flags);
    MSGRCV ipc::sysv::msg::msgrcv(id, msg, size, kind, flags: msgop_flags);
    MSGCTL ipc::sysv::msg::msgctl(id, cmd: msg_cmd, buf);
    SEMGET ipc::sysv::sem::semget(key: ipc_key, nsems, flags: ipc_flags);
    SEMOP ipc::sysv::sem::semop(id, ops: sembufs, count);
    SEMTIMEDOP ipc::sysv::sem::semtimedop(id, ops: sembufs, count, timeout: timespec);
    SEMCTL ipc::sysv::sem::semctl(id, num, cmd: sem_cmd, arg);

    // ipc: POSIX message queues
    MQ_OPEN ipc::mqueue::mq_open(name, flags, mode, attr);
    MQ_UNLINK ipc::mqueue::mq_unlink(name);
    MQ_TIMEDSEND ipc::mqueue::mq_timedsend(fd, msg, len, priority, timeout);
    MQ_TIMEDRECEIVE ipc::mqueue::mq_timedreceive(fd, msg, len, priority, timeout);
    MQ_NOTIFY ipc::mqueue::mq_notify(fd, event);
    MQ_GETSETATTR ipc::mqueue::mq_getsetattr(fd, new, old);

    // event: inotify
    INOTIFY_INIT event::inotify::inotify_init();
    INOTIFY_INIT1 event::inotify::inotify_init1(flags: inotify_flags);
    INOTIFY_ADD_WATCH event::inotify::inotify_add_watch(fd, pathname, mask: inotify_mask);
    INOTIFY_RM_WATCH event::inotify::inotify_rm_watch(fd, wd);

    // net: sockets
    SOCKET net::socket(domain: domain, kind: socket_kind, protocol);
    SOCKETPAIR net::socketpair(domain: domain, kind: socket_kind, protocol, fds -> fd_pair);
    BIND net::bind(fd, addr: sockaddr, len);
    LISTEN net::listen(fd, backlog);
    ACCEPT net::accept(fd, addr -> sockaddr_got, len -> int_at);
    ACCEPT4 net::accept4(fd, addr -> sockaddr_got, len -> int_at, flags: accept_flags);
    CONNECT net::connect(fd, addr: sockaddr, len);
    GETSOCKNAME net::getsockname(fd, addr -> sockaddr_got, len -> int_at);
    GETPEERNAME net::getpeername(fd, addr -> sockaddr_got, len -> int_at);
    SHUTDOWN net::shutdown(fd, how: shutdown_how);
    SETSOCKOPT net::setsockopt(fd, level: socket_level, name: socket_option, value: option_value, len);
    GETSOCKOPT net::getsockopt(fd, level: socket_level, name: socket_option, value -> option_got, len -> int_at);
    SENDTO net::sendto(fd, buf: bytes, len, flags: msg_flags, addr: sockaddr, addr_len);
    SENDMSG net::sendmsg(fd, msg: msghdr, flags: msg_flags);
    SENDMMSG net::sendmmsg(fd, msgs, vlen, flags: msg_flags);
    RECVFROM net::recvfrom(fd, buf -> filled, len, flags: msg_flags, addr -> sockaddr_got, addr_len -> int_at);
    RECVMSG net::recvmsg(fd, msg -> msghdr_got, flags: msg_flags);
    RECVMMSG net::recvmmsg(fd, msgs, vlen, flags: msg_flags, timeout: timespec);
    // tracing and filtering system calls
    PTRACE task::ptrace::ptrace(request, pid, addr: address, data: hex);
    SECCOMP task::seccomp::seccomp(operation, flags: hex, args);
    // terminals
    VHANGUP tty::vhangup();
    // keyrings
    ADD_KEY keys::add_key(kind: string, name: string, payload, len, ring);
    REQUEST_KEY keys::request_key(kind: string, name: string, callout: string, dest);
    KEYCTL keys::keyctl(operation, arg2: hex, arg3: hex, arg4: hex, arg5: hex);
    // quotas
    QUOTACTL vfs::quota::quotactl(cmd: hex, special: string, id, addr);
    QUOTACTL_FD vfs::quota::quotactl_fd(fd, cmd: hex, id, addr);
    // tmpfs
    MEMFD_CREATE fs::tmpfs::memfd::memfd_create(name, flags: memfd_flags);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_names_all_arguments() {
        for entry in TABLE.iter().flatten() {
            assert_eq!(entry.params.len(), (entry.types)().len(), "{}", entry.name);
        }
    }
}
