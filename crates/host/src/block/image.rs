//! Image files by what they are: raw, User-Mode Linux's copy-on-write files, qcow2.
//!
//! What a file is, is told by its first bytes, and a guest that may write them could turn its raw disk into an image
//! that names any file of the host as its backing file, for the next start to read. So raw disks that were recognised
//! as such don't take a first sector that would make them something else: [`is_header`].

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, Engine, OpenOptions, cow, open, qcow2, threaded};

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes and nothing else.
    Raw,
    /// User-Mode Linux's copy-on-write file.
    Cow,
    /// QEMU's format, version 2 or 3.
    Qcow2,
}

/// An image that is open.
pub struct Image {
    /// The disk in it.
    pub disk: Arc<dyn Disk>,
    /// What it is.
    pub format: Format,
    /// The file below it, for the log.
    pub backing: Option<String>,
}

const COW_MAGIC: [u8; 4] = *b"OOOM";
const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";

/// Whether a disk with this at its start would be taken for something else than a raw image.
pub fn is_header(start: [u8; 4]) -> bool {
    format_of(start) != Format::Raw
}

fn format_of(start: [u8; 4]) -> Format {
    let mut reversed = start;
    reversed.reverse();
    match start {
        QCOW2_MAGIC => Format::Qcow2,
        COW_MAGIC => Format::Cow,
        _ if reversed == COW_MAGIC => Format::Cow,
        _ => Format::Raw,
    }
}

/// What a file is by its start; raw where that cannot be read.
pub(super) fn probe(path: &Path) -> Format {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut start, 0));
    if read.is_ok() { format_of(start) } else { Format::Raw }
}

/// Opens an image of any format. With a backing file, a file that isn't there becomes a copy-on-write file over it.
///
/// # Errors
/// In words for the user.
pub fn open_image(
    path: &Path,
    backing: Option<&Path>,
    options: OpenOptions,
    engine: Engine,
) -> Result<Image, String> {
    if let Some(backing) = backing
        && !options.read_only
        && !path.try_exists().map_err(|e| format!("{}: {e}", path.display()))?
    {
        ::cow::create(path, backing, false)?;
    }
    let format = probe(path);
    let (disk, backing) = match format {
        Format::Raw if backing.is_some() => {
            let what = "is neither a copy-on-write file nor qcow2, and so has no backing file";
            return Err(format!("{}: {what}", path.display()));
        }
        Format::Raw => (open(path, options, engine)?, None),
        Format::Cow => {
            let disk = cow::CowDisk::open(path, backing, options)?;
            let backing = Some(disk.backing_name());
            (threaded(Arc::new(disk)), backing)
        }
        Format::Qcow2 => {
            let disk = qcow2::Qcow2Disk::open(path, backing, options)?;
            let backing = disk.backing_name();
            (threaded(Arc::new(disk)), backing)
        }
    };
    Ok(Image { disk, format, backing })
}
