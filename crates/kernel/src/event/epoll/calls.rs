//! epoll_create(2), epoll_ctl(2), epoll_wait(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINTR, EINVAL, EPERM, ERESTARTSYS};
use abi::fcntl::OpenFlags;
use abi::poll::{
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP,
    EPOLLIN, EPOLLOUT, EPOLLWAKEUP, EpollEvent,
};
use abi::time::Timespec;
use zerocopy::IntoBytes;

use super::{EpollFile, Eventpoll};
use crate::event::{Timeout, wait_for, with_user_mask};
use crate::task::current;
use crate::uaccess::{UserPtr, copy_to_user};
use crate::vfs::anon::anon_file;
use crate::vfs::{Fd, File, FileMode};

/// epoll_create(2): the size is only checked.
pub fn epoll_create(size: i32) -> Result<Fd> {
    if size <= 0 { Err(EINVAL) } else { epoll_create1(0) }
}

/// epoll_create1(2)
pub fn epoll_create1(flags: u32) -> Result<Fd> {
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    let ops = Box::new(EpollFile(Eventpoll::new()));
    // No mode: read(2) and write(2) of an epoll are EINVAL by its operations.
    let mode = FileMode::STREAM | FileMode::NOOP_SEEK | FileMode::READ | FileMode::WRITE;
    let file = anon_file("anon_inode:[eventpoll]", ops, OpenFlags::RDWR, mode)?;
    current().files()?.install(file, flags & EPOLL_CLOEXEC != 0)
}

/// epoll_ctl(2)
pub fn epoll_ctl(epfd: Fd, op: u32, fd: Fd, event: UserPtr<EpollEvent>) -> Result<()> {
    let mut wanted = if op == EPOLL_CTL_DEL { EpollEvent::default() } else { event.read()? };
    let ep_file = epfd.io()?;
    let file = fd.io()?;
    if !file.ops.can_poll(&file) {
        return Err(EPERM);
    }
    // No suspend to hold off.
    wanted.events &= !EPOLLWAKEUP;
    let ep = EpollFile::of(&ep_file).ok_or(EINVAL)?;
    if Arc::ptr_eq(&ep_file, &file) {
        return Err(EINVAL);
    }
    if op != EPOLL_CTL_DEL && wanted.events & EPOLLEXCLUSIVE != 0 {
        let allowed = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLET | EPOLLEXCLUSIVE;
        let nested = EpollFile::of(&file).is_some();
        if op == EPOLL_CTL_MOD || nested || wanted.events & !allowed != 0 {
            return Err(EINVAL);
        }
    }
    match op {
        EPOLL_CTL_ADD => ep.add(&file, fd.0, wanted),
        EPOLL_CTL_MOD => ep.modify(&file, fd.0, wanted),
        EPOLL_CTL_DEL => ep.delete(&file, fd.0),
        _ => Err(EINVAL),
    }
}

/// epoll_wait(2): `timeout` in ms.
pub fn epoll_wait(epfd: Fd, events: UserPtr<EpollEvent>, maxevents: i32, timeout: i32) -> Result<usize> {
    wait(epfd, events, maxevents, Timeout::from_millis(timeout))
}

/// epoll_pwait(2)
pub fn epoll_pwait(
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    maxevents: i32,
    timeout: i32,
    sigmask: u64,
    sigsetsize: u64,
) -> Result<usize> {
    let timeout = Timeout::from_millis(timeout);
    with_user_mask(sigmask, sigsetsize, || wait(epfd, events, maxevents, timeout))
}

/// epoll_pwait2(2)
pub fn epoll_pwait2(
    epfd: Fd,
    events: UserPtr<EpollEvent>,
    maxevents: i32,
    timeout: UserPtr<Timespec>,
    sigmask: u64,
    sigsetsize: u64,
) -> Result<usize> {
    let timeout = Timeout::from_user(timeout)?;
    with_user_mask(sigmask, sigsetsize, || wait(epfd, events, maxevents, timeout))
}

fn wait(epfd: Fd, events: UserPtr<EpollEvent>, maxevents: i32, timeout: Timeout) -> Result<usize> {
    let max = usize::try_from(maxevents).unwrap_or(0);
    if max == 0 || max > i32::MAX as usize / size_of::<EpollEvent>() {
        return Err(EINVAL);
    }
    let file: Arc<File> = epfd.io()?;
    let ep = EpollFile::of(&file).ok_or(EINVAL)?;
    loop {
        let found = ep.deliver(max, |ready| copy_to_user(events.addr(), ready.as_bytes()))?;
        if found > 0 || timeout == Timeout::Zero {
            return Ok(found);
        }
        let woken = wait_for(timeout, |table| {
            table.set_exclusive();
            table.register(&ep.waiters);
            ep.has_ready().then_some(())
        });
        match woken {
            Ok(Some(())) => {}
            Ok(None) => return Ok(0),
            // Never restarted, signal(7).
            Err(ERESTARTSYS) => return Err(EINTR),
            Err(errno) => return Err(errno),
        }
    }
}
