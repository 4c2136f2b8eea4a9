//! The initial archive: a cpio, perhaps compressed, perhaps several in a row, unpacked into the first root.
//!
//! `cpio.rs` reads the format. Unpacked data is bounded by the root's tmpfs; a decompressor is read piece by piece.

mod cpio;

use std::io::Read;

use abi::fcntl::OpenFlags;

use crate::boot::files;
use crate::vfs::{FileType, IovSource};
use cpio::{Entry, Reader};

/// Unpacks `archive` into the root of the current task.
///
/// # Errors
/// What is wrong with the archive, in words for the user. What came before the fault stays.
pub fn unpack(archive: &[u8]) -> Result<(), String> {
    let mut rest = archive;
    while let Some(start) = rest.iter().position(|&b| b != 0) {
        rest = &rest[start..];
        rest = unpack_one(rest)?;
    }
    Ok(())
}

/// Unpacks one archive or one compressed stream; what follows it.
fn unpack_one(data: &[u8]) -> Result<&[u8], String> {
    let mut left = data;
    match data {
        [0x1f, 0x8b, ..] => all(flate2::bufread::GzDecoder::new(&mut left))?,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => all(lzma_rust2::XzReader::new(&mut left, false))?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new(&mut left).map_err(|e| format!("zstd: {e}"))?;
            all(decoder)?;
        }
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => archive(&mut Reader::new(&mut left))?,
        _ => return Err("neither a cpio archive (newc) nor gzip, xz or zstd".to_owned()),
    }
    if left.len() == data.len() {
        return Err("the archive is empty".to_owned());
    }
    Ok(left)
}

/// Every archive in a decompressed stream.
fn all(stream: impl Read) -> Result<(), String> {
    let mut reader = Reader::new(stream);
    while reader.skip_padding()? {
        archive(&mut reader)?;
    }
    Ok(())
}

fn archive<R: Read>(reader: &mut Reader<R>) -> Result<(), String> {
    let mut hard_links = std::collections::HashMap::new();
    while let Some(entry) = reader.next_entry()? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        put(reader, &entry, &mut hard_links).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

type HardLinks = std::collections::HashMap<(u32, u32, u32), Vec<u8>>;

fn put<R: Read>(reader: &mut Reader<R>, entry: &Entry, hard_links: &mut HardLinks) -> Result<(), String> {
    let words = |e: abi::Errno| e.to_string();
    let name = [b"/", entry.name.trim_ascii_start()].concat();
    let kind = FileType::from_mode(entry.mode).ok_or("unknown file type")?;
    let mode = entry.mode & 0o7777;
    if entry.name == b"." {
        return reader.skip_data(entry);
    }
    make_room(&name, kind).map_err(words)?;
    if kind != FileType::Dir && entry.nlink > 1 {
        let key = (entry.dev.0, entry.dev.1, entry.ino);
        if let Some(first) = hard_links.get(&key).filter(|first| **first != name) {
            if files::kind(&name).map_err(words)?.is_some() {
                files::remove(&name, kind).map_err(words)?;
            }
            files::link(first, &name).map_err(words)?;
            if entry.size == 0 {
                return Ok(());
            }
        } else {
            hard_links.insert(key, name.clone());
        }
    }
    match kind {
        FileType::Dir => {
            reader.skip_data(entry)?;
            match files::mkdir(&name, mode) {
                Ok(()) | Err(abi::errno::EEXIST) => {}
                Err(errno) => return Err(words(errno)),
            }
        }
        FileType::Regular => {
            let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::TRUNC;
            let file = files::open_file(&name, flags, mode).map_err(words)?;
            reader.copy_data(entry, |piece| {
                let mut source = IovSource::kernel(piece);
                match file.write(&mut source) {
                    Ok(n) if n == piece.len() => Ok(()),
                    Ok(_) => Err(words(abi::errno::ENOSPC)),
                    Err(errno) => Err(words(errno)),
                }
            })?;
        }
        FileType::Symlink => {
            let target = reader.read_data(entry, 4096)?;
            files::symlink(&target, &name).map_err(words)?;
        }
        _ => {
            reader.skip_data(entry)?;
            let rdev = abi::stat::makedev(entry.rdev.0, entry.rdev.1);
            files::mknod(&name, kind.bits() | mode, rdev).map_err(words)?;
        }
    }
    let mode = (kind != FileType::Symlink).then_some(mode);
    files::set_attr(&name, mode, entry.uid, entry.gid, i64::from(entry.mtime)).map_err(words)
}

/// An entry takes the place of an earlier one of its name: of another type, or one that cannot be written over.
fn make_room(name: &[u8], kind: FileType) -> abi::Result<()> {
    match files::kind(name)? {
        Some(old) if old != kind || !matches!(kind, FileType::Dir | FileType::Regular) => {
            files::remove(name, old)
        }
        _ => Ok(()),
    }
}
