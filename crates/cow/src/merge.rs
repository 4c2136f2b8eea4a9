//! Merging: a COW file and its backing file made one, as uml_moo does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Cow, Lock, Open, Result, SECTOR};

/// Bytes that are copied at a time.
const CHUNK: u64 = 1 << 20;

/// Is told how many bytes of how many are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes the disk that a COW file stands for to a new file, leaving out what is zero. The file must not exist.
pub fn merge_to(
    cow: &Path,
    backing: Option<&Path>,
    new: &Path,
    lock: Lock,
    progress: Progress<'_>,
) -> Result<()> {
    let disk = Cow::open(cow, backing, Open { readonly: true, lock: Some(lock) })?;
    let out = at(new, OpenOptions::new().write(true).create_new(true).open(new))?;
    let copied = copy_all(&disk, &out, progress);
    if copied.is_err() {
        let _ = std::fs::remove_file(new);
    }
    at(new, copied)
}

fn copy_all(disk: &Cow, out: &File, progress: Progress<'_>) -> io::Result<()> {
    let mut buf = vec![0; CHUNK as usize];
    let mut offset = 0;
    while offset < disk.size() {
        let len = CHUNK.min(disk.size() - offset);
        let part = &mut buf[..len as usize];
        disk.read_at(part, offset)?;
        for (index, page) in part.chunks(4096).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                out.write_all_at(page, offset + index as u64 * 4096)?;
            }
        }
        offset += len;
        progress(offset, disk.size());
    }
    out.set_len(disk.size())?;
    out.sync_all()
}

/// Writes what is in a COW file into its backing file. The COW file stays, and fits no more: the backing file's date is
/// another. A merge that was interrupted can be made again.
pub fn merge_in_place(cow: &Path, backing: Option<&Path>, lock: Lock, progress: Progress<'_>) -> Result<()> {
    let disk = Cow::open(cow, backing, Open { readonly: true, lock: None })?;
    let backing = match backing {
        Some(path) => path.to_owned(),
        None => disk.header().backing.clone(),
    };
    lock(&disk.file, cow, false)?;
    let before = at(&backing, disk.backing.metadata().and_then(|meta| meta.modified()))?;
    let out = at(&backing, OpenOptions::new().read(true).write(true).open(&backing))?;
    lock(&out, &backing, true)?;
    let written = copy_back(&disk, &out, progress);
    if written.is_err() {
        // With its old date the COW file still fits, and the merge can be made again.
        let _ = out.set_modified(before);
    }
    at(&backing, written)
}

fn copy_back(disk: &Cow, out: &File, progress: Progress<'_>) -> io::Result<()> {
    let mut buf = vec![0; CHUNK as usize];
    let mut offset = 0;
    while offset < disk.size() {
        let extent = disk.extent(offset..disk.size().min(offset + CHUNK));
        if extent.cow {
            let part = &mut buf[..extent.len as usize];
            disk.read_at(part, offset)?;
            out.write_all_at(part, offset)?;
        }
        offset += extent.len;
        debug_assert!(offset.is_multiple_of(SECTOR) || offset == disk.size());
        progress(offset, disk.size());
    }
    out.sync_all()
}
