//! /proc/PID/mounts, mountinfo and mountstats: the mounts of a process's name space that lie below its root.
//!
//! poll(2) says POLLPRI and POLLERR on the first two when the mounts have changed since the file was last looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::EINVAL;
use abi::fcntl::OpenFlags;
use abi::mount::{MS_DIRSYNC, MS_LAZYTIME, MS_MANDLOCK, MS_SYNCHRONOUS};
use abi::stat::{major, minor};

use super::super::super::kernfs::{read_text, seek_text};
use super::super::{Text, put};
use super::Who;
use crate::sync::{Mutex, PollTable};
use crate::vfs::mount::MountNamespace;
use crate::vfs::namei::d_path_reachable;
use crate::vfs::propagate;
use crate::vfs::{self, Dentry, FileOps, IovDest, Mount, MountFlags, Path, PollEvents};

/// Characters that would break a line's fields.
const SPECIAL: &[u8] = b" \t\n\\";

/// Adds one mount, which is seen under that name.
type Line = fn(&mut Text, &Mount, &[u8], &Mounts);

/// Opens /proc/PID/mounts.
pub(super) fn open_mounts(who: &Who, _: OpenFlags) -> Result<Box<dyn FileOps>> {
    open(who, mounts_line)
}

/// Opens /proc/PID/mountinfo.
pub(super) fn open_mountinfo(who: &Who, _: OpenFlags) -> Result<Box<dyn FileOps>> {
    open(who, mountinfo_line)
}

/// Opens /proc/PID/mountstats.
pub(super) fn open_mountstats(who: &Who, _: OpenFlags) -> Result<Box<dyn FileOps>> {
    open(who, mountstats_line)
}

fn open(who: &Who, line: Line) -> Result<Box<dyn FileOps>> {
    let task = who.task().map_err(|_| EINVAL)?;
    let fs = task.fs();
    let ns = fs.ns.clone();
    let seen = AtomicU64::new(ns.event());
    Ok(Box::new(Mounts { root: fs.root(), ns, line, seen, text: Mutex::new(None) }))
}

struct Mounts {
    ns: Arc<MountNamespace>,
    /// The process's root when the file was opened.
    root: Path,
    line: Line,
    /// Number of changes that poll(2) has told of.
    seen: AtomicU64,
    text: Mutex<Option<Vec<u8>>>,
}

impl Mounts {
    fn show(&self) -> Vec<u8> {
        let mut out = Text::default();
        for mnt in self.ns.list() {
            if let Some((name, true)) = d_path_reachable(&Path::root_of(&mnt), &self.root) {
                (self.line)(&mut out, &mnt, &name, self);
            }
        }
        out.0
    }
}

impl FileOps for Mounts {
    fn read(&self, _: &vfs::File, dest: &mut IovDest<'_>, pos: &mut u64) -> Result<usize> {
        let mut text = self.text.lock();
        if *pos == 0 || text.is_none() {
            *text = Some(self.show());
        }
        read_text(text.as_deref().unwrap_or_default(), dest, pos)
    }

    fn poll(&self, _: &vfs::File, table: &mut PollTable) -> PollEvents {
        table.register(&self.ns.changed);
        let now = self.ns.event();
        let ready = PollEvents::IN | PollEvents::RDNORM;
        if self.seen.swap(now, Ordering::SeqCst) == now {
            ready
        } else {
            ready | PollEvents::ERR | PollEvents::PRI
        }
    }

    fn can_poll(&self, _: &vfs::File) -> bool {
        true
    }

    fn seek(&self, _: &vfs::File, pos: u64, offset: i64, whence: u32) -> Result<u64> {
        seek_text(pos, offset, whence)
    }
}

fn source(out: &mut Text, mnt: &Mount) {
    let source = mnt.sb.source.lock().clone();
    match source.is_empty() {
        true => out.bytes(b"none"),
        false => out.escaped(&source, b" \t\n\\#"),
    }
}

