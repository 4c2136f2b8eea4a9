//! The syscalls on sockets, but for messages.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EAFNOSUPPORT, EFAULT, EINTR, EINVAL, EOPNOTSUPP, ERESTARTSYS};
use abi::net::{
    AF_INET, AF_MAX, AF_NETLINK, AF_UNIX, SHUT_RDWR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_PACKET,
    SOCK_TYPE_MASK, SOL_SOCKET, SOMAXCONN,
};

use super::socket::{install, socket_file};
use super::{Socket, SocketFile, addr, inet, netlink, options, unix};
use crate::task::current;
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user};
use crate::vfs::{Fd, PollEvents};

fn split_type(kind: u32) -> Result<(u32, u32)> {
    let flags = kind & !SOCK_TYPE_MASK;
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    Ok((kind & SOCK_TYPE_MASK, flags))
}

fn create(domain: u32, kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    if domain >= u32::from(AF_MAX) {
        return Err(EAFNOSUPPORT);
    }
    if kind > SOCK_PACKET {
        return Err(EINVAL);
    }
    match domain as u16 {
        AF_UNIX => unix::create(kind, protocol),
        AF_INET => inet::create(kind, protocol),
        AF_NETLINK => netlink::create(kind, protocol),
        _ => Err(EAFNOSUPPORT),
    }
}

/// socket(2)
pub fn socket(domain: u32, kind: u32, protocol: u32) -> Result<Fd> {
    let (kind, flags) = split_type(kind)?;
    install(create(domain, kind, protocol)?, flags)
}

/// socketpair(2): AF_UNIX alone.
pub fn socketpair(domain: u32, kind: u32, protocol: u32, fds: UserPtr<[i32; 2]>) -> Result<()> {
    let (kind, flags) = split_type(kind)?;
    if domain != u32::from(AF_UNIX) {
        create(domain, kind, protocol)?;
        return Err(EOPNOTSUPP);
    }
    let [first, second] = unix::pair(kind, protocol)?;
    let files = current().files()?;
    let first = install(first, flags)?;
    let second = match install(second, flags) {
        Ok(fd) => fd,
        Err(errno) => {
            let _ = files.remove(first);
            return Err(errno);
        }
    };
    let copied = fds.write(&[first.0, second.0]);
    if copied.is_err() {
        let _ = (files.remove(first), files.remove(second));
    }
    copied
}

/// bind(2)
pub fn bind(fd: Fd, addr: u64, len: i32) -> Result<()> {
    let file = socket_file(fd)?;
    let addr = addr::read(addr, len)?;
    SocketFile::of(&file)?.bind(&addr)
}

/// listen(2)
pub fn listen(fd: Fd, backlog: i32) -> Result<()> {
    let file = socket_file(fd)?;
    // A negative backlog is a large one, as in Linux.
    SocketFile::of(&file)?.listen((backlog as u32).min(SOMAXCONN))
}

/// accept(2)
pub fn accept(fd: Fd, addr: u64, len: UserPtr<i32>) -> Result<Fd> {
    accept4(fd, addr, len, 0)
}

/// accept4(2): SOCK_CLOEXEC, SOCK_NONBLOCK.
pub fn accept4(fd: Fd, addr: u64, len: UserPtr<i32>, flags: u32) -> Result<Fd> {
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let file = socket_file(fd)?;
    let socket = SocketFile::of(&file)?;
    let timeout = socket.options().rcvtimeo();
    let deadline = timeout.map(|t| host::clock::monotonic().saturating_add(t));
    let accepted = file
        .retry_as(PollEvents::IN, file.nonblock(), deadline, true, || socket.accept())
        .map_err(|errno| interrupted(errno, timeout))?;
    if addr != 0 {
        // A connection whose address can't be told is closed again.
        let written = addr::write(&accepted.peername().unwrap_or_default(), addr, len);
        if let Err(errno) = written {
            accepted.release();
            return Err(errno);
        }
    }
    let fd = install(accepted.clone(), flags);
    if fd.is_err() {
        accepted.release();
    }
    fd
}

/// An interrupted wait with a timeout is not restarted: it would begin with the full time again.
pub fn interrupted(errno: abi::Errno, timeout: Option<u64>) -> abi::Errno {
    if errno == ERESTARTSYS && timeout.is_some() { EINTR } else { errno }
}

/// connect(2)
pub fn connect(fd: Fd, addr: u64, len: i32) -> Result<()> {
    let file = socket_file(fd)?;
    let addr = addr::read(addr, len)?;
    SocketFile::of(&file)?.connect(&addr, file.nonblock())
}

/// getsockname(2)
pub fn getsockname(fd: Fd, addr: u64, len: UserPtr<i32>) -> Result<()> {
    let file = socket_file(fd)?;
    let name = SocketFile::of(&file)?.sockname()?;
    write_name(&name, addr, len)
}

/// getpeername(2)
pub fn getpeername(fd: Fd, addr: u64, len: UserPtr<i32>) -> Result<()> {
    let file = socket_file(fd)?;
    let name = SocketFile::of(&file)?.peername()?;
    write_name(&name, addr, len)
}

fn write_name(name: &[u8], addr: u64, len: UserPtr<i32>) -> Result<()> {
    if addr == 0 {
        return Err(EFAULT);
    }
    addr::write(name, addr, len)
}

/// shutdown(2)
pub fn shutdown(fd: Fd, how: u32) -> Result<()> {
    let file = socket_file(fd)?;
    if how > SHUT_RDWR {
        return Err(EINVAL);
    }
    SocketFile::of(&file)?.shutdown(how)
}

/// The largest option value that is read.
const OPTION_MAX: usize = 64 * 1024;

/// setsockopt(2)
pub fn setsockopt(fd: Fd, level: u32, name: u32, value: u64, len: i32) -> Result<()> {
    let len = usize::try_from(len).map_err(|_| EINVAL)?;
    let file = socket_file(fd)?;
    let socket = SocketFile::of(&file)?;
    let mut bytes = vec![0; len.min(OPTION_MAX)];
    copy_from_user(value, &mut bytes)?;
    match level {
        SOL_SOCKET => options::set(&**socket, name, &bytes),
        _ => socket.setsockopt(level, name, &bytes),
    }
}

/// getsockopt(2)
pub fn getsockopt(fd: Fd, level: u32, name: u32, value: u64, len: UserPtr<i32>) -> Result<()> {
    let file = socket_file(fd)?;
    let socket = SocketFile::of(&file)?;
    let room = usize::try_from(len.read()?).map_err(|_| EINVAL)?;
    let found = match level {
        SOL_SOCKET => options::get(&**socket, name, room)?,
        _ => socket.getsockopt(level, name, room)?,
    };
    let n = found.len().min(room);
    copy_to_user(value, &found[..n])?;
    len.write(&(n as i32))
}
