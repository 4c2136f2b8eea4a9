//! [`FilesStruct`]: the descriptor table of a process, shared by CLONE_FILES.
//!
//! Lock: FILES. A file is never dropped under it: closing may sleep.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EBADF, EINVAL, EMFILE};

use super::File;
use crate::sync::{SpinLock, rank};
use crate::task::current;

/// A file descriptor as a guest names it. Any word; only the table says whether it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

impl Fd {
    /// AT_FDCWD
    pub const CWD: Fd = Fd(-100);

    /// The open file; EBADF. Files opened with O_PATH count: see [`FilesStruct::get`] for those that may be read.
    pub fn file(self) -> Result<Arc<File>> {
        current().files()?.get(self)
    }

    /// The open file for I/O; EBADF also for one opened with O_PATH.
    pub fn io(self) -> Result<Arc<File>> {
        let file = self.file()?;
        if file.is_path() { Err(EBADF) } else { Ok(file) }
    }
}

#[derive(Clone)]
struct Slot {
    file: Arc<File>,
    cloexec: bool,
}

#[derive(Default, Clone)]
struct Table {
    slots: Vec<Option<Slot>>,
    /// No free slot below it.
    first_free: usize,
}

/// Open files by number.
pub struct FilesStruct {
    table: SpinLock<Table>,
}

impl Default for FilesStruct {
    fn default() -> Self {
        FilesStruct { table: SpinLock::new(rank::FILES, Table::default()) }
    }
}

/// The kernel's bound on RLIMIT_NOFILE: /proc/sys/fs/nr_open.
pub const NR_OPEN: u64 = 1_048_576;

impl Table {
    fn lowest_free(&self, from: usize) -> usize {
        let from = from.max(self.first_free);
        (from..self.slots.len()).find(|&i| self.slots[i].is_none()).unwrap_or(self.slots.len().max(from))
    }

    fn put(&mut self, at: usize, slot: Option<Slot>) -> Option<Slot> {
        if at >= self.slots.len() {
            self.slots.resize(at + 1, None);
        }
        let free = slot.is_none();
        let old = core::mem::replace(&mut self.slots[at], slot);
        if free {
            self.first_free = self.first_free.min(at);
        } else if at == self.first_free {
            self.first_free += 1;
        }
        old
    }
}

impl FilesStruct {
    /// A copy for fork(2) or unshare(2).
    pub fn copy(&self) -> Arc<FilesStruct> {
        let table = self.table.lock().clone();
        Arc::new(FilesStruct { table: SpinLock::new(rank::FILES, table) })
    }

    /// The open file of a descriptor; EBADF.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>> {
        let table = self.table.lock();
        let slot = usize::try_from(fd.0).ok().and_then(|i| table.slots.get(i)?.as_ref());
        slot.map(|s| s.file.clone()).ok_or(EBADF)
    }

    /// One more than any open descriptor (an upper bound).
    pub fn len(&self) -> usize {
        self.table.lock().slots.len()
    }

    /// Whether no descriptor was ever opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Installs `file` at the lowest free number from `from` on. EMFILE at RLIMIT_NOFILE, EINVAL for a `from` beyond.
    pub fn install_from(&self, from: u64, file: Arc<File>, cloexec: bool) -> Result<Fd> {
        let limit = current().process.rlimit(abi::resource::RLIMIT_NOFILE).min(NR_OPEN);
        if from >= limit {
            return Err(if from == 0 { EMFILE } else { EINVAL });
        }
        let mut table = self.table.lock();
        let at = table.lowest_free(from as usize);
        if at as u64 >= limit {
            return Err(EMFILE);
        }
        table.put(at, Some(Slot { file, cloexec }));
        Ok(Fd(at as i32))
    }

    /// Installs `file` at the lowest free number.
    pub fn install(&self, file: Arc<File>, cloexec: bool) -> Result<Fd> {
        self.install_from(0, file, cloexec)
    }

    /// dup2(2): puts `file` at `fd`; what was there is returned for the caller to close. EBADF beyond RLIMIT_NOFILE.
    pub fn replace(&self, fd: Fd, file: Arc<File>, cloexec: bool) -> Result<Option<Arc<File>>> {
        let limit = current().process.rlimit(abi::resource::RLIMIT_NOFILE).min(NR_OPEN);
        let at = usize::try_from(fd.0).ok().filter(|&i| (i as u64) < limit).ok_or(EBADF)?;
        let old = self.table.lock().put(at, Some(Slot { file, cloexec }));
        Ok(old.map(|s| s.file))
    }

    /// Takes a descriptor out of the table; the caller closes the file. EBADF.
    pub fn remove(&self, fd: Fd) -> Result<Arc<File>> {
        let mut table = self.table.lock();
        let at = usize::try_from(fd.0).ok().filter(|&i| table.slots.get(i).is_some_and(Option::is_some));
        let old = table.put(at.ok_or(EBADF)?, None);
        old.map(|s| s.file).ok_or(EBADF)
    }

    /// FD_CLOEXEC of a descriptor; EBADF.
    pub fn cloexec(&self, fd: Fd) -> Result<bool> {
        let table = self.table.lock();
        let slot = usize::try_from(fd.0).ok().and_then(|i| table.slots.get(i)?.as_ref());
        slot.map(|s| s.cloexec).ok_or(EBADF)
    }

    /// Sets FD_CLOEXEC; EBADF.
    pub fn set_cloexec(&self, fd: Fd, cloexec: bool) -> Result<()> {
        let mut table = self.table.lock();
        let slot = usize::try_from(fd.0).ok().and_then(|i| table.slots.get_mut(i)?.as_mut());
        slot.ok_or(EBADF)?.cloexec = cloexec;
        Ok(())
    }

    /// close_range(2) with CLOSE_RANGE_CLOEXEC: marks every descriptor that `pick` chooses.
    pub fn mark_cloexec(&self, pick: impl Fn(Fd) -> bool) {
        let mut table = self.table.lock();
        for (i, slot) in table.slots.iter_mut().enumerate() {
            if let Some(slot) = slot
                && pick(Fd(i as i32))
            {
                slot.cloexec = true;
            }
        }
    }

    /// Takes out every file whose number and FD_CLOEXEC `pick` chooses; the caller closes them.
    pub fn remove_where(&self, mut pick: impl FnMut(Fd, bool) -> bool) -> Vec<(Fd, Arc<File>)> {
        let mut table = self.table.lock();
        let mut removed = Vec::new();
        for i in 0..table.slots.len() {
            if table.slots[i].as_ref().is_some_and(|s| pick(Fd(i as i32), s.cloexec))
                && let Some(slot) = table.put(i, None)
            {
                removed.push((Fd(i as i32), slot.file));
            }
        }
        removed
    }

    /// That descriptor if it is open, or the next one that is.
    pub fn next_open(&self, from: Fd) -> Option<Fd> {
        let table = self.table.lock();
        let from = usize::try_from(from.0).ok()?;
        let at = table.slots.iter().skip(from).position(Option::is_some)?;
        Some(Fd((from + at) as i32))
    }

    /// Open descriptors with their files, for /proc/PID/fd.
    pub fn list(&self) -> Vec<(Fd, Arc<File>)> {
        let table = self.table.lock();
        let slots = table.slots.iter().enumerate();
        slots.filter_map(|(i, s)| Some((Fd(i as i32), s.as_ref()?.file.clone()))).collect()
    }
}

impl Drop for FilesStruct {
    fn drop(&mut self) {
        for slot in core::mem::take(&mut self.table.get_mut().slots).into_iter().flatten() {
            let _ = super::close_file(slot.file, self);
        }
    }
}
