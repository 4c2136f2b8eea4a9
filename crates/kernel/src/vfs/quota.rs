//! quotactl(2), of a kernel whose file systems keep no quotas.

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::{EINVAL, ENOSYS, EPERM, ESRCH};

use super::Fd;
use crate::syscall::UserPath;
use crate::task::{capable, current};

/// Commands, without the kind of quota in the low byte.
const Q_SYNC: u32 = 0x80_0001;
const Q_QUOTAON: u32 = 0x80_0002;
const Q_QUOTAOFF: u32 = 0x80_0003;
const Q_GETFMT: u32 = 0x80_0004;
const Q_GETINFO: u32 = 0x80_0005;
const Q_SETINFO: u32 = 0x80_0006;
const Q_GETQUOTA: u32 = 0x80_0007;
const Q_SETQUOTA: u32 = 0x80_0008;
const Q_GETNEXTQUOTA: u32 = 0x80_0009;
/// User, group, project.
const KINDS: u32 = 3;

/// quotactl(2). `special` names the block device.
pub fn quotactl(cmd: u32, special: UserPath, id: i32, _addr: u64) -> Result<()> {
    if cmd & 0xff >= KINDS {
        return Err(EINVAL);
    }
    if special.is_null() {
        // Everything is in step, there being nothing.
        return if cmd >> 8 == Q_SYNC { Ok(()) } else { Err(abi::errno::ENODEV) };
    }
    crate::block::by_path(&special.read()?)?;
    answer(cmd, id)
}

/// quotactl_fd(2)
pub fn quotactl_fd(fd: Fd, cmd: u32, id: i32, _addr: u64) -> Result<()> {
    fd.file()?;
    if cmd & 0xff >= KINDS {
        return Err(EINVAL);
    }
    answer(cmd, id)
}

fn answer(cmd: u32, id: i32) -> Result<()> {
    let own = cmd >> 8 == Q_GETQUOTA && cmd & 0xff == 0 && current().cred().euid == id as u32;
    match cmd >> 8 {
        Q_SYNC => Ok(()),
        Q_GETFMT | Q_GETINFO => Err(ESRCH),
        Q_GETQUOTA if own => Err(ESRCH),
        Q_QUOTAON | Q_QUOTAOFF | Q_SETINFO | Q_GETQUOTA | Q_SETQUOTA | Q_GETNEXTQUOTA => {
            match (capable(CAP_SYS_ADMIN), cmd >> 8) {
                (false, _) => Err(EPERM),
                (true, Q_QUOTAON) => Err(ENOSYS),
                (true, Q_QUOTAOFF) => Err(EINVAL),
                (true, _) => Err(ESRCH),
            }
        }
        _ => Err(EINVAL),
    }
}
