//! The root file system, and what is mounted in it before the first program.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::{EACCES, EINVAL, EROFS};

use super::{Config, Root};
use crate::fs::hostfs::{Cache, Options};
use crate::task::current;
use crate::vfs::mount::{MountNamespace, lock_namespace};
use crate::vfs::namei::{LookupFlags, path_at};
use crate::vfs::{Fd, FileType, FsStruct, Mount, MountFlags, SuperBlock, find_fs};
use crate::{block, fs, vfs};

/// Makes every file system type known.
pub(super) fn register_filesystems() {
    fs::register_all();
    crate::tty::register_devices();
    crate::char::register_devices();
}

/// The first root: an empty tmpfs, as Linux's rootfs.
pub(super) fn rootfs() -> Result<Arc<FsStruct>> {
    let sb = mount_fs("tmpfs", b"rootfs", b"mode=755")?;
    let mount = Mount::new(&sb, &sb.root()?, MountFlags::empty());
    let ns = MountNamespace::new(&mount);
    Ok(FsStruct::new(ns, &mount))
}

fn mount_fs(fs_type: &str, source: &[u8], data: &[u8]) -> Result<Arc<SuperBlock>> {
    let fs_type = find_fs(fs_type.as_bytes()).ok_or(abi::errno::ENODEV)?;
    (fs_type.mount)(fs_type, source, 0, data)
}

/// Unpacks the initial archive or mounts the root, then what `ruml run` promises in it.
pub(super) fn mount_all(config: &Config) -> core::result::Result<(), String> {
    if let Some(archive) = &config.initrd {
        fs::initramfs::unpack(archive).map_err(|e| format!("initramfs: {e}"))?;
    }
    match &config.root {
        Root::Initramfs => {}
        Root::Host(dir) => {
            let sb = host_folder(dir, config.root_ro, false)?;
            switch_root(&sb, config.root_ro).map_err(|e| format!("cannot mount the root: {e}"))?;
        }
        Root::Disk { device, fs_type, flags } => {
            disk_root(device, fs_type.as_deref(), flags, config.root_ro)?;
        }
        Root::HostCow(dir) => {
            let lower = host_folder(dir, true, true)?;
            let sb = cow(&lower)
                .map_err(|e| format!("cannot make a copy-on-write view of {}: {e}", dir.display()))?;
            switch_root(&sb, config.root_ro).map_err(|e| format!("cannot mount the root: {e}"))?;
            super::accounts::complete();
        }
    }
    if matches!(config.first, super::First::Command { .. }) {
        system_mounts()?;
    } else if !config.root_is_initramfs() {
        // As Linux with CONFIG_DEVTMPFS_MOUNT; a root without /dev stays without.
        let _ = mount_in("/dev", "devtmpfs", b"", MountFlags::NOSUID, false);
    }
    for volume in &config.volumes {
        let sb = host_folder(&volume.host, volume.read_only, false)?;
        let flags = if volume.read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        attach(&volume.guest, &sb, flags, true).map_err(|e| format!("cannot mount {}: {e}", volume.guest))?;
    }
    confine_hostfs(config.hostfs.as_deref())
}

/// Mounts a file system on a disk as the root, of the first type that takes it.
fn disk_root(
    device: &str,
    fs_type: Option<&str>,
    flags: &str,
    read_only: bool,
) -> core::result::Result<(), String> {
    let Some(bdev) = block::by_name(device) else {
        let all = block::describe_all();
        crate::pr_err!("VFS: Cannot open root device \"{device}\": error {}", abi::errno::ENXIO);
        return Err(format!(
            "Please append a correct \"root=\" boot option; here are the available partitions:\n{all}\
             VFS: Unable to mount root fs on {device}"
        ));
    };
    let number = format!("unknown-block({},{})", abi::stat::major(bdev.dev), abi::stat::minor(bdev.dev));
    let made = make_dirs("/dev")
        .and_then(|()| super::files::mknod(b"/dev/root", FileType::BlockDev.bits() | 0o600, bdev.dev));
    made.map_err(|e| format!("VFS: cannot make /dev/root: {e}"))?;
    let types: Vec<_> = match fs_type {
        Some(names) => names.split(',').filter_map(|name| find_fs(name.as_bytes())).collect(),
        None => vfs::filesystems().into_iter().filter(|t| !t.nodev).collect(),
    };
    let tried: Vec<_> = types.iter().map(|t| t.name).collect();
    for fs_type in types {
        let mut sb_flags = if read_only { abi::mount::MS_RDONLY as u32 } else { 0 };
        let mut outcome = (fs_type.mount)(fs_type, b"/dev/root", sb_flags, flags.as_bytes());
        if matches!(outcome, Err(EACCES | EROFS)) && !read_only {
            sb_flags = abi::mount::MS_RDONLY as u32;
            outcome = (fs_type.mount)(fs_type, b"/dev/root", sb_flags, flags.as_bytes());
        }
        match outcome {
            Ok(sb) => {
                sb.flags.fetch_or(sb_flags, Ordering::SeqCst);
                let how = if sb_flags == 0 { "" } else { " readonly" };
                crate::pr_info!(
                    "VFS: Mounted root ({} filesystem){how} on device {}.",
                    fs_type.name,
                    bdev.name
                );
                return switch_root(&sb, false).map_err(|e| format!("cannot mount the root: {e}"));
            }
            // Not of this type.
            Err(EINVAL) => {}
            Err(errno) => {
                return Err(format!("VFS: Cannot open root device \"{device}\" or {number}: error {errno}"));
            }
        }
    }
    crate::pr_err!("List of all bdev filesystems: {}", tried.join(" "));
    Err(format!("VFS: Unable to mount root fs on {number}"))
}

