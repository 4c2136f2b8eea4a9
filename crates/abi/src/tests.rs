//! Layouts, numbers and helpers against libc, which describes the same kernel independently.

use core::mem::{offset_of, size_of};

use zerocopy::IntoBytes;

use crate::signal::{SigInfo, SigSet};
use crate::time::{Timespec, Timeval};
use crate::*;

/// Same size, and the same offset of each named field, as libc's structure. `ours as theirs` renames a field.
macro_rules! same_layout {
    ($($ours:ty = $theirs:ident { $($field:ident $(as $other:ident)?),* $(,)? })*) => {
        $(
            assert_eq!(size_of::<$ours>(), size_of::<libc::$theirs>(), stringify!($theirs));
            $(same_layout!(@field $ours, $theirs, $field $(, $other)?);)*
        )*
    };
    (@field $ours:ty, $theirs:ident, $field:ident) => { same_layout!(@field $ours, $theirs, $field, $field) };
    (@field $ours:ty, $theirs:ident, $field:ident, $other:ident) => {
        assert_eq!(
            offset_of!($ours, $field),
            offset_of!(libc::$theirs, $other),
            concat!(stringify!($theirs), ".", stringify!($other))
        );
    };
}

/// Constants of the same name and value as libc's.
macro_rules! same_value {
    ($($module:ident: $($name:ident)*;)*) => {
        $($(assert_eq!($module::$name as u64 as u32, libc::$name as u64 as u32, stringify!($name));)*)*
    };
}

#[test]
fn files() {
    same_layout! {
        stat::Stat = stat {
            st_dev, st_ino, st_nlink, st_mode, st_uid, st_gid, st_rdev, st_size, st_blksize, st_blocks, st_atime,
            st_atime_nsec, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec,
        }
        stat::Statx = statx {
            stx_mask, stx_blksize, stx_attributes, stx_nlink, stx_uid, stx_gid, stx_mode, stx_ino, stx_size,
            stx_blocks, stx_attributes_mask, stx_atime, stx_btime, stx_ctime, stx_mtime, stx_rdev_major,
            stx_rdev_minor, stx_dev_major, stx_dev_minor, stx_mnt_id, stx_dio_mem_align, stx_dio_offset_align,
        }
        stat::StatxTimestamp = statx_timestamp { tv_sec, tv_nsec }
        stat::Statfs = statfs {
            f_type, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_fsid, f_namelen, f_frsize,
        }
        fcntl::Flock = flock { l_type, l_whence, l_start, l_len, l_pid }
        fcntl::OpenHow = open_how { flags, mode, resolve }
        uio::Iovec = iovec { iov_base, iov_len }
        inotify::InotifyEvent = inotify_event { wd, mask, cookie, len }
        utsname::Utsname = utsname { sysname, nodename, release, version, machine, domainname }
        poll::PollFd = pollfd { fd, events, revents }
        poll::EpollEvent = epoll_event { events, data as u64 }
        mount::MountAttr = mount_attr { attr_set, attr_clr, propagation, userns_fd }
    }
    assert_eq!(size_of::<stat::Dirent64>(), stat::DIRENT64_NAME_OFFSET);
    assert_eq!(offset_of!(libc::dirent64, d_name), stat::DIRENT64_NAME_OFFSET);
}

#[test]
fn times_and_resources() {
    same_layout! {
        Timespec = timespec { tv_sec, tv_nsec }
        Timeval = timeval { tv_sec, tv_usec }
        time::Itimerspec = itimerspec { it_interval, it_value }
        time::Itimerval = itimerval { it_interval, it_value }
        time::Tms = tms { tms_utime, tms_stime, tms_cutime, tms_cstime }
        time::Utimbuf = utimbuf { actime, modtime }
        time::Timex = timex {
            modes, offset, freq, maxerror, esterror, status, constant, precision, tolerance, time, tick, ppsfreq,
            jitter, shift, stabil, jitcnt, calcnt, errcnt, stbcnt, tai,
        }
        resource::Rusage = rusage {
            ru_utime, ru_stime, ru_maxrss, ru_minflt, ru_majflt, ru_inblock, ru_oublock, ru_nvcsw, ru_nivcsw,
        }
        resource::Rlimit = rlimit { rlim_cur, rlim_max }
        resource::Sysinfo = sysinfo {
            uptime, loads, totalram, freeram, sharedram, bufferram, totalswap, freeswap, procs, totalhigh, freehigh,
            mem_unit,
        }
    }
}

