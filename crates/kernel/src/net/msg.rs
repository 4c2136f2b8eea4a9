//! sendto(2), sendmsg(2), sendmmsg(2), recvfrom(2), recvmsg(2), recvmmsg(2).

use std::sync::Arc;

use abi::errno::{EAGAIN, EINVAL, EMSGSIZE, EPIPE, ETIMEDOUT};
use abi::net::{
    MSG_CMSG_CLOEXEC, MSG_CMSG_COMPAT, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, MSG_WAITALL, MSG_WAITFORONE,
    Mmsghdr, Msghdr,
};
use abi::time::Timespec;
use abi::uio::Iovec;
use abi::{Errno, Result};

use super::calls::interrupted;
use super::control::{ControlWriter, parse};
use super::socket::socket_file;
use super::{Ancillary, RecvMsg, SendMsg, Socket, SocketFile, addr};
use crate::event::Timeout;
use crate::ipc::pipe::broken_pipe;
use crate::sync::Sleep;
use crate::task::current;
use crate::uaccess::{UIO_MAXIOV, UserPtr, iovec_from_user, user_dest, user_source};
use crate::vfs::{Fd, File, IovDest, IovSource, PollEvents};

/// sendto(2), send(2)
pub fn sendto(fd: Fd, buf: u64, len: usize, flags: u32, addr: u64, addr_len: i32) -> Result<usize> {
    let file = socket_file(fd)?;
    let addr = if addr == 0 { None } else { Some(addr::read(addr, addr_len)?) };
    let mut src = user_source(buf, len)?;
    send(&file, &mut src, flags, addr, Ancillary::default())
}

/// sendmsg(2)
pub fn sendmsg(fd: Fd, msg: UserPtr<Msghdr>, flags: u32) -> Result<usize> {
    send_header(&socket_file(fd)?, &msg.read()?, flags)
}

/// sendmmsg(2): the number of messages sent; an error only if there was none.
pub fn sendmmsg(fd: Fd, msgs: UserPtr<Mmsghdr>, vlen: u32, flags: u32) -> Result<usize> {
    let file = socket_file(fd)?;
    let count = (vlen as usize).min(UIO_MAXIOV);
    for i in 0..count {
        let one = || -> Result<()> {
            let at = msgs.at(i);
            let n = send_header(&file, &at.cast::<Msghdr>().read()?, flags)?;
            write_len(at, n)
        };
        match one() {
            Ok(()) => {}
            Err(errno) if i == 0 => return Err(errno),
            Err(_) => return Ok(i),
        }
    }
    Ok(count)
}

/// Fills `msg_len` of an element of sendmmsg and recvmmsg.
fn write_len(msg: UserPtr<Mmsghdr>, n: usize) -> Result<()> {
    let at = msg.addr().wrapping_add(core::mem::offset_of!(Mmsghdr, msg_len) as u64);
    UserPtr::new(at).write(&(n as u32))
}

fn segments(header: &Msghdr) -> Result<Vec<(u64, usize)>> {
    let count = usize::try_from(header.msg_iovlen).ok().filter(|&n| n <= UIO_MAXIOV).ok_or(EMSGSIZE)?;
    iovec_from_user(UserPtr::<Iovec>::new(header.msg_iov), count)
}

fn send_header(file: &Arc<File>, header: &Msghdr, flags: u32) -> Result<usize> {
    let addr = match (header.msg_name, header.msg_namelen) {
        (_, ..0) => return Err(EINVAL),
        (0, _) | (_, 0) => None,
        (name, len) => Some(addr::read(name, len.min(128))?),
    };
    let mut src = IovSource::user(current().mm()?, segments(header)?);
    let control = parse(SocketFile::of(file)?.domain(), header.msg_control, header.msg_controllen)?;
    send(file, &mut src, flags, addr, control)
}

/// Sends a message whole, waiting if the file may block. SIGPIPE where Linux raises it.
fn send(
    file: &File,
    src: &mut IovSource<'_>,
    flags: u32,
    addr: Option<Vec<u8>>,
    control: Ancillary,
) -> Result<usize> {
    let socket = SocketFile::of(file)?;
    let flags = if file.nonblock() { flags | MSG_DONTWAIT } else { flags };
    let timeout = socket.options().sndtimeo();
    let sleep = Sleep::until(timeout.map(|t| host::clock::monotonic().saturating_add(t)));
    let mut msg = SendMsg { src, flags, addr, control };
    let mut done = 0;
    loop {
        let outcome = match socket.send(&mut msg) {
            Err(EAGAIN) if flags & MSG_DONTWAIT == 0 => socket.wait_to_send(&msg, sleep).map(|()| None),
            other => other.map(Some),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(n)) => {
                done += n;
                if n == 0 || !socket.is_stream() || msg.src.remaining() == 0 {
                    return Ok(done);
                }
            }
            Err(_) if done > 0 => return Ok(done),
            Err(ETIMEDOUT) => return Err(EAGAIN),
            Err(errno) => return Err(send_error(&**socket, flags, interrupted(errno, timeout))),
        }
    }
}

