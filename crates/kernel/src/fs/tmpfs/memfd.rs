//! memfd_create(2), its seals, and shared memory without a name.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EBUSY, EINVAL, EPERM};
use abi::fcntl::{
    F_SEAL_EXEC, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, OpenFlags,
};
use abi::mm::{MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_EXEC, MFD_NOEXEC_SEAL};

use super::file::TmpfsFile;
use super::node::Node;
use super::{detached_inode, kernel_mount};
use crate::task::current;
use crate::uaccess::strncpy_from_user;
use crate::vfs::{Dentry, Fd, File, FileMode, FileType, Inode, Mount, MountFlags, Path};

/// Longest name, without `memfd:`.
const NAME_MAX: usize = 249;
const ALL_SEALS: u32 =
    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;

/// memfd_create(2). Huge pages are not offered: EINVAL.
pub fn memfd_create(name: crate::syscall::UserPath, flags: u32) -> Result<Fd> {
    if flags & !(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC) != 0
        || flags & (MFD_NOEXEC_SEAL | MFD_EXEC) == MFD_NOEXEC_SEAL | MFD_EXEC
    {
        return Err(EINVAL);
    }
    let name = strncpy_from_user(name.0, NAME_MAX + 1)
        .map_err(|e| if e == abi::errno::ENAMETOOLONG { EINVAL } else { e })?;
    let mode = if flags & MFD_NOEXEC_SEAL != 0 { 0o666 } else { 0o777 };
    let file = shmem_file(&[b"/memfd:", &name[..], b" (deleted)"].concat(), mode, 0)?;
    let seals = match flags {
        f if f & MFD_NOEXEC_SEAL != 0 => F_SEAL_EXEC,
        f if f & MFD_ALLOW_SEALING != 0 => 0,
        _ => F_SEAL_SEAL,
    };
    Node::of(file.inode()).seals.store(seals, Ordering::SeqCst);
    current().files()?.install(file, flags & MFD_CLOEXEC != 0)
}

/// An unnamed file of `len` bytes, open for reading and writing: memfd, shared anonymous memory, System V segments.
pub fn shmem_file(name: &[u8], mode: u32, len: u64) -> Result<Arc<File>> {
    let inode = detached_inode(FileType::Regular.bits() | mode)?;
    inode.never_linked.store(true, Ordering::Relaxed);
    if len > 0 {
        let attr = crate::vfs::SetAttr { size: Some(len), ..Default::default() };
        inode.ops.setattr(&inode, &attr)?;
    }
    let sb = kernel_mount()?;
    let mnt = Mount::new(sb, &sb.root()?, MountFlags::empty());
    let path = Path { mnt, dentry: Dentry::detached(name, inode) };
    let mode = FileMode::READ | FileMode::WRITE | FileMode::SEEK;
    Ok(File::new(path, Box::new(TmpfsFile), OpenFlags::RDWR | OpenFlags::LARGEFILE, mode))
}

/// F_GET_SEALS: EINVAL for a file that isn't shared memory.
pub fn get_seals(file: &File) -> Result<u32> {
    let node: &Node = file.inode().ops_as().ok_or(EINVAL)?;
    Ok(node.seals.load(Ordering::SeqCst))
}

/// F_ADD_SEALS: EPERM for a file not open for writing or sealed against it; EBUSY if a guest could still write.
pub fn add_seals(file: &File, seals: u32) -> Result<()> {
    let inode: &Arc<Inode> = file.inode();
    let node: &Node = inode.ops_as().ok_or(EINVAL)?;
    if !file.mode.contains(FileMode::WRITE) {
        return Err(EPERM);
    }
    if seals & !ALL_SEALS != 0 {
        return Err(EINVAL);
    }
    let _writers = inode.rwsem.lock();
    if node.seals.load(Ordering::SeqCst) & F_SEAL_SEAL != 0 {
        return Err(EPERM);
    }
    // The host knows whether somebody has it mapped for writing, and seals its own object as well. The length is changed
    // by this kernel alone.
    if let Some(object) = node.lock().data()?.existing_object() {
        let host_seals = seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
        object.seal(host_seals as i32).map_err(|_| EBUSY)?;
    }
    node.seals.fetch_or(seals, Ordering::SeqCst);
    Ok(())
}