#[test]
fn tasks_and_signals() {
    same_layout! {
        sched::CloneArgs = clone_args {
            flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup,
        }
        sched::SchedParam = sched_param { sched_priority }
        signal::SigAltStack = stack_t { ss_sp, ss_flags, ss_size }
        signal::SigEvent = sigevent { sigev_value, sigev_signo, sigev_notify, sigev_notify_thread_id }
        signal::SignalfdSiginfo = signalfd_siginfo {
            ssi_signo, ssi_errno, ssi_code, ssi_pid, ssi_uid, ssi_fd, ssi_tid, ssi_band, ssi_overrun, ssi_trapno,
            ssi_status, ssi_int, ssi_ptr, ssi_utime, ssi_stime, ssi_addr, ssi_addr_lsb, ssi_syscall, ssi_call_addr,
            ssi_arch,
        }
        SigInfo = siginfo_t { si_signo, si_errno, si_code }
        seccomp::SeccompData = seccomp_data { nr, arch, instruction_pointer, args }
        seccomp::SeccompNotif = seccomp_notif { id, pid, flags, data }
        seccomp::SeccompNotifResp = seccomp_notif_resp { id, val, error, flags }
        ptrace::UserRegs = user_regs_struct {
            r15, r12, bp as rbp, bx as rbx, r8, ax as rax, di as rdi, orig_ax as orig_rax, ip as rip, cs,
            flags as eflags, sp as rsp, ss, fs_base, gs_base, ds, es, fs, gs,
        }
        ptrace::UserFpRegs = user_fpregs_struct { cwd, swd, fop, rip, rdp, mxcsr, mxcr_mask, st_space, xmm_space }
    }
    // libc's ucontext_t has a larger signal set at its end, and names the registers by index.
    assert_eq!(offset_of!(sigframe::UContext, uc_mcontext), offset_of!(libc::ucontext_t, uc_mcontext));
    assert_eq!(offset_of!(sigframe::UContext, uc_sigmask), offset_of!(libc::ucontext_t, uc_sigmask));
    assert_eq!(offset_of!(sigframe::SigContext, ip), 8 * libc::REG_RIP as usize);
    assert_eq!(offset_of!(sigframe::SigContext, cs), 8 * libc::REG_CSGSFS as usize);
    assert_eq!(offset_of!(sigframe::SigContext, cr2), 8 * libc::REG_CR2 as usize);
    assert_eq!(offset_of!(sigframe::SigContext, fpstate), offset_of!(libc::mcontext_t, fpregs));
    assert_eq!(size_of::<sigframe::RtSigFrame>(), 440);
    assert_eq!(size_of::<sigframe::FpxSwBytes>() + sigframe::FPX_SW_BYTES_OFFSET, sigframe::FXSAVE_SIZE);
    assert_eq!(size_of::<signal::SigAction>(), 32);
    assert_eq!(size_of::<sched::SchedAttr>(), sched::SCHED_ATTR_SIZE_VER1);
    assert_eq!(size_of::<sched::Rseq>(), sched::ORIG_RSEQ_SIZE);
    assert_eq!(size_of::<futex::RobustListHead>(), 24);
    assert_eq!(size_of::<futex::FutexWaitv>(), 24);
}

#[test]
fn sockets() {
    same_layout! {
        net::SockaddrStorage = sockaddr_storage { ss_family }
        net::SockaddrUn = sockaddr_un { sun_family, sun_path }
        net::SockaddrLl = sockaddr_ll {
            sll_family, sll_protocol, sll_ifindex, sll_hatype, sll_pkttype, sll_halen, sll_addr,
        }
        net::Msghdr = msghdr {
            msg_name, msg_namelen, msg_iov, msg_iovlen, msg_control, msg_controllen, msg_flags,
        }
        net::Mmsghdr = mmsghdr { msg_hdr, msg_len }
        net::Cmsghdr = cmsghdr { cmsg_len, cmsg_level, cmsg_type }
        net::Ucred = ucred { pid, uid, gid }
        net::Linger = linger { l_onoff, l_linger }
        net::SockFilter = sock_filter { code, jt, jf, k }
        net::SockFprog = sock_fprog { len, filter }
        inet::SockaddrIn = sockaddr_in { sin_family, sin_port, sin_addr }
        inet::SockaddrIn6 = sockaddr_in6 { sin6_family, sin6_port, sin6_flowinfo, sin6_addr, sin6_scope_id }
        inet::IpMreqn = ip_mreqn { imr_multiaddr, imr_address, imr_ifindex }
        inet::InPktinfo = in_pktinfo { ipi_ifindex, ipi_spec_dst, ipi_addr }
        inet::In6Pktinfo = in6_pktinfo { ipi6_addr, ipi6_ifindex }
        inet::SockExtendedErr = sock_extended_err {
            ee_errno, ee_origin, ee_type, ee_code, ee_pad, ee_info, ee_data,
        }
        netlink::SockaddrNl = sockaddr_nl { nl_family, nl_pid, nl_groups }
        netlink::Nlmsghdr = nlmsghdr { nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid }
        netlink::Nlmsgerr = nlmsgerr { error, msg }
        netlink::Rtattr = nlattr { rta_len as nla_len, rta_type as nla_type }
        netlink::Ifreq = ifreq { ifr_name, ifr_ifru }
        netlink::Ifconf = ifconf { ifc_len, ifc_buf as ifc_ifcu }
    }
    assert_eq!(net::cmsg_align(13), Some(16));
    assert_eq!(net::cmsg_align(u64::MAX), None);
}