/// Raises SIGPIPE for an error of a stream that asks for it.
pub fn send_error(socket: &dyn Socket, flags: u32, errno: Errno) -> Errno {
    if errno == EPIPE && socket.is_stream() && flags & MSG_NOSIGNAL == 0 { broken_pipe() } else { errno }
}

/// recvfrom(2), recv(2)
pub fn recvfrom(
    fd: Fd,
    buf: u64,
    len: usize,
    flags: u32,
    addr: u64,
    addr_len: UserPtr<i32>,
) -> Result<usize> {
    let file = socket_file(fd)?;
    let mut dest = user_dest(buf, len)?;
    let mut msg = RecvMsg::new(&mut dest, flags);
    let n = recv(&file, &mut msg)?;
    if addr != 0 {
        addr::write(&msg.addr.take().unwrap_or_default(), addr, addr_len)?;
    }
    Ok(n)
}

/// recvmsg(2)
pub fn recvmsg(fd: Fd, msg: UserPtr<Msghdr>, flags: u32) -> Result<usize> {
    recv_header(&socket_file(fd)?, msg, flags)
}

/// recvmmsg(2): the number of messages received. The timeout is looked at after each.
pub fn recvmmsg(
    fd: Fd,
    msgs: UserPtr<Mmsghdr>,
    vlen: u32,
    mut flags: u32,
    timeout: UserPtr<Timespec>,
) -> Result<usize> {
    let until = Timeout::from_user(timeout)?;
    let file = socket_file(fd)?;
    SocketFile::of(&file)?.options().take_error()?;
    let count = (vlen as usize).min(UIO_MAXIOV);
    let mut done = 0;
    while done < count {
        let one = || -> Result<()> {
            let at = msgs.at(done);
            let n = recv_header(&file, at.cast(), flags & !MSG_WAITFORONE)?;
            write_len(at, n)
        };
        match one() {
            Ok(()) => done += 1,
            Err(errno) if done == 0 => return Err(errno),
            Err(EAGAIN) => break,
            Err(errno) => {
                // Told by the next call, if it is the socket's own trouble.
                if !errno.is_restart() {
                    SocketFile::of(&file)?.options().set_error(errno);
                }
                break;
            }
        }
        if flags & MSG_WAITFORONE != 0 {
            flags |= MSG_DONTWAIT;
        }
        if until != Timeout::Never && until.remaining() == Timespec::default() {
            break;
        }
    }
    if until != Timeout::Never {
        timeout.write(&until.remaining())?;
    }
    Ok(done)
}

fn recv_header(file: &Arc<File>, user: UserPtr<Msghdr>, flags: u32) -> Result<usize> {
    let header = user.read()?;
    if header.msg_namelen < 0 {
        return Err(EINVAL);
    }
    let mut dest = IovDest::user(current().mm()?, segments(&header)?);
    let mut msg = RecvMsg::new(&mut dest, flags & !(MSG_CMSG_CLOEXEC | MSG_CMSG_COMPAT));
    let n = recv(file, &mut msg)?;
    let mut out = header;
    out.msg_flags = msg.out_flags | (flags & MSG_CMSG_CLOEXEC);
    let mut control = ControlWriter::new(header.msg_control, header.msg_controllen);
    control.message(&mut msg, flags & MSG_CMSG_CLOEXEC != 0)?;
    out.msg_flags |= control.flags();
    out.msg_controllen = control.written();
    if header.msg_name != 0 {
        let source = msg.addr.take().unwrap_or_default();
        let room = (header.msg_namelen as usize).min(source.len());
        crate::uaccess::copy_to_user(header.msg_name, &source[..room])?;
        out.msg_namelen = source.len() as i32;
    }
    user.write(&out)?;
    Ok(n)
}

/// Receives into `msg`, waiting if the file may block; with MSG_WAITALL until a stream has filled it.
fn recv(file: &File, msg: &mut RecvMsg<'_, '_>) -> Result<usize> {
    let socket = SocketFile::of(file)?;
    if file.nonblock() {
        msg.flags |= MSG_DONTWAIT;
    }
    let nonblock = msg.wants(MSG_DONTWAIT);
    let timeout = socket.options().rcvtimeo();
    let deadline = timeout.map(|t| host::clock::monotonic().saturating_add(t));
    let all = msg.wants(MSG_WAITALL) && !msg.wants(MSG_PEEK) && socket.is_stream();
    let mut done = 0;
    loop {
        let events = PollEvents::IN | PollEvents::RDHUP;
        match file.retry(events, nonblock, deadline, || socket.recv(msg)) {
            Ok(n) => {
                done += n;
                if n == 0 || !all || msg.boundary || msg.dest.remaining() == 0 {
                    return Ok(done);
                }
            }
            Err(_) if done > 0 => return Ok(done),
            Err(errno) => return Err(interrupted(errno, timeout)),
        }
    }
}
