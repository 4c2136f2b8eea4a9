//! The virtual file system: everything between a syscall and a file system.
//!
//! | concept | where |
//! |---|---|
//! | inode and what a file system implements | `inode.rs` ([`Inode`], [`InodeOps`]) |
//! | mounted file system | `super_block.rs` ([`SuperBlock`], [`SuperOps`], [`FsType`] registry) |
//! | names in memory | `dentry.rs` ([`Dentry`]) |
//! | mounts and the name space | `mount.rs` ([`Mount`]) |
//! | path walk | `namei.rs` |
//! | open file | `file.rs` ([`File`], [`FileOps`]); made by `open.rs` and `dev.rs` |
//! | locks on files | `locks.rs` |
//! | events for inotify | `notify.rs` |
//! | descriptor table | `fdtable.rs` ([`FilesStruct`]) |
//! | root, cwd, umask | `fs_struct.rs` ([`FsStruct`]) |
//! | where read(2) and write(2) put and take bytes | `iov.rs` ([`IovDest`], [`IovSource`]) |
//! | what is ready | `poll.rs` ([`PollEvents`]) |
//!
//! Object methods never wait for somebody else: they try, and answer EAGAIN. `file.rs` turns that into blocking,
//! O_NONBLOCK or a poll, so these cannot differ.

pub mod anon;
pub mod attr;
pub mod dcache;
mod dentry;
pub mod dev;
pub mod dirs;
pub mod fasync;
pub mod fcntl;
mod fdtable;
pub mod file;
pub mod fs_context;
mod fs_struct;
pub mod handles;
pub mod inode;
mod iov;
pub mod links;
pub mod locks;
pub mod mount;
pub mod mount_calls;
pub mod namei;
pub mod notify;
pub mod open;
mod poll;
pub mod propagate;
pub mod quota;
pub mod read_write;
mod stat;
pub mod stat_calls;
mod super_block;
pub mod sync_calls;
#[cfg(test)]
mod tests;
pub mod xattr_calls;

pub use dentry::{Dentry, Path};
pub use dirs::emit_dots;
pub use fcntl::{close_all, close_file, close_on_exec};
pub use fdtable::{Fd, FilesStruct, NR_OPEN};
pub use file::{DirEmit, EpollWatch, File, FileMode, FileOps, Mapping, MmapRequest, Readdir, STREAM_POS};
pub use fs_struct::FsStruct;
pub use inode::{Access, Inode, InodeOps, InodeWatch, NewInode};
pub use iov::{IovDest, IovSource};
pub use mount::{Mount, MountFlags};
pub use poll::PollEvents;
pub use stat::{FileType, Kstat, SetAttr, SetTime};
pub use super_block::{
    FsType, SuperBlock, SuperOps, filesystems, find_fs, next_anon_dev, register_filesystem,
};
