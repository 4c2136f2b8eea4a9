//! Holes of a sparse image, which nothing needs to be read for.
//!
//! The host fills its page cache with zeros for a hole as for anything else, which costs as much memory, and more time
//! than the copy to the reader. So whoever reads much asks first where the data is, and the answer is good for a short
//! while, unless this program writes there.
//!
//! Lock: a leaf.

use std::os::fd::{AsRawFd, BorrowedFd};

use parking_lot::Mutex;

use crate::clock;
use crate::sys::check;

/// For so long the host is believed, ns: others than this program should not write to the file, but might.
const TRUST_NS: u64 = 100_000_000;
/// For less than this many bytes the host is not asked.
const LOOK_MIN: u64 = 64 << 10;

/// What is known of a file's holes: the stretch that was met last.
#[derive(Default)]
pub(super) struct Holes(Mutex<Known>);

#[derive(Default)]
struct Known {
    start: u64,
    end: u64,
    is_hole: bool,
    /// Host monotonic ns.
    until: u64,
    /// How many writes have begun or ended.
    writes: u64,
}

impl Holes {
    /// How many of the `len` bytes from `offset` on are a hole's, as far as that is known or worth a question. `size` is
    /// the disk's.
    pub(super) fn at(&self, file: BorrowedFd<'_>, offset: u64, len: u64, size: u64) -> u64 {
        let now = clock::monotonic();
        let before = {
            let known = self.0.lock();
            if (known.start..known.end).contains(&offset) && now < known.until {
                return if known.is_hole { len.min(known.end - offset) } else { 0 };
            }
            known.writes
        };
        if len < LOOK_MIN {
            return 0;
        }
        let Some((end, is_hole)) = stretch(file, offset, size) else { return 0 };
        let mut known = self.0.lock();
        // A write that has begun may have filled it since the host answered.
        if known.writes != before {
            return 0;
        }
        (known.start, known.end, known.is_hole, known.until) = (offset, end, is_hole, now + TRUST_NS);
        if is_hole { len.min(end - offset) } else { 0 }
    }

    /// To be called before and after each write.
    pub(super) fn written(&self, offset: u64, len: u64) {
        let mut known = self.0.lock();
        known.writes += 1;
        if known.is_hole && offset < known.end && known.start < offset.saturating_add(len) {
            known.end = known.start;
        }
    }
}

/// The end of the stretch of data, or of nothing, that `offset` lies in, and whether it is a hole. None if the host doesn't
/// tell.
fn stretch(file: BorrowedFd<'_>, offset: u64, size: u64) -> Option<(u64, bool)> {
    let data = seek(file, offset, libc::SEEK_DATA, size)?;
    if data > offset {
        return Some((data, true));
    }
    let hole = seek(file, offset, libc::SEEK_HOLE, size)?;
    (hole > offset).then_some((hole, false))
}

fn seek(file: BorrowedFd<'_>, offset: u64, whence: i32, size: u64) -> Option<u64> {
    let offset = i64::try_from(offset).ok()?;
    // SAFETY: lseek takes no memory. The position that it moves is not used with this file.
    match check(unsafe { libc::lseek(file.as_raw_fd(), offset, whence) }) {
        Ok(at) => u64::try_from(at).ok(),
        // Nothing but a hole up to the end.
        Err(abi::errno::ENXIO) => Some(size),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_hole_is_known_until_somebody_writes_to_it() {
        let path = std::env::temp_dir().join(format!("ruml-holes-{}", std::process::id()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (size, at) = (8 << 20, 4 << 20);
        file.set_len(size).unwrap();
        file.write_all_at(&[1; 4096], at).unwrap();
        let holes = Holes::default();
        let fd = file.as_fd();
        assert_eq!(holes.at(fd, 0, 4096, size), 0, "too little to ask for");
        // A host may know nothing of holes; what it says is right.
        let found = holes.at(fd, 0, size, size);
        assert!(found <= at, "{found}");
        if found < at {
            return;
        }
        assert_eq!(holes.at(fd, 4096, 8192, size), 8192);
        assert_eq!(holes.at(fd, at - 4096, 8192, size), 4096);
        holes.written(at, 4096);
        assert_eq!(holes.at(fd, 4096, 8192, size), 8192, "that was elsewhere");
        holes.written(8192, 512);
        assert_eq!(holes.at(fd, 4096, 8192, size), 0);
        assert_eq!(holes.at(fd, at, size, size), 0, "there is data");
        let behind = at + (1 << 20);
        assert_eq!(holes.at(fd, behind, size, size), size - behind);
        holes.written(0, size);
        file.write_all_at(&[1; 4096], behind).unwrap();
        assert_eq!(holes.at(fd, behind, size, size), 0);
    }
}
