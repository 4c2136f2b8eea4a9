//! Control messages, cmsg(3): SCM_RIGHTS and SCM_CREDENTIALS between the guest and the kernel.

use abi::Result;
use abi::cred::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use abi::errno::{EINVAL, ENOBUFS, EPERM, ESRCH};
use abi::net::{
    AF_NETLINK, AF_UNIX, Cmsghdr, MSG_CTRUNC, SCM_CREDENTIALS, SCM_MAX_FD, SCM_RIGHTS, SOL_SOCKET, Ucred,
    cmsg_align,
};
use zerocopy::{FromBytes, IntoBytes};

use super::unix::Rights;
use super::{Ancillary, RecvMsg};
use crate::task::{current, pid};
use crate::uaccess::{copy_from_user, copy_to_user};
use crate::vfs::Fd;

/// net.core.optmem_max, bytes.
const OPTMEM_MAX: u64 = 131_072;
const HEADER: usize = size_of::<Cmsghdr>();

/// Reads the control data of a message on a socket of `domain`. EINVAL, EBADF, EPERM, ETOOMANYREFS.
pub fn parse(domain: u16, addr: u64, len: u64) -> Result<Ancillary> {
    let mut found = Ancillary::default();
    if addr == 0 || len == 0 {
        return Ok(found);
    }
    if len > OPTMEM_MAX {
        return Err(ENOBUFS);
    }
    let mut bytes = vec![0; len as usize];
    copy_from_user(addr, &mut bytes)?;
    let mut files = Vec::new();
    let mut rest = bytes.as_slice();
    while let Ok((header, after)) = Cmsghdr::read_from_prefix(rest) {
        let size = usize::try_from(header.cmsg_len).ok().filter(|&n| n >= HEADER && n <= rest.len());
        let size = size.ok_or(EINVAL)?;
        let data = &after[..size - HEADER];
        match (header.cmsg_level, header.cmsg_type) {
            (SOL_SOCKET, SCM_RIGHTS) if domain != AF_UNIX => {}
            (SOL_SOCKET, SCM_CREDENTIALS) if !matches!(domain, AF_UNIX | AF_NETLINK) => {}
            (SOL_SOCKET, SCM_RIGHTS) => {
                for fd in data.as_chunks::<4>().0 {
                    if files.len() >= SCM_MAX_FD {
                        return Err(EINVAL);
                    }
                    files.push(Fd(i32::from_ne_bytes(*fd)).file()?);
                }
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                let creds = Ucred::read_from_bytes(data).map_err(|_| EINVAL)?;
                check(&creds)?;
                found.creds = Some(creds);
            }
            (SOL_SOCKET, _) => return Err(EINVAL),
            _ => {}
        }
        let step = cmsg_align(size as u64).map_or(rest.len(), |n| n as usize);
        rest = rest.get(step..).unwrap_or_default();
    }
    if !files.is_empty() {
        found.rights = Some(Rights::new(files)?);
    }
    Ok(found)
}

/// Whether the current task may claim to be `creds`.
fn check(creds: &Ucred) -> Result<()> {
    let task = current();
    let own = task.cred();
    let pid = creds.pid == task.tgid() || own.capable(CAP_SYS_ADMIN);
    let uid = [own.uid, own.euid, own.suid].contains(&creds.uid) || own.capable(CAP_SETUID);
    let gid = [own.gid, own.egid, own.sgid].contains(&creds.gid) || own.capable(CAP_SETGID);
    if !(pid && uid && gid) {
        return Err(EPERM);
    }
    if creds.pid != task.tgid() && pid::find_task(creds.pid).is_err() {
        return Err(ESRCH);
    }
    Ok(())
}

/// Writes control messages into a guest's buffer.
pub struct ControlWriter {
    at: u64,
    left: u64,
    written: u64,
    flags: u32,
}

impl ControlWriter {
    /// A buffer of `len` bytes; none if the address is null.
    pub fn new(addr: u64, len: u64) -> ControlWriter {
        ControlWriter { at: addr, left: if addr == 0 { 0 } else { len }, written: 0, flags: 0 }
    }

    /// MSG_CTRUNC if something found no room.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Bytes written: the new msg_controllen.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes what came with `msg`. Files that find no room, or no free descriptor, are closed.
    pub fn message(&mut self, msg: &mut RecvMsg<'_, '_>, cloexec: bool) -> Result<()> {
        for (level, kind, data) in &msg.others {
            self.put(*level, *kind, data)?;
        }
        if let Some(creds) = &msg.creds {
            self.put(SOL_SOCKET, SCM_CREDENTIALS, creds.as_bytes())?;
        }
        let files = core::mem::take(&mut msg.files);
        if files.is_empty() {
            return Ok(());
        }
        let room = (self.left.saturating_sub(HEADER as u64) / 4) as usize;
        if self.left < HEADER as u64 || files.len() > room {
            self.flags |= MSG_CTRUNC;
        }
        let table = current().files()?;
        let mut fds: Vec<u8> = Vec::new();
        for file in files.into_iter().take(room) {
            match table.install(file, cloexec) {
                Ok(fd) => fds.extend_from_slice(&fd.0.to_ne_bytes()),
                Err(_) => {
                    self.flags |= MSG_CTRUNC;
                    break;
                }
            }
        }
        if fds.is_empty() {
            return Ok(());
        }
        self.put(SOL_SOCKET, SCM_RIGHTS, &fds)
    }

    /// Writes one message, cut to what fits.
    fn put(&mut self, level: u32, kind: u32, data: &[u8]) -> Result<()> {
        let full = HEADER + data.len();
        if self.left < HEADER as u64 {
            self.flags |= MSG_CTRUNC;
            return Ok(());
        }
        let len = full.min(self.left as usize);
        if len < full {
            self.flags |= MSG_CTRUNC;
        }
        let header = Cmsghdr { cmsg_len: len as u64, cmsg_level: level, cmsg_type: kind };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(&data[..len - HEADER]);
        copy_to_user(self.at, &bytes)?;
        let space = cmsg_align(full as u64).unwrap_or(self.left).min(self.left);
        self.at = self.at.wrapping_add(space);
        self.left -= space;
        self.written += space;
        Ok(())
    }
}
