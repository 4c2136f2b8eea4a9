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
    MPROTECT mm::mprotect::mprotect(addr, length, prot);
    PKEY_MPROTECT mm::mprotect::pkey_mprotect(addr, length, prot, pkey);
    PKEY_ALLOC mm::mprotect::pkey_alloc(flags, access_rights);
    PKEY_FREE mm::mprotect::pkey_free(pkey);
    MREMAP mm::mremap::mremap(old_address, old_size, new_size, flags, new_address);
    MADVISE mm::madvise::madvise(addr, length, advice);
    PROCESS_MADVISE mm::remote::process_madvise(pidfd, vec, vlen, advice, flags);
    PROCESS_VM_READV mm::remote::process_vm_readv(pid, local_iov, liovcnt, remote_iov, riovcnt, flags);
    PROCESS_VM_WRITEV mm::remote::process_vm_writev(pid, local_iov, liovcnt, remote_iov, riovcnt, flags);
    MSYNC mm::msync::msync(addr, length, flags);
    MINCORE mm::msync::mincore(addr, length, vec);
    MLOCK mm::mlock::mlock(addr, length);
    MLOCK2 mm::mlock::mlock2(addr, length, flags);
    MUNLOCK mm::mlock::munlock(addr, length);
    MLOCKALL mm::mlock::mlockall(flags);
    MUNLOCKALL mm::mlock::munlockall();
    SHMGET mm::shm::shmget(key, size, shmflg);
    SHMAT mm::shm::shmat(shmid, shmaddr, shmflg);
    SHMDT mm::shm::shmdt(shmaddr);
    SHMCTL mm::shm::shmctl(shmid, cmd, buf);
    REMAP_FILE_PAGES mm::mmap::remap_file_pages(addr, size, prot, pgoff, flags);
    // vfs: opening, reading, writing
    OPEN vfs::open::open(path, flags, mode);
    CREAT vfs::open::creat(path, mode);
    OPENAT vfs::open::openat(dirfd, path, flags, mode);
    OPENAT2 vfs::open::openat2(dirfd, path, how, size);
    READ vfs::read_write::read(fd, buf, count);
    WRITE vfs::read_write::write(fd, buf, count);
    PREAD64 vfs::read_write::pread64(fd, buf, count, pos);
    PWRITE64 vfs::read_write::pwrite64(fd, buf, count, pos);
    READV vfs::read_write::readv(fd, iov, count);
    WRITEV vfs::read_write::writev(fd, iov, count);
    PREADV vfs::read_write::preadv(fd, iov, count, pos, pos_high);
    PWRITEV vfs::read_write::pwritev(fd, iov, count, pos, pos_high);
    PREADV2 vfs::read_write::preadv2(fd, iov, count, pos, pos_high, flags);
    PWRITEV2 vfs::read_write::pwritev2(fd, iov, count, pos, pos_high, flags);
    LSEEK vfs::read_write::lseek(fd, offset, whence);
    SENDFILE vfs::read_write::sendfile(out_fd, in_fd, offset, count);
    COPY_FILE_RANGE vfs::read_write::copy_file_range(fd_in, off_in, fd_out, off_out, len, flags);

    // vfs: descriptors
    CLOSE vfs::fcntl::close(fd);
    CLOSE_RANGE vfs::fcntl::close_range(first, last, flags);
    DUP vfs::fcntl::dup(fd);
    DUP2 vfs::fcntl::dup2(old, new);
    DUP3 vfs::fcntl::dup3(old, new, flags);
    FCNTL vfs::fcntl::fcntl(fd, cmd, arg);
    IOCTL vfs::fcntl::ioctl(fd, cmd, arg);
    FLOCK vfs::fcntl::flock(fd, operation);
    NAME_TO_HANDLE_AT vfs::handles::name_to_handle_at(dirfd, path, handle, mount_id, flags);
    OPEN_BY_HANDLE_AT vfs::handles::open_by_handle_at(mount_fd, handle, flags);

    // vfs: attributes
    STAT vfs::stat_calls::stat(path, buf);
    LSTAT vfs::stat_calls::lstat(path, buf);
    FSTAT vfs::stat_calls::fstat(fd, buf);
    NEWFSTATAT vfs::stat_calls::newfstatat(dirfd, path, buf, flags);
    STATX vfs::stat_calls::statx(dirfd, path, flags, mask, buf);
    STATFS vfs::stat_calls::statfs(path, buf);
    FSTATFS vfs::stat_calls::fstatfs(fd, buf);
    ACCESS vfs::stat_calls::access(path, mode);
    FACCESSAT vfs::stat_calls::faccessat(dirfd, path, mode);
    FACCESSAT2 vfs::stat_calls::faccessat2(dirfd, path, mode, flags);
    READLINK vfs::stat_calls::readlink(path, buf, size);
    READLINKAT vfs::stat_calls::readlinkat(dirfd, path, buf, size);
    UMASK vfs::attr::umask(mask);
    CHMOD vfs::attr::chmod(path, mode);
    FCHMOD vfs::attr::fchmod(fd, mode);
    FCHMODAT vfs::attr::fchmodat(dirfd, path, mode);
    FCHMODAT2 vfs::attr::fchmodat2(dirfd, path, mode, flags);
    CHOWN vfs::attr::chown(path, uid, gid);
    LCHOWN vfs::attr::lchown(path, uid, gid);
    FCHOWN vfs::attr::fchown(fd, uid, gid);
    FCHOWNAT vfs::attr::fchownat(dirfd, path, uid, gid, flags);
    UTIME vfs::attr::utime(path, times);
    UTIMES vfs::attr::utimes(path, times);
    FUTIMESAT vfs::attr::futimesat(dirfd, path, times);
    UTIMENSAT vfs::attr::utimensat(dirfd, path, times, flags);
    TRUNCATE vfs::attr::truncate(path, len);
    FTRUNCATE vfs::attr::ftruncate(fd, len);
    FALLOCATE vfs::attr::fallocate(fd, mode, offset, len);

    // vfs: directories and names
    GETDENTS vfs::dirs::getdents(fd, buf, count);
    GETDENTS64 vfs::dirs::getdents64(fd, buf, count);
    MKDIR vfs::dirs::mkdir(path, mode);
    MKDIRAT vfs::dirs::mkdirat(dirfd, path, mode);
    RMDIR vfs::dirs::rmdir(path);
    UNLINK vfs::dirs::unlink(path);
    UNLINKAT vfs::dirs::unlinkat(dirfd, path, flags);
    MKNOD vfs::namei::mknod(path, mode, dev);
    MKNODAT vfs::namei::mknodat(dirfd, path, mode, dev);
    LINK vfs::links::link(old, new);
    LINKAT vfs::links::linkat(old_dirfd, old, new_dirfd, new, flags);
    SYMLINK vfs::links::symlink(target, path);
    SYMLINKAT vfs::links::symlinkat(target, dirfd, path);
    RENAME vfs::links::rename(old, new);
    RENAMEAT vfs::links::renameat(old_dirfd, old, new_dirfd, new);
    RENAMEAT2 vfs::links::renameat2(old_dirfd, old, new_dirfd, new, flags);
    CHDIR vfs::dirs::chdir(path);
    FCHDIR vfs::dirs::fchdir(fd);
    CHROOT vfs::dirs::chroot(path);
    GETCWD vfs::dirs::getcwd(buf, size);
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

    // task: credentials, groups, sessions
    CAPGET task::capability::capget(hdrp, datap);
    CAPSET task::capability::capset(hdrp, datap);
    GETEGID task::setid::getegid();
    GETEUID task::setid::geteuid();
    GETGID task::setid::getgid();
    GETGROUPS task::setid::getgroups(size, list);
    GETPGID task::session::getpgid(pid);
    GETPGRP task::session::getpgrp();
    GETRESGID task::setid::getresgid(rgid, egid, sgid);
    GETRESUID task::setid::getresuid(ruid, euid, suid);
    GETSID task::session::getsid(pid);
    GETUID task::setid::getuid();
    SETFSGID task::setid::setfsgid(fsgid);
    SETFSUID task::setid::setfsuid(fsuid);
    SETGID task::setid::setgid(gid);
    SETGROUPS task::setid::setgroups(size, list);
    SETPGID task::session::setpgid(pid, pgid);
    SETREGID task::setid::setregid(rgid, egid);
    SETRESGID task::setid::setresgid(rgid, egid, sgid);
    SETRESUID task::setid::setresuid(ruid, euid, suid);
    SETREUID task::setid::setreuid(ruid, euid);
    SETSID task::session::setsid();
    SETUID task::setid::setuid(uid);

    // task: everything else about itself
    ARCH_PRCTL task::prctl::arch_prctl(code, addr);
    KCMP task::share::kcmp(pid1, pid2, type_, idx1, idx2);
    MEMBARRIER task::membarrier::membarrier(cmd, flags, cpu_id);
    PERSONALITY task::prctl::personality(persona);
    PRCTL task::prctl::prctl(option, arg2, arg3, arg4, arg5);
    SETNS task::share::setns(fd, nstype);
    SET_TID_ADDRESS task::ids::set_tid_address(tidptr);
    UNSHARE task::share::unshare(flags);

    // scheduling
    GETPRIORITY sched::priority::getpriority(which, who);
    IOPRIO_GET sched::priority::ioprio_get(which, who);
    IOPRIO_SET sched::priority::ioprio_set(which, who, ioprio);
    SCHED_GETAFFINITY sched::calls::sched_getaffinity(pid, cpusetsize, mask);
    SCHED_GETATTR sched::calls::sched_getattr(pid, attr, size, flags);
    SCHED_GETPARAM sched::calls::sched_getparam(pid, param);
    SCHED_GETSCHEDULER sched::calls::sched_getscheduler(pid);
    SCHED_GET_PRIORITY_MAX sched::calls::sched_get_priority_max(policy);
    SCHED_GET_PRIORITY_MIN sched::calls::sched_get_priority_min(policy);
    SCHED_RR_GET_INTERVAL sched::calls::sched_rr_get_interval(pid, tp);
    SCHED_SETAFFINITY sched::calls::sched_setaffinity(pid, cpusetsize, mask);
    SCHED_SETATTR sched::calls::sched_setattr(pid, attr, flags);
    SCHED_SETPARAM sched::calls::sched_setparam(pid, param);
    SCHED_SETSCHEDULER sched::calls::sched_setscheduler(pid, policy, param);
    SCHED_YIELD sched::calls::sched_yield();
    SETPRIORITY sched::priority::setpriority(which, who, niceval);

    // the system as a whole
    GETCPU task::sys::getcpu(cpu, node, tcache);
    GETRANDOM task::sys::getrandom(buf, buflen, flags);
    REBOOT task::sys::reboot(magic, magic2, cmd, arg);
    SETDOMAINNAME task::sys::setdomainname(name, len);
    SETHOSTNAME task::sys::sethostname(name, len);
    SYSINFO task::sys::sysinfo(info);
    SYSLOG task::syslog::syslog(type_, bufp, len);
    UNAME task::sys::uname(buf);

    // futex
    FUTEX ipc::futex::futex(uaddr, op, val, timeout, uaddr2, val3);
    FUTEX_WAITV ipc::futex::futex_waitv(waiters, nr_futexes, flags, timeout, clockid);
    GET_ROBUST_LIST ipc::futex::get_robust_list(pid, head_ptr, len_ptr);
    SET_ROBUST_LIST ipc::futex::set_robust_list(head, len);

    // vfs: extended attributes
    SETXATTR vfs::xattr_calls::setxattr(path, name, value, size, flags);
    LSETXATTR vfs::xattr_calls::lsetxattr(path, name, value, size, flags);
    FSETXATTR vfs::xattr_calls::fsetxattr(fd, name, value, size, flags);
    SETXATTRAT vfs::xattr_calls::setxattrat(dirfd, path, at_flags, name, args, size);
    GETXATTR vfs::xattr_calls::getxattr(path, name, value, size);
    LGETXATTR vfs::xattr_calls::lgetxattr(path, name, value, size);
    FGETXATTR vfs::xattr_calls::fgetxattr(fd, name, value, size);
    GETXATTRAT vfs::xattr_calls::getxattrat(dirfd, path, at_flags, name, args, size);
    LISTXATTR vfs::xattr_calls::listxattr(path, list, size);
    LLISTXATTR vfs::xattr_calls::llistxattr(path, list, size);
    FLISTXATTR vfs::xattr_calls::flistxattr(fd, list, size);
    LISTXATTRAT vfs::xattr_calls::listxattrat(dirfd, path, at_flags, list, size);
    REMOVEXATTR vfs::xattr_calls::removexattr(path, name);
    LREMOVEXATTR vfs::xattr_calls::lremovexattr(path, name);
    FREMOVEXATTR vfs::xattr_calls::fremovexattr(fd, name);
    REMOVEXATTRAT vfs::xattr_calls::removexattrat(dirfd, path, at_flags, name);

    // vfs: durability and advice
    SYNC vfs::sync_calls::sync();
    SYNCFS vfs::sync_calls::syncfs(fd);
    FSYNC vfs::sync_calls::fsync(fd);
    FDATASYNC vfs::sync_calls::fdatasync(fd);
    SYNC_FILE_RANGE vfs::sync_calls::sync_file_range(fd, offset, len, flags);
    FADVISE64 vfs::sync_calls::fadvise64(fd, offset, len, advice);
    READAHEAD vfs::sync_calls::readahead(fd, offset, count);

    // vfs: mounts
    MOUNT vfs::mount_calls::mount(source, target, fs_type, flags, data);
    UMOUNT2 vfs::mount_calls::umount2(target, flags);
    PIVOT_ROOT vfs::mount_calls::pivot_root(new_root, put_old);
    // signals
    RT_SIGACTION signal::rt_sigaction(sig, act, oldact, sigsetsize);
    RT_SIGPROCMASK signal::mask::rt_sigprocmask(how, set, oldset, sigsetsize);
    RT_SIGRETURN signal::rt_sigreturn();
    RT_SIGPENDING signal::mask::rt_sigpending(set, sigsetsize);
    RT_SIGSUSPEND signal::mask::rt_sigsuspend(mask, sigsetsize);
    RT_SIGTIMEDWAIT signal::mask::rt_sigtimedwait(set, info, timeout, sigsetsize);
    RT_SIGQUEUEINFO signal::kill::rt_sigqueueinfo(pid, sig, info);
    RT_TGSIGQUEUEINFO signal::kill::rt_tgsigqueueinfo(tgid, tid, sig, info);
    KILL signal::kill::kill(pid, sig);
    TKILL signal::kill::tkill(tid, sig);
    TGKILL signal::kill::tgkill(tgid, tid, sig);
    SIGALTSTACK signal::sigaltstack(ss, old_ss);
    PAUSE signal::mask::pause();
    SIGNALFD signal::signalfd::signalfd(fd, mask, sigsetsize);
    SIGNALFD4 signal::signalfd::signalfd4(fd, mask, sigsetsize, flags);
    RESTART_SYSCALL signal::restart::restart_syscall();

    // clocks and timers
    CLOCK_GETTIME time::calls::clock_gettime(clockid, tp);
    CLOCK_SETTIME time::calls::clock_settime(clockid, tp);
    CLOCK_GETRES time::calls::clock_getres(clockid, res);
    CLOCK_NANOSLEEP time::sleep::clock_nanosleep(clockid, flags, time, rem);
    CLOCK_ADJTIME time::clock_adjtime(clockid, buf);
    ADJTIMEX time::adjtimex(buf);
    GETTIMEOFDAY time::calls::gettimeofday(tv, tz);
    SETTIMEOFDAY time::calls::settimeofday(tv, tz);
    TIME time::calls::time(tloc);
    NANOSLEEP time::sleep::nanosleep(duration, rem);
    ALARM time::itimer::alarm(seconds);
    SETITIMER time::itimer::setitimer(which, new, old);
    GETITIMER time::itimer::getitimer(which, value);
    TIMER_CREATE time::posix_timer::timer_create(clockid, sevp, timerid);
    TIMER_SETTIME time::posix_timer::timer_settime(timerid, flags, new, old);
    TIMER_GETTIME time::posix_timer::timer_gettime(timerid, value);
    TIMER_GETOVERRUN time::posix_timer::timer_getoverrun(timerid);
    TIMER_DELETE time::posix_timer::timer_delete(timerid);
    TIMERFD_CREATE time::timerfd::timerfd_create(clockid, flags);
    TIMERFD_SETTIME time::timerfd::timerfd_settime(fd, flags, new, old);
    TIMERFD_GETTIME time::timerfd::timerfd_gettime(fd, value);
    // ipc: splice
    SPLICE ipc::splice::splice(fd_in, off_in, fd_out, off_out, len, flags);
    TEE ipc::splice::tee(fd_in, fd_out, len, flags);
    VMSPLICE ipc::splice::vmsplice(fd, iov, count, flags);

    // ipc: System V
    MSGGET ipc::sysv::msg::msgget(key, flags);
    MSGSND ipc::sysv::msg::msgsnd(id, msg, size, flags);
    MSGRCV ipc::sysv::msg::msgrcv(id, msg, size, kind, flags);
    MSGCTL ipc::sysv::msg::msgctl(id, cmd, buf);
    SEMGET ipc::sysv::sem::semget(key, nsems, flags);
    SEMOP ipc::sysv::sem::semop(id, ops, count);
    SEMTIMEDOP ipc::sysv::sem::semtimedop(id, ops, count, timeout);
    SEMCTL ipc::sysv::sem::semctl(id, num, cmd, arg);

    // ipc: POSIX message queues
    MQ_OPEN ipc::mqueue::mq_open(name, flags, mode, attr);
    MQ_UNLINK ipc::mqueue::mq_unlink(name);
    MQ_TIMEDSEND ipc::mqueue::mq_timedsend(fd, msg, len, priority, timeout);
    MQ_TIMEDRECEIVE ipc::mqueue::mq_timedreceive(fd, msg, len, priority, timeout);
    MQ_NOTIFY ipc::mqueue::mq_notify(fd, event);
    MQ_GETSETATTR ipc::mqueue::mq_getsetattr(fd, new, old);

    // event: inotify
    INOTIFY_INIT event::inotify::inotify_init();
    INOTIFY_INIT1 event::inotify::inotify_init1(flags);
    INOTIFY_ADD_WATCH event::inotify::inotify_add_watch(fd, pathname, mask);
    INOTIFY_RM_WATCH event::inotify::inotify_rm_watch(fd, wd);

    // net: sockets
    SOCKET net::socket(domain, kind, protocol);
    SOCKETPAIR net::socketpair(domain, kind, protocol, fds);
    BIND net::bind(fd, addr, len);
    LISTEN net::listen(fd, backlog);
    ACCEPT net::accept(fd, addr, len);
    ACCEPT4 net::accept4(fd, addr, len, flags);
    CONNECT net::connect(fd, addr, len);
    GETSOCKNAME net::getsockname(fd, addr, len);
    GETPEERNAME net::getpeername(fd, addr, len);
    SHUTDOWN net::shutdown(fd, how);
    SETSOCKOPT net::setsockopt(fd, level, name, value, len);
    GETSOCKOPT net::getsockopt(fd, level, name, value, len);
    SENDTO net::sendto(fd, buf, len, flags, addr, addr_len);
    SENDMSG net::sendmsg(fd, msg, flags);
    SENDMMSG net::sendmmsg(fd, msgs, vlen, flags);
    RECVFROM net::recvfrom(fd, buf, len, flags, addr, addr_len);
    RECVMSG net::recvmsg(fd, msg, flags);
    RECVMMSG net::recvmmsg(fd, msgs, vlen, flags, timeout);
    // tmpfs
    MEMFD_CREATE fs::tmpfs::memfd::memfd_create(name, flags);
}