#[test]
fn terminals_elf_and_ipc() {
    same_layout! {
        tty::Termios2 = termios2 { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc, c_ispeed, c_ospeed }
        tty::Winsize = winsize { ws_row, ws_col, ws_xpixel, ws_ypixel }
        elf::Ehdr = Elf64_Ehdr {
            e_ident, e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum,
            e_shentsize, e_shnum, e_shstrndx,
        }
        elf::Phdr = Elf64_Phdr { p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align }
        elf::Shdr = Elf64_Shdr {
            sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link, sh_info, sh_addralign, sh_entsize,
        }
        elf::Sym = Elf64_Sym { st_name, st_info, st_other, st_shndx, st_value, st_size }
        elf::Ehdr32 = Elf32_Ehdr { e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phnum, e_shstrndx }
        elf::Phdr32 = Elf32_Phdr { p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_flags, p_align }
        ipc::Ipc64Perm = ipc_perm { key as __key, uid, gid, cuid, cgid, mode, seq as __seq }
        ipc::Shmid64Ds = shmid_ds {
            shm_perm, shm_segsz, shm_atime, shm_dtime, shm_ctime, shm_cpid, shm_lpid, shm_nattch,
        }
        ipc::Semid64Ds = semid_ds { sem_perm, sem_otime, sem_ctime, sem_nsems }
        ipc::Msqid64Ds = msqid_ds {
            msg_perm, msg_stime, msg_rtime, msg_ctime, msg_qnum, msg_qbytes, msg_lspid, msg_lrpid,
        }
        ipc::Sembuf = sembuf { sem_num, sem_op, sem_flg }
        ipc::Seminfo = seminfo { semmap, semmni, semmns, semmnu, semmsl, semopm, semume, semusz, semvmx, semaem }
        ipc::Msginfo = msginfo { msgpool, msgmap, msgmax, msgmnb, msgmni, msgssz, msgtql, msgseg }
        ipc::MqAttr = mq_attr { mq_flags, mq_maxmsg, mq_msgsize, mq_curmsgs }
    }
    assert_eq!(size_of::<tty::Termios>(), 36);
    assert_eq!(size_of::<tty::Termio>(), 18);
    assert_eq!(size_of::<ioctl::LoopInfo64>(), 232);
    assert_eq!((size_of::<ioctl::LoopInfo>(), size_of::<ioctl::BlkpgPartition>()), (168, 152));
}

