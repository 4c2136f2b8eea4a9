//! File systems.

pub mod cgroup2;
mod cpu_set;
pub mod devpts;
pub mod devtmpfs;
pub mod ext4;
pub mod hostfs;
pub mod initramfs;
pub mod kernfs;
pub mod overlay;
pub mod pipefs;
pub mod proc;
pub mod pseudo;
pub mod sysfs;
#[cfg(test)]
mod testing;
pub mod tmpfs;

use crate::vfs::register_filesystem;

/// The machine ends in good order: what is on disks is complete there.
pub fn shutdown() {
    ext4::shutdown();
}

/// Makes every type known to mount(2), in the order of /proc/filesystems.
pub fn register_all() {
    register_filesystem(&tmpfs::TMPFS);
    register_filesystem(&tmpfs::RAMFS);
    register_filesystem(&devtmpfs::DEVTMPFS);
    register_filesystem(&devpts::DEVPTS);
    register_filesystem(&proc::PROC);
    register_filesystem(&sysfs::SYSFS);
    register_filesystem(&cgroup2::CGROUP2);
    register_filesystem(&crate::ipc::mqueue::MQUEUE);
    ext4::register();
    hostfs::init();
    overlay::init();
}
