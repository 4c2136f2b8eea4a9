//! An open directory of the overlay.
//!
//! One that comes from a single place is read as it is, with its own positions. A merged one is listed as a whole:
//! the list is kept with the inode until a name changes, and a position is an index into it.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EIO, EISDIR, ENOENT};
use abi::fcntl::OpenFlags;
use abi::stat::DT_CHR;
use hashbrown::HashSet;

use super::lookup::{is_whiteout, lookup_real};
use super::node::{OverlayInode, overlay};
use super::upper::{nameless, open_real};
use crate::sync::Mutex;
use crate::vfs::{DirEmit, File, FileOps, Inode, IovDest, Path, Readdir, emit_dots};

/// A name of a directory.
pub(super) struct Entry {
    pub name: Box<[u8]>,
    pub ino: u64,
    pub dtype: u8,
}

/// All names of a merged directory but `.` and `..`.
pub(super) type Listing = Vec<Entry>;

/// The entries of a real directory, without `.` and `..`.
pub(super) fn list(dir: &Path) -> Result<Listing> {
    let file = open_real(dir.clone(), OpenFlags::RDONLY | OpenFlags::DIRECTORY)?;
    let mut entries = Vec::new();
    let mut pos = 0;
    file.ops.iterate(&file, &mut pos, &mut |entry| {
        if entry.name != b"." && entry.name != b".." {
            entries.push(Entry { name: entry.name.into(), ino: entry.ino, dtype: entry.dtype });
        }
        true
    })?;
    Ok(entries)
}

/// The merged names of an overlay directory. Whiteouts and what they cover are left out.
pub(super) fn merged(dir: &OverlayInode) -> Result<Arc<Listing>> {
    let cached = dir.listing.lock().clone();
    if let Some(cached) = cached {
        return Ok(cached);
    }
    let mut seen: HashSet<Box<[u8]>> = HashSet::new();
    let mut listing = Listing::new();
    if let Some(upper) = dir.upper() {
        for mut entry in list(&dir.fs.upper()?.path(&upper))? {
            seen.insert(entry.name.clone());
            // The number is that of the file below, if there is one.
            match dir.find(&entry.name) {
                Ok(found) => {
                    entry.ino = dir.fs.ino_of(&found)?;
                    listing.push(entry);
                }
                // A whiteout.
                Err(ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    for lower in &dir.lowers {
        let mnt = &dir.fs.layers[lower.layer].mnt;
        let entries = match list(&nameless(mnt, &lower.inode)) {
            Err(errno) if dir.fs.is_forbidden(errno) => continue,
            entries => entries?,
        };
        for mut entry in entries {
            if !seen.insert(entry.name.clone()) || covers(&lower.inode, &entry.name, entry.dtype)? {
                continue;
            }
            entry.ino = dir.fs.map_ino(&lower.inode.sb, entry.ino);
            listing.push(entry);
        }
    }
    let listing = Arc::new(listing);
    let old = dir.listing.lock().replace(listing.clone());
    drop(old);
    Ok(listing)
}

fn covers(dir: &Arc<Inode>, name: &[u8], dtype: u8) -> Result<bool> {
    Ok(dtype == DT_CHR && lookup_real(dir, name)?.is_some_and(|i| is_whiteout(&i)))
}

/// Whether an overlay directory shows no names.
pub(super) fn is_empty(dir: &OverlayInode) -> Result<bool> {
    Ok(merged(dir)?.is_empty())
}

/// How an open directory is being read.
enum Reading {
    Merged(Arc<Listing>),
    /// From one place: its open directory, and its inode.
    Single(Arc<File>, Arc<Inode>),
}

/// An open directory.
pub(super) struct OverlayDir {
    inode: Arc<Inode>,
    reading: Mutex<Reading>,
}

fn begin(inode: &Arc<Inode>) -> Result<Reading> {
    let node = overlay(inode)?;
    if node.is_merged() {
        return Ok(Reading::Merged(merged(node)?));
    }
    let path = match node.upper() {
        Some(upper) => node.fs.upper()?.path(&upper),
        None => {
            let lower = node.lowers.first().ok_or(EIO)?;
            nameless(&node.fs.layers[lower.layer].mnt, &lower.inode)
        }
    };
    let real = path.inode()?;
    match open_real(path, OpenFlags::RDONLY | OpenFlags::DIRECTORY) {
        Err(errno) if node.fs.is_forbidden(errno) => Ok(Reading::Merged(merged(node)?)),
        opened => Ok(Reading::Single(opened?, real)),
    }
}

impl OverlayDir {
    pub(super) fn open(inode: &Arc<Inode>) -> Result<OverlayDir> {
        Ok(OverlayDir { inode: inode.clone(), reading: Mutex::new(begin(inode)?) })
    }
}

impl FileOps for OverlayDir {
    fn read(&self, _: &File, _: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        Err(EISDIR)
    }

    fn iterate(&self, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
        let mut reading = self.reading.lock();
        let node = overlay(&self.inode)?;
        // At the beginning names are looked at anew; and it may have become a merged directory since.
        let single = matches!(&*reading, Reading::Single(..));
        if *pos == 0 && (!single || node.is_merged()) {
            *reading = begin(&self.inode)?;
        }
        match &*reading {
            Reading::Merged(listing) => iterate_merged(listing, file, pos, emit),
            Reading::Single(real, dir) => {
                let mut failed = None;
                let done = real.ops.iterate(real, pos, &mut |entry| {
                    if failed.is_some() {
                        return false;
                    }
                    match covers(dir, entry.name, entry.dtype) {
                        Ok(true) => return true,
                        Ok(false) => {}
                        Err(errno) => {
                            failed = Some(errno);
                            return false;
                        }
                    }
                    let ino = match entry.name {
                        b"." => self.inode.ino,
                        b".." => file.path.dentry.parent().inode_ref().map_or(entry.ino, |i| i.ino),
                        _ => node.fs.map_ino(&dir.sb, entry.ino),
                    };
                    emit(DirEmit { ino, ..entry })
                });
                failed.map_or(done, Err)
            }
        }
    }

    fn fsync(&self, _: &File, data_only: bool) -> Result<()> {
        let node = overlay(&self.inode)?;
        match node.upper() {
            Some(upper) if !node.fs.options.volatile => {
                let path = node.fs.upper()?.path(&upper);
                let real = open_real(path, OpenFlags::RDONLY | OpenFlags::DIRECTORY)?;
                real.ops.fsync(&real, data_only)
            }
            _ => Ok(()),
        }
    }
}

fn iterate_merged(listing: &Listing, file: &File, pos: &mut u64, emit: Readdir<'_>) -> Result<()> {
    if *pos < 2 && !emit_dots(file, pos, emit) {
        return Ok(());
    }
    while let Some(entry) = usize::try_from(*pos - 2).ok().and_then(|at| listing.get(at)) {
        let next = *pos + 1;
        if !emit(DirEmit { name: &entry.name, ino: entry.ino, dtype: entry.dtype, next }) {
            break;
        }
        *pos = next;
    }
    Ok(())
}