#[test]
fn constants() {
    same_value! {
        fcntl: O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_DSYNC O_ASYNC O_DIRECT O_DIRECTORY O_NOFOLLOW
            O_NOATIME O_CLOEXEC O_SYNC O_PATH O_TMPFILE AT_FDCWD AT_REMOVEDIR AT_EACCESS AT_SYMLINK_FOLLOW
            AT_EMPTY_PATH F_DUPFD_CLOEXEC F_SETPIPE_SZ F_ADD_SEALS F_OFD_SETLKW F_SEAL_WRITE F_UNLCK SEEK_HOLE
            RENAME_WHITEOUT FALLOC_FL_UNSHARE_RANGE RESOLVE_IN_ROOT SPLICE_F_GIFT;
        stat: S_IFMT S_IFSOCK S_IFLNK S_ISUID S_ISVTX DT_SOCK STATX_ALL STATX_MNT_ID UTIME_NOW UTIME_OMIT TMPFS_MAGIC
            PROC_SUPER_MAGIC EXT4_SUPER_MAGIC OVERLAYFS_SUPER_MAGIC;
        time: CLOCK_BOOTTIME CLOCK_TAI ITIMER_PROF TIMER_ABSTIME TFD_TIMER_CANCEL_ON_SET ADJ_TICK STA_NANO;
        signal: SIGBUS SIGUSR2 SIGCHLD SIGIO SIGSYS SA_RESTART SA_RESETHAND SA_ONSTACK SIG_SETMASK SS_DISABLE
            SIGEV_THREAD_ID SI_TKILL SI_QUEUE BUS_ADRERR CLD_CONTINUED TRAP_TRACE;
        sched: CLONE_VM CLONE_THREAD CLONE_SETTLS CLONE_NEWNET CLONE_IO SCHED_DEADLINE PRIO_USER;
        wait: WNOHANG WCONTINUED WNOWAIT __WALL __WCLONE P_PIDFD;
        futex: FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2 FUTEX_CLOCK_REALTIME FUTEX_TID_MASK;
        resource: RLIMIT_NOFILE RLIMIT_AS RLIMIT_RTTIME RUSAGE_CHILDREN;
        prctl: PR_SET_NAME PR_SET_NO_NEW_PRIVS PR_SET_VMA PR_CAP_AMBIENT ADDR_NO_RANDOMIZE;
        mm: MAP_SHARED_VALIDATE MAP_FIXED_NOREPLACE MAP_STACK MREMAP_DONTUNMAP MADV_COLD MCL_ONFAULT
            MFD_ALLOW_SEALING MS_SYNC;
        poll: POLLRDHUP POLLNVAL EPOLLET EPOLLONESHOT EPOLLEXCLUSIVE EPOLL_CTL_MOD;
        tty: TCGETS TIOCGPTN TIOCSPTLCK TIOCGPTPEER TIOCSWINSZ CRTSCTS CBAUD B4000000 ECHOKE IUTF8 VEOL2;
        net: AF_NETLINK SOCK_SEQPACKET SO_PEERCRED SO_DOMAIN SO_PEERGROUPS MSG_CMSG_CLOEXEC MSG_WAITFORONE SCM_RIGHTS;
        inet: IPV6_V6ONLY TCP_USER_TIMEOUT IP_RECVERR UDP_SEGMENT;
        netlink: RTM_GETLINK IFLA_STATS64 IFF_LOWER_UP NLM_F_DUMP ARPHRD_LOOPBACK;
        ioctl: FIONREAD FIOCLEX FS_IOC_GETFLAGS FICLONERANGE BLKSSZGET BLKPBSZGET;
        mount: MS_LAZYTIME MS_MOVE UMOUNT_NOFOLLOW MOUNT_ATTR_STRICTATIME;
        inotify: IN_ALL_EVENTS IN_MASK_CREATE IN_ONESHOT;
        elf: AT_RANDOM AT_SYSINFO_EHDR PT_GNU_RELRO EM_X86_64;
        ipc: SHM_REMAP SEM_STAT_ANY MSG_COPY;
        seccomp: SECCOMP_RET_USER_NOTIF SECCOMP_FILTER_FLAG_TSYNC_ESRCH BPF_JSET;
        ptrace: PTRACE_SEIZE PTRACE_O_EXITKILL PTRACE_EVENT_STOP;
    }
}

#[test]
fn syscall_numbers() {
    assert_eq!(nr::READ, libc::SYS_read as u64);
    assert_eq!(nr::EXIT_GROUP, libc::SYS_exit_group as u64);
    assert_eq!(nr::IO_URING_SETUP, libc::SYS_io_uring_setup as u64);
    assert_eq!(nr::FUTEX_WAITV, libc::SYS_futex_waitv as u64);
    assert_eq!(nr::MSEAL, libc::SYS_mseal as u64);
    assert_eq!(nr::name(nr::OPENAT2), Some("openat2"));
    assert_eq!(nr::name(nr::MAX), Some("listns"));
    assert_eq!(nr::name(400), None);
    assert_eq!(nr::name(u64::MAX), None);
}

#[test]
fn device_numbers() {
    for (major, minor) in
        [(0, 0), (8, 1), (98, 255), (254, 0x1_2345), (0xfff, 0xf_ffff), (0x1_2345, 0xffff_fff0)]
    {
        let dev = stat::makedev(major, minor);
        assert_eq!(dev, libc::makedev(major, minor));
        assert_eq!((stat::major(dev), stat::minor(dev)), (major, minor));
    }
    assert_eq!(stat::mode_to_dt(stat::S_IFLNK | 0o777), stat::DT_LNK);
}