fn mounts_line(out: &mut Text, mnt: &Mount, name: &[u8], _: &Mounts) {
    source(out, mnt);
    out.bytes(b" ");
    out.escaped(name, SPECIAL);
    put!(out, " {} {}", mnt.sb.fs_type.name, if mnt.is_readonly() { "ro" } else { "rw" });
    super_options(out, mnt);
    mount_options(out, mnt);
    out.bytes(mnt.sb.ops.show_options(&mnt.sb).as_bytes());
    out.bytes(b" 0 0\n");
}

fn mountinfo_line(out: &mut Text, mnt: &Mount, name: &[u8], all: &Mounts) {
    let parent = mnt.parent().map_or(mnt.id, |p| p.mnt.id);
    let dev = mnt.sb.dev;
    put!(out, "{} {parent} {}:{} ", mnt.id, major(dev), minor(dev));
    out.escaped(&within_fs(&mnt.root), SPECIAL);
    out.bytes(b" ");
    out.escaped(name, SPECIAL);
    out.bytes(if mnt.flags().contains(MountFlags::RDONLY) { b" ro" } else { b" rw" });
    mount_options(out, mnt);
    propagation(out, mnt, all);
    put!(out, " - {} ", mnt.sb.fs_type.name);
    source(out, mnt);
    out.bytes(if mnt.sb.is_readonly() { b" ro" } else { b" rw" });
    super_options(out, mnt);
    out.bytes(mnt.sb.ops.show_options(&mnt.sb).as_bytes());
    out.bytes(b"\n");
}

/// The optional fields.
fn propagation(out: &mut Text, mnt: &Mount, all: &Mounts) {
    let (shared, master) = (mnt.peers.shared(), mnt.peers.master());
    if shared != 0 {
        put!(out, " shared:{shared}");
    }
    if master != 0 {
        put!(out, " master:{master}");
        match propagate::dominating(mnt, &all.root, &all.ns) {
            Some(from) if from != master => put!(out, " propagate_from:{from}"),
            _ => {}
        }
    }
    if mnt.is_unbindable() {
        out.bytes(b" unbindable");
    }
}

fn mountstats_line(out: &mut Text, mnt: &Mount, name: &[u8], _: &Mounts) {
    let has_source = !mnt.sb.source.lock().is_empty();
    if has_source {
        out.bytes(b"device ");
        source(out, mnt);
    } else {
        out.bytes(b"no device");
    }
    out.bytes(b" mounted on ");
    out.escaped(name, SPECIAL);
    put!(out, " with fstype {}\n", mnt.sb.fs_type.name);
}

/// What a mount shows as its root, as a name from the file system's own root.
fn within_fs(dentry: &Arc<Dentry>) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut at = dentry.clone();
    while let (name, Some(parent)) = at.name_and_parent() {
        parts.push(name);
        at = parent;
    }
    let mut text = Vec::new();
    for part in parts.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(part);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    if dentry.is_unhashed() {
        text.extend_from_slice(b"//deleted");
    }
    text
}

fn super_options(out: &mut Text, mnt: &Mount) {
    let flags = u64::from(mnt.sb.flags.load(Ordering::Relaxed));
    let names =
        [(MS_SYNCHRONOUS, "sync"), (MS_DIRSYNC, "dirsync"), (MS_MANDLOCK, "mand"), (MS_LAZYTIME, "lazytime")];
    names.iter().filter(|(bit, _)| flags & bit != 0).for_each(|(_, name)| put!(out, ",{name}"));
}

fn mount_options(out: &mut Text, mnt: &Mount) {
    let names = [
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::NOATIME, "noatime"),
        (MountFlags::NODIRATIME, "nodiratime"),
        (MountFlags::RELATIME, "relatime"),
        (MountFlags::NOSYMFOLLOW, "nosymfollow"),
    ];
    names.iter().filter(|(flag, _)| mnt.flags().contains(*flag)).for_each(|(_, name)| put!(out, ",{name}"));
}
