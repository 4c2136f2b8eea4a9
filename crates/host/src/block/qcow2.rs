//! A disk in a qcow2 image, by imago.

use std::path::Path;

use abi::Result;
use abi::errno::EOPNOTSUPP;
use imago::{
    DynStorage, FormatAccess, FormatDriverBuilder, PermissiveImplicitOpenGate, Storage, StorageOpenOptions,
};

use super::{Blocking, Format, Limits, OpenOptions, SECTOR, errno, file, image, lock};

type Qcow2 = imago::qcow2::Qcow2<Box<dyn DynStorage>>;

pub(super) struct Qcow2Disk {
    access: FormatAccess<Box<dyn DynStorage>>,
    len: u64,
    backing: Option<String>,
    read_only: bool,
    sync: bool,
}

impl Qcow2Disk {
    /// Opens an image and what it is based on: what its header names, or else `backing`.
    pub fn open(path: &Path, backing: Option<&Path>, options: OpenOptions) -> Result<Qcow2Disk, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        let read_only = options.read_only || file::is_unwritable(path);
        let open = StorageOpenOptions::new().filename(path).write(!read_only);
        let file = imago::file::File::open(open).map_err(failed)?;
        if !options.shared {
            let locked = std::fs::File::options().read(true).write(!read_only).open(path).map_err(failed)?;
            lock::lock_disk(&locked, path, !read_only)?;
            // It goes with the machine, as the disk does: closing it would end the lock.
            std::mem::forget(locked);
        }
        let mut builder = Qcow2::builder(Box::new(file) as Box<dyn DynStorage>).write(!read_only);
        if let Some(backing) = backing {
            let format = match image::probe(backing) {
                Format::Qcow2 => imago::format::Format::Qcow2,
                Format::Raw | Format::Cow => imago::format::Format::Raw,
            };
            builder = builder.backing_path(backing, format);
        }
        let image = builder.open(PermissiveImplicitOpenGate::default()).map_err(failed)?;
        let named = image.implicit_backing_file().cloned();
        let backing = backing.map(|b| b.display().to_string()).or(named);
        let access = FormatAccess::new(image);
        let len = access.size();
        if !len.is_multiple_of(SECTOR) {
            return Err(format!("{}: its size, {len}, is no multiple of {SECTOR}", path.display()));
        }
        Ok(Qcow2Disk { access, len, backing, read_only, sync: options.sync })
    }

    /// The image below it.
    pub fn backing_name(&self) -> Option<String> {
        self.backing.clone()
    }
}

impl Blocking for Qcow2Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn limits(&self) -> Limits {
        Limits { physical_block: SECTOR as u32, discard: false }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.access.read(buf, offset).map_err(errno)
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> Result<()> {
        self.access.write(data, offset).map_err(errno)?;
        if fua || self.sync { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        // Tables that are only in memory, then everything that the host has.
        self.access.flush().and_then(|()| self.access.sync()).map_err(errno)
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(EOPNOTSUPP)
    }

    fn write_zeroes(&self, offset: u64, len: u64, _unmap: bool) -> Result<()> {
        self.access.write_zeroes(offset, len).map_err(errno)?;
        if self.sync { self.flush() } else { Ok(()) }
    }
}