#[test]
fn times_in_ns() {
    let ts = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec }.to_ns();
    assert_eq!(ts(2, 999_999_999), Some(2_999_999_999));
    assert_eq!(ts(0, 1_000_000_000), None);
    assert_eq!(ts(0, -1), None);
    assert_eq!(ts(-1, 0), None);
    assert_eq!(ts(i64::MAX, 0), Some(u64::MAX));
    assert_eq!(Timespec::from_ns(2_999_999_999), Timespec { tv_sec: 2, tv_nsec: 999_999_999 });
    assert_eq!(Timeval { tv_sec: 1, tv_usec: 1_000_000 }.to_ns(), None);
    assert_eq!(Timeval { tv_sec: 1, tv_usec: 5 }.to_ns(), Some(1_000_005_000));
}

#[test]
fn signal_sets() {
    let mut set = SigSet::of(&[signal::SIGHUP, signal::SIGRTMAX, 0, 65]);
    assert_eq!(set.bits, 1 | 1 << 63);
    assert!(set.contains(64) && !set.contains(0) && !set.contains(65));
    set.insert(signal::SIGKILL);
    assert_eq!(set.iter().collect::<Vec<_>>(), [1, 9, 64]);
    assert_eq!(set.difference(SigSet::UNBLOCKABLE).first(), Some(1));
    set.remove(1);
    assert_eq!(set.first(), Some(9));
    assert_eq!(SigSet::EMPTY.first(), None);
    assert_eq!(signal::name(signal::SIGWINCH), Some("WINCH"));
    assert_eq!((signal::name(0), signal::name(32)), (None, None));
}

#[test]
fn siginfo_fields_lie_where_linux_has_them() {
    let chld = SigInfo::chld(signal::CLD_EXITED, 7, 1000, 3, 11, 12);
    let word = |at: usize| u32::from_ne_bytes(chld.as_bytes()[at..at + 4].try_into().unwrap());
    assert_eq!(
        [word(0), word(8), word(16), word(20), word(24), word(32), word(40)],
        [17, 1, 7, 1000, 3, 11, 12]
    );
    assert_eq!((chld.si_pid(), chld.si_uid(), chld.si_status()), (7, 1000, 3));
    let mut timer = SigInfo::timer(14, -3, 0, 99);
    timer.set_overrun(5);
    assert_eq!((timer.si_timerid(), timer.si_overrun(), timer.si_value()), (-3, 5, 99));
    let sys = SigInfo::sys(0x1000, 39, seccomp::AUDIT_ARCH_X86_64, 2);
    assert_eq!((sys.si_syscall(), sys.si_arch(), sys.si_errno), (39, seccomp::AUDIT_ARCH_X86_64, 2));
}

#[test]
fn wait_status() {
    for status in
        [wait::w_exitcode(0), wait::w_exitcode(259), wait::w_termsig(11, true), wait::w_stopcode(19)]
    {
        assert_eq!(wait::wifexited(status), libc::WIFEXITED(status));
        assert_eq!(wait::wexitstatus(status), libc::WEXITSTATUS(status));
        assert_eq!(wait::wifsignaled(status), libc::WIFSIGNALED(status));
        assert_eq!(wait::wtermsig(status), libc::WTERMSIG(status) as u32);
        assert_eq!(wait::wcoredump(status), libc::WCOREDUMP(status));
        assert_eq!(wait::wifstopped(status), libc::WIFSTOPPED(status));
    }
    assert!(libc::WIFCONTINUED(wait::W_CONTINUED));
}

#[test]
fn open_flags() {
    use fcntl::OpenFlags;
    let flags = OpenFlags::from_bits_retain(fcntl::O_RDWR | fcntl::O_CREAT);
    assert!(flags.readable() && flags.writable());
    let ioctl_only = OpenFlags::from_bits_retain(fcntl::O_ACCMODE);
    assert!(!ioctl_only.readable() && !ioctl_only.writable());
    assert!(OpenFlags::RDONLY.readable() && !OpenFlags::RDONLY.writable());
    assert!(!OpenFlags::PATH.readable());
    assert_eq!(OpenFlags::from_bits(1 << 31), None);
}

#[test]
fn pages() {
    assert_eq!(mm::page_up(1), Some(4096));
    assert_eq!(mm::page_up(u64::MAX), None);
    assert_eq!(mm::page_down(8191), 4096);
    assert!(mm::page_aligned(0) && !mm::page_aligned(1));
}
