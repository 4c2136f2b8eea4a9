//! What the file system lies on: the recording device itself, or a copy-on-write file on it.

use crate::common::TempDir;
use abi::Errno;
use abi::errno::{EINVAL, EIO};
use cow::{Cow, Storage};
use ext4::recording::RecordingDevice;
use ext4::{BlockDevice, Result};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How an image is written to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Over {
    /// In place.
    Raw,
    /// It backs a COW file.
    Cow,
    /// The same, with a medium that leaves out every other flush: the one between sectors and bits.
    CowWithoutOrder,
}

/// The disk, and what records writes to its medium.
pub struct Disk {
    pub record: Arc<RecordingDevice>,
    pub device: Arc<dyn BlockDevice>,
    /// The backing file, if there is one.
    base: Option<Vec<u8>>,
}

impl Disk {
    pub fn new(image: &Path, over: Over) -> Disk {
        let data = std::fs::read(image).unwrap();
        if over == Over::Raw {
            let record = Arc::new(RecordingDevice::new(data, 0));
            return Disk { device: record.clone(), record, base: None };
        }
        let dir = TempDir::new();
        let path = dir.path().join("cow");
        cow::create(&path, image, false).unwrap();
        let content = std::fs::read(&path).unwrap();
        let start = opened(Medium::Bytes(content.clone()), &data).header().data_offset();
        let record = Arc::new(RecordingDevice::new(content, start));
        let medium =
            Medium::Record { record: record.clone(), order: over == Over::Cow, skip: AtomicBool::new(true) };
        Disk { record, device: Arc::new(CowDevice(opened(medium, &data))), base: Some(data) }
    }

    /// The file system's image in what the medium holds.
    pub fn image(&self, medium: Vec<u8>) -> Vec<u8> {
        let Some(base) = &self.base else { return medium };
        let mut image = vec![0; base.len()];
        opened(Medium::Bytes(medium), base).read_at(&mut image, 0).unwrap();
        image
    }
}

fn opened(medium: Medium, base: &[u8]) -> Cow<Medium> {
    Cow::over(Path::new("cow"), medium, Medium::Bytes(base.to_vec())).unwrap()
}

/// What a COW file or its backing file is in.
enum Medium {
    Bytes(Vec<u8>),
    Record { record: Arc<RecordingDevice>, order: bool, skip: AtomicBool },
}

fn to_host(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.raw())
}

fn from_host(error: io::Error) -> Errno {
    error.raw_os_error().map_or(EIO, Errno::from_raw)
}

impl Storage for Medium {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let size = match self {
            Medium::Bytes(bytes) => bytes.len() as u64,
            Medium::Record { record, .. } => record.len(),
        };
        let len = buf.len().min(size.saturating_sub(offset) as usize);
        match self {
            Medium::Bytes(bytes) => buf[..len].copy_from_slice(&bytes[offset as usize..][..len]),
            Medium::Record { record, .. } => record.read(offset, &mut buf[..len]).map_err(to_host)?,
        }
        Ok(len)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Medium::Bytes(_) => Err(to_host(EINVAL)),
            Medium::Record { record, .. } => record.write(offset, &[buf]).map_err(to_host),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self {
            Medium::Bytes(_) => Ok(()),
            Medium::Record { order: false, skip, .. } if skip.fetch_xor(true, Ordering::Relaxed) => Ok(()),
            Medium::Record { record, .. } => record.flush().map_err(to_host),
        }
    }
}

/// A disk in a COW file.
struct CowDevice(Cow<Medium>);

impl BlockDevice for CowDevice {
    fn len(&self) -> u64 {
        self.0.size()
    }

    fn is_readonly(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(buf, offset).map_err(from_host)
    }

    fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        self.0.write_at(&bufs.concat(), offset).map_err(from_host)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush().map_err(from_host)
    }
}
