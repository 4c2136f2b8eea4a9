//! Core dumps, core(5): the memory and registers of a process that a signal ends, as an ELF file.
//!
//! - here: whether there is one, and where it goes. `image.rs`: what is in it.
//!
//! The thread that takes the signal writes it, before the process ends. Other threads are in it as far as they are not
//! running at that moment.

mod image;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use abi::errno::{EACCES, EFBIG, EINVAL};
use abi::fcntl::OpenFlags;
use abi::prctl::SUID_DUMP_USER;
use abi::resource::RLIMIT_CORE;
use abi::signal::SigInfo;

use super::{Task, sys};
use crate::sync::{SpinLock, rank};
use crate::vfs::attr::set_size;
use crate::vfs::namei::d_path;
use crate::vfs::open::filp_open;
use crate::vfs::{File, FileType, IovSource};

/// Longest name: `CORENAME_MAX_SIZE`.
const NAME_MAX: usize = 128;

static PATTERN: SpinLock<Vec<u8>> = SpinLock::new(rank::LEAF, Vec::new());
/// /proc/sys/kernel/core_uses_pid
static USES_PID: AtomicBool = AtomicBool::new(false);

/// /proc/sys/kernel/core_pattern.
pub fn pattern() -> Vec<u8> {
    let pattern = PATTERN.lock().clone();
    if pattern.is_empty() { b"core".to_vec() } else { pattern }
}

/// Sets it, cut to what Linux takes.
pub fn set_pattern(pattern: &[u8]) {
    *PATTERN.lock() = pattern[..pattern.len().min(NAME_MAX - 1)].to_vec();
}

/// Whether the process's number is added to a name that has it not.
pub fn uses_pid() -> bool {
    USES_PID.load(Ordering::Relaxed)
}

/// Sets it.
pub fn set_uses_pid(on: bool) {
    USES_PID.store(on, Ordering::Relaxed);
}

/// Writes a core dump of the current task's process, which the signal `info` ends. Whether there is one.
pub fn dump(task: &Arc<Task>, info: &SigInfo) -> bool {
    let process = &task.process;
    let limit = process.rlimit(RLIMIT_CORE);
    // Files of changed power are for root's eyes: they are not written at all.
    if process.dumpable.load(Ordering::Relaxed) != SUID_DUMP_USER as i32 || limit < abi::mm::PAGE_SIZE {
        return false;
    }
    let pattern = pattern();
    if pattern.first() == Some(&b'|') {
        crate::pr_info!("core_pattern names a program: no core dump of {}", task.tid());
        return false;
    }
    let name = expand(&pattern, task, info, limit);
    match write(task, info, &name, limit) {
        Ok(()) => true,
        Err(errno) => {
            crate::pr_info!("core dump of {} to {}: {errno}", task.tid(), name.escape_ascii());
            false
        }
    }
}

fn write(task: &Arc<Task>, info: &SigInfo, name: &[u8], limit: u64) -> Result<()> {
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::NOFOLLOW;
    let file = filp_open(name, flags, 0o600)?;
    let inode = file.inode().clone();
    let attr = inode.getattr()?;
    // Not what somebody else has put there.
    if inode.kind != FileType::Regular || attr.nlink > 1 || attr.uid != task.cred().fsuid {
        return Err(EACCES);
    }
    set_size(&inode, 0, &file.cred)?;
    let mut out = Output { file: &file, pos: 0, limit };
    match image::write(task, info, &mut out) {
        // A dump that is cut at the limit is one all the same.
        Err(EFBIG) => Ok(()),
        outcome => outcome,
    }
}

/// Where a dump goes, up to the limit.
struct Output<'a> {
    file: &'a Arc<File>,
    pos: u64,
    limit: u64,
}

impl Output<'_> {
    /// Writes all of it. EFBIG at the limit.
    fn put(&mut self, data: &[u8]) -> Result<()> {
        let room = usize::try_from(self.limit.saturating_sub(self.pos)).unwrap_or(usize::MAX);
        let mut src = IovSource::kernel(&data[..data.len().min(room)]);
        while src.remaining() > 0 {
            if self.file.ops.write(self.file, &mut src, &mut self.pos)? == 0 {
                return Err(EINVAL);
            }
        }
        if data.len() > room { Err(EFBIG) } else { Ok(()) }
    }

    /// Leaves a hole.
    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.pos = self.pos.saturating_add(bytes);
        if self.pos > self.limit { Err(EFBIG) } else { Ok(()) }
    }
}

fn expand(pattern: &[u8], task: &Task, info: &SigInfo, limit: u64) -> Vec<u8> {
    // A name that is put in must not lead elsewhere.
    let plain = |text: &[u8]| -> Vec<u8> {
        match text {
            b"." | b".." => text.iter().map(|_| b'!').collect(),
            _ => text.iter().map(|&b| if b == b'/' { b'!' } else { b }).collect(),
        }
    };
    let cred = task.cred();
    let mut name = Vec::new();
    let mut has_pid = false;
    let mut rest = pattern.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let number = |n: i64| n.to_string().into_bytes();
        let piece = match rest.next() {
            None => break,
            Some(b'%') => b"%".to_vec(),
            Some(b'p' | b'P') => {
                has_pid = true;
                number(i64::from(task.tgid()))
            }
            Some(b'i' | b'I') => number(i64::from(task.tid())),
            Some(b'u') => number(i64::from(cred.uid)),
            Some(b'g') => number(i64::from(cred.gid)),
            Some(b'd') => number(i64::from(task.process.dumpable.load(Ordering::Relaxed))),
            Some(b's') => number(i64::from(info.si_signo)),
            Some(b't') => number(crate::time::now_realtime().tv_sec),
            Some(b'h') => plain(&sys::hostname()),
            Some(b'e') => plain(&task.comm()),
            Some(b'c') => limit.to_string().into_bytes(),
            Some(b'E' | b'f') => {
                let exe = task.mm().ok().and_then(|mm| mm.exe_file().map(|f| f.path.clone()));
                let path = exe.map_or_else(|| task.comm(), |p| d_path(&p, &task.fs().root()));
                plain(&path)
            }
            Some(_) => Vec::new(),
        };
        name.extend(piece);
    }
    if !has_pid && uses_pid() {
        name.extend(format!(".{}", task.tgid()).into_bytes());
    }
    name.truncate(abi::fcntl::PATH_MAX - 1);
    name
}
