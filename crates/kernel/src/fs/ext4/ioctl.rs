//! ioctl(2) on files of this file system.

use std::sync::Arc;

use abi::Result;
use abi::cred::{CAP_LINUX_IMMUTABLE, CAP_SYS_ADMIN};
use abi::errno::*;
use abi::ioctl::*;
use ext4::{InodeFlags, SetAttr};

use super::Volume;
use super::node::Node;
use crate::task::{capable, current};
use crate::uaccess::UserPtr;
use crate::vfs::namei::is_owner;
use crate::vfs::{File, FileType};

/// Flags that lsattr(1) shows.
const VISIBLE: u32 = 0x604b_dfff;
/// Flags that chattr(1) may send back; changes of others than the library allows are refused there.
const SETTABLE: u32 = 0x604b_c0ff;
/// FIEMAP_FLAG_SYNC, FIEMAP_FLAG_XATTR.
const FIEMAP_FLAG_SYNC: u32 = 1;
/// Extents that are collected for one call.
const FIEMAP_MAX: u32 = 16384;

/// Serves the ioctls of any file of a volume. ENOTTY for what is none.
pub(super) fn ioctl(file: &File, volume: Arc<Volume>, cmd: u32, arg: u64) -> Result<u64> {
    let node = Node::of(file.inode());
    match cmd {
        FS_IOC_GETFLAGS => {
            let flags = node.inode.stat().flags.bits() & VISIBLE;
            UserPtr::new(arg).write(&flags)?;
        }
        FS_IOC_SETFLAGS => set_flags(file, node, &volume, UserPtr::<u32>::new(arg).read()?)?,
        FS_IOC_GETVERSION => UserPtr::new(arg).write(&node.inode.stat().generation)?,
        FIGETBSZ => UserPtr::new(arg).write(&(volume.fs.geometry().block_size as u32))?,
        FS_IOC_FIEMAP => fiemap(file, node, arg)?,
        FITRIM => trim(&volume, UserPtr::new(arg))?,
        FIFREEZE | FITHAW => {
            if !capable(CAP_SYS_ADMIN) {
                return Err(EPERM);
            }
            if cmd == FIFREEZE { volume.freeze()? } else { volume.thaw()? }
        }
        FS_IOC_FSGETXATTR => {
            let stat = node.inode.stat();
            let xattr =
                Fsxattr { fsx_xflags: xflags(stat.flags), fsx_projid: stat.project, ..Fsxattr::default() };
            UserPtr::new(arg).write(&xattr)?;
        }
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

/// FS_XFLAG_* of what both know.
fn xflags(flags: InodeFlags) -> u32 {
    let pairs = [
        (InodeFlags::SYNC, 0x20),
        (InodeFlags::IMMUTABLE, 0x8),
        (InodeFlags::APPEND, 0x10),
        (InodeFlags::NODUMP, 0x80),
        (InodeFlags::NOATIME, 0x40),
        (InodeFlags::PROJINHERIT, 0x200),
    ];
    pairs.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, x)| x).sum()
}

fn set_flags(file: &File, node: &Node, volume: &Volume, wanted: u32) -> Result<()> {
    if file.path.mnt.is_readonly() {
        return Err(EROFS);
    }
    let inode = file.inode();
    if !is_owner(&inode.getattr()?, &current().cred()) {
        return Err(EPERM);
    }
    if wanted & !VISIBLE != 0 {
        return Err(EOPNOTSUPP);
    }
    if !matches!(inode.kind, FileType::Regular | FileType::Dir) {
        return Err(EOPNOTSUPP);
    }
    let _guard = inode.rwsem.lock();
    let old = node.inode.stat().flags.bits();
    let new = old & !SETTABLE | wanted & SETTABLE;
    let guarded = (InodeFlags::IMMUTABLE | InodeFlags::APPEND).bits();
    if (old ^ new) & guarded != 0 && !capable(CAP_LINUX_IMMUTABLE) {
        return Err(EPERM);
    }
    volume.changed();
    node.inode.set_attr(&SetAttr { flags: Some(InodeFlags::from_bits_retain(new)), ..SetAttr::default() })
}

fn trim(volume: &Volume, range: UserPtr<FstrimRange>) -> Result<()> {
    if !capable(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    volume.writable()?;
    let mut wanted = range.read()?;
    wanted.len = volume.fs.trim(wanted.start, wanted.len, wanted.minlen)?;
    range.write(&wanted)
}

fn fiemap(file: &File, node: &Node, arg: u64) -> Result<()> {
    let header = UserPtr::<Fiemap>::new(arg);
    let mut map = header.read()?;
    if map.fm_flags & !FIEMAP_FLAG_SYNC != 0 {
        // What is not served is told apart in the flags.
        map.fm_flags &= !FIEMAP_FLAG_SYNC;
        header.write(&map)?;
        return Err(EBADR);
    }
    if map.fm_length == 0 {
        return Err(EINVAL);
    }
    if map.fm_flags & FIEMAP_FLAG_SYNC != 0
        && let Some(cache) = node.cache()
    {
        cache.write_back(0, u64::MAX)?;
    }
    if !matches!(file.inode().kind, FileType::Regular | FileType::Dir) {
        return Err(EOPNOTSUPP);
    }
    let count_only = map.fm_extent_count == 0;
    let limit = if count_only { 0 } else { map.fm_extent_count.min(FIEMAP_MAX) };
    let extents = node.inode.fiemap(map.fm_start, map.fm_length, limit as usize)?;
    map.fm_mapped_extents = extents.len() as u32;
    if !count_only {
        let list = UserPtr::<FiemapExtent>::new(arg.wrapping_add(size_of::<Fiemap>() as u64));
        for (i, extent) in extents.iter().enumerate() {
            list.at(i).write(&FiemapExtent {
                fe_logical: extent.logical,
                fe_physical: extent.physical,
                fe_length: extent.length,
                fe_flags: extent.flags,
                ..FiemapExtent::default()
            })?;
        }
    }
    header.write(&map)
}