/// From here on the guest's own mounts of host folders stay where the command line allows them.
fn confine_hostfs(allowed: Option<&str>) -> core::result::Result<(), String> {
    let confined = match allowed {
        None => fs::hostfs::forbid(),
        Some(text) => {
            let (dir, append) = match text.strip_suffix(",append") {
                Some(dir) => (dir, true),
                None => (text, false),
            };
            fs::hostfs::confine(dir.as_bytes(), append)
        }
    };
    confined.map_err(|e| format!("hostfs={}: {e}", allowed.unwrap_or_default()))
}

impl Config {
    fn root_is_initramfs(&self) -> bool {
        matches!(self.root, Root::Initramfs)
    }
}

/// A host folder as a file system. One that doesn't change is remembered for ever once it was looked at.
fn host_folder(
    dir: &Path,
    read_only: bool,
    immutable: bool,
) -> core::result::Result<Arc<SuperBlock>, String> {
    let cache = if immutable { Cache::Always } else { Cache::default() };
    let flags = if read_only { abi::mount::MS_RDONLY as u32 } else { 0 };
    fs::hostfs::mount(dir.as_os_str().as_bytes(), flags, Options { cache, ..Options::default() })
        .map_err(|e| format!("cannot open the host folder {}: {e}", dir.display()))
}

/// An overlay of an empty tmpfs over `lower`.
fn cow(lower: &Arc<SuperBlock>) -> Result<Arc<SuperBlock>> {
    let upper = mount_fs("tmpfs", b"upper", b"mode=755")?;
    let whole = |sb: &Arc<SuperBlock>| -> Result<vfs::Path> {
        let root = sb.root()?;
        Ok(vfs::Path { mnt: Mount::new(sb, &root, MountFlags::empty()), dentry: root })
    };
    fs::overlay::mount(vec![whole(lower)?], whole(&upper)?)
}

/// Makes `sb` the root of the name space; the rootfs below is never seen again.
fn switch_root(sb: &Arc<SuperBlock>, read_only: bool) -> Result<()> {
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    let mount = Mount::new(sb, &sb.root()?, flags);
    let fs = current().fs();
    let at = fs.root();
    let guard = lock_namespace();
    fs.ns.attach(&mount, at)?;
    drop(guard);
    let root = vfs::Path { mnt: mount.clone(), dentry: mount.root.clone() };
    fs.set_root(root.clone());
    fs.set_cwd(root);
    Ok(())
}

/// What a distribution's init would mount.
fn system_mounts() -> core::result::Result<(), String> {
    let nodev = MountFlags::NOSUID | MountFlags::NODEV;
    let all: [(&str, &str, &[u8], MountFlags); 6] = [
        ("/proc", "proc", b"", nodev | MountFlags::NOEXEC),
        ("/sys", "sysfs", b"", nodev | MountFlags::NOEXEC),
        ("/dev", "devtmpfs", b"", MountFlags::NOSUID),
        ("/dev/pts", "devpts", b"gid=5,mode=620,ptmxmode=666", MountFlags::NOSUID | MountFlags::NOEXEC),
        ("/dev/shm", "tmpfs", b"mode=1777", nodev),
        ("/run", "tmpfs", b"mode=755", nodev),
    ];
    for (dir, fs_type, data, flags) in all {
        mount_in(dir, fs_type, data, flags, true).map_err(|e| format!("cannot mount {dir}: {e}"))?;
    }
    Ok(())
}

fn mount_in(dir: &str, fs_type: &str, data: &[u8], flags: MountFlags, make: bool) -> Result<()> {
    let sb = mount_fs(fs_type, fs_type.as_bytes(), data)?;
    attach(dir, &sb, flags, make)
}

fn attach(dir: &str, sb: &Arc<SuperBlock>, flags: MountFlags, make: bool) -> Result<()> {
    if make {
        make_dirs(dir)?;
    }
    let at = path_at(Fd::CWD, dir.as_bytes(), LookupFlags::FOLLOW)?;
    let mount = Mount::new(sb, &sb.root()?, flags);
    let _guard = lock_namespace();
    current().fs().ns.attach(&mount, at)
}

fn make_dirs(dir: &str) -> Result<()> {
    let mut at = String::new();
    for part in dir.split('/').filter(|p| !p.is_empty()) {
        at.push('/');
        at.push_str(part);
        match super::files::mkdir(at.as_bytes(), 0o755) {
            Ok(()) | Err(abi::errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
