//! [`Cow`]: a COW file with its backing file.
//!
//! Reads and writes are the caller's: [`Cow::extent`] says where a range of the disk is, [`Cow::written`] takes note of
//! what has reached the COW file. The order that a crash may see is kept by [`Cow::flush`]: sectors first, then the
//! bits that say they are there, and both durable before a flush is done.
//!
//! Lock: the bitmap's, never held over I/O.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::header::MAX_HEADER;
use crate::{Bitmap, Error, Header, Result, SECTOR, Version};

/// Locks a file for as long as it is open, against writers and, if exclusively, against readers too. That takes host calls
/// which this crate doesn't make.
pub type Lock = fn(&File, &Path, bool) -> Result<()>;

/// How [`Cow::open`] opens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    /// Nothing will be written.
    pub readonly: bool,
    /// Locks the files, unless others may use them as well.
    pub lock: Option<Lock>,
}

/// What a COW file and its backing file are in: host files, but for tests that cut the power.
pub trait Storage {
    /// Reads some bytes; none past the end.
    ///
    /// # Errors
    /// Those of pread(2).
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf`.
    ///
    /// # Errors
    /// Those of pwrite(2).
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Those of fdatasync(2).
    fn sync_data(&self) -> io::Result<()>;
}

impl Storage for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

/// A COW file and its backing file, which is opened read-only.
pub struct Cow<F: Storage = File> {
    /// The COW file.
    pub file: F,
    /// The backing file.
    pub backing: F,
    path: PathBuf,
    header: Header,
    bitmap: Mutex<Bitmap>,
    /// Held by a flush: two must not order their halves among each other.
    flush: Mutex<()>,
}

/// Where a part of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// In the COW file, else in the backing file.
    pub cow: bool,
    /// Offset in that file, bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|e| format!("{}: {e}", path.display()))
}

/// Whether a file begins as a COW file does.
fn is_cow(file: &File) -> io::Result<bool> {
    Ok(Header::parse(&read_start(file)?).is_some())
}

fn read_start(file: &impl Storage) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; MAX_HEADER];
    let len = read_some(file, &mut bytes, 0)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// Reads until `buf` is full or the file ends.
fn read_some(file: &impl Storage, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// What the start of a file says, if it is a COW file's.
fn parse(path: &Path, file: &impl Storage) -> Result<Header> {
    match Header::parse(&at(path, read_start(file))?) {
        None => Err(format!("{}: is not a COW file", path.display())),
        Some(header) => header.map_err(|e| format!("{}: {e}", path.display())),
    }
}

/// Makes a COW file over `backing`, with nothing in it. It must not exist, unless `replace`.
pub fn create(path: &Path, backing: &Path, replace: bool) -> Result<()> {
    let backing = at(backing, backing.canonicalize())?;
    let backing_file = at(&backing, File::open(&backing))?;
    if at(&backing, is_cow(&backing_file))? {
        return Err(format!("{}: is a COW file itself, which cannot back another", backing.display()));
    }
    let meta = at(&backing, backing_file.metadata())?;
    let size = at(&backing, length(&backing_file))?;
    let header = Header::new(Version::V3, &backing, meta.mtime() as u32, size)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let file = if replace { options.truncate(true) } else { options.create_new(true) }.open(path);
    let file = at(path, file)?;
    let made = file
        .write_all_at(&header.encode()?, 0)
        // As long as the disk, though nothing is in it.
        .and_then(|()| file.set_len(header.data_offset() + header.size.max(1)))
        .and_then(|()| file.sync_all());
    if made.is_err() && !replace {
        let _ = std::fs::remove_file(path);
    }
    at(path, made)
}

/// Bytes of a file or block device.
fn length(file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    file.seek(SeekFrom::End(0))
}

impl Cow {
    /// Opens a COW file with the backing file that its header names, or with another: one of the same size and mtime
    /// becomes the one that the header names.
    pub fn open(path: &Path, backing: Option<&Path>, how: Open) -> Result<Cow> {
        let file = at(path, OpenOptions::new().read(true).write(!how.readonly).open(path))?;
        if let Some(lock) = how.lock {
            lock(&file, path, !how.readonly)?;
        }
        let mut header = parse(path, &file)?;
        let named = resolve(path, &header.backing);
        let backing_path = match backing {
            Some(path) => at(path, path.canonicalize())?,
            None => named.clone(),
        };
        let backing_file = File::open(&backing_path).map_err(|e| {
            format!("{}: its backing file {} cannot be opened: {e}", path.display(), backing_path.display())
        })?;
        if let Some(lock) = how.lock {
            lock(&backing_file, &backing_path, false)?;
        }
        let meta = at(&backing_path, backing_file.metadata())?;
        check_backing(path, &header, &backing_path, &backing_file, &meta)?;
        let other = |named: &Metadata| (named.dev(), named.ino()) != (meta.dev(), meta.ino());
        if backing.is_some() && !how.readonly && named.metadata().map_or(true, |m| other(&m)) {
            header.backing = backing_path;
            let bytes = header.encode().map_err(|e| format!("{}: {e}", path.display()))?;
            at(path, file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()))?;
        }
        if at(path, length(&file))? < header.bitmap_offset() + header.bitmap_len() {
            return Err(format!("{}: is cut short within its bitmap", path.display()));
        }
        Cow::with(path, header, file, backing_file)
    }
}

impl<F: Storage> Cow<F> {
    /// A COW file with the backing file that it is given, whose size and date nobody checks. `path` is for messages.
    pub fn over(path: &Path, file: F, backing: F) -> Result<Cow<F>> {
        Cow::with(path, parse(path, &file)?, file, backing)
    }

    fn with(path: &Path, header: Header, file: F, backing: F) -> Result<Cow<F>> {
        let mut bits = vec![0; header.writable_sectors().div_ceil(8) as usize];
        // The last byte of a bitmap may lie beyond the end of a file that is just long enough.
        at(path, read_some(&file, &mut bits, header.bitmap_offset()))?;
        let bitmap = Mutex::new(Bitmap::new(bits, header.writable_sectors()));
        Ok(Cow { file, backing, path: path.to_owned(), header, bitmap, flush: Mutex::new(()) })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.header.size
    }

    /// Sectors that are in the COW file.
    pub fn sectors_here(&self) -> u64 {
        self.bitmap().count()
    }

    fn bitmap(&self) -> MutexGuard<'_, Bitmap> {
        self.bitmap.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where the start of a range is, and how much of it is there together. Within the disk, and not empty.
    pub fn extent(&self, range: Range<u64>) -> Extent {
        let first = range.start / SECTOR;
        let (cow, sectors) = self.bitmap().run(first..range.end.div_ceil(SECTOR));
        let end = range.end.min((first + sectors) * SECTOR);
        let offset = if cow { self.header.data_offset() + range.start } else { range.start };
        Extent { cow, offset, len: end - range.start }
    }

    /// Where a range of whole sectors has to be written to in the COW file.
    pub fn target(&self, range: Range<u64>) -> io::Result<u64> {
        let end = range.end.div_ceil(SECTOR);
        if !range.start.is_multiple_of(SECTOR) || end > self.header.writable_sectors() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.header.data_offset() + range.start)
    }

    /// The range, of whole sectors but for the disk's last, has reached the COW file.
    pub fn written(&self, range: Range<u64>) {
        self.bitmap().set(range.start / SECTOR..range.end.div_ceil(SECTOR));
    }

    /// Makes everything durable that was written before. After an error it is as if it had not been asked.
    pub fn flush(&self) -> io::Result<()> {
        let _one = self.flush.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The bits that go to the file below are those of sectors that this makes durable.
        let parts = self.bitmap().take_dirty();
        let done = self.file.sync_data().and_then(|()| {
            for (offset, bytes) in &parts {
                self.file.write_all_at(bytes, self.header.bitmap_offset() + offset)?;
            }
            if parts.is_empty() { Ok(()) } else { self.file.sync_data() }
        });
        if done.is_err() {
            self.bitmap().put_back(&parts);
        }
        done
    }

    /// Reads from the disk; what the backing file lacks at its end reads as zeros.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let start = offset + done as u64;
            let extent = self.extent(start..offset + buf.len() as u64);
            let part = &mut buf[done..done + extent.len as usize];
            read_full(if extent.cow { &self.file } else { &self.backing }, part, extent.offset)?;
            done += extent.len as usize;
        }
        Ok(())
    }

    /// Writes whole sectors.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let range = offset..offset + buf.len() as u64;
        let target = self.target(range.clone())?;
        self.file.write_all_at(buf, target)?;
        self.written(range);
        Ok(())
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<F: Storage> Drop for Cow<F> {
    fn drop(&mut self) {
        if self.bitmap().is_dirty() {
            // Whoever needs to know whether it went well has asked for a flush.
            let _ = self.flush();
        }
    }
}

/// Reads all of `buf`, with zeros for what lies past the end.
fn read_full(file: &impl Storage, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let done = read_some(file, buf, offset)?;
    buf[done..].fill(0);
    Ok(())
}

/// A relative name means the COW file's own folder, or else, as User-Mode Linux takes it, the current one.
fn resolve(cow: &Path, backing: &Path) -> PathBuf {
    let beside = cow.parent().map_or_else(|| backing.to_owned(), |folder| folder.join(backing));
    if beside.exists() { beside } else { backing.to_owned() }
}

fn check_backing(path: &Path, header: &Header, name: &Path, file: &File, meta: &Metadata) -> Result<()> {
    let (cow, name) = (path.display(), name.display());
    let size = length(file).map_err(|e| format!("{name}: {e}"))?;
    if size != header.size {
        return Err(format!(
            "{cow}: its backing file {name} has {size} bytes, and had {} when the COW file was made: it is another file, or \
             was changed. Put the right one in its place, or name it: COW,BACKING",
            header.size
        ));
    }
    if meta.mtime() as u32 != header.mtime {
        return Err::<(), Error>(format!(
            "{cow}: its backing file {name} was changed (at @{}) after the COW file was made (@{}). If only its date has \
             changed, set it back: touch -d @{} {name}. If its contents have, the COW file is of no use any more: make a new one",
            meta.mtime(),
            header.mtime,
            header.mtime
        ));
    }
    Ok(())
}
