//! Core dumps, core(5): the memory and registers of a process that a signal ends, as an ELF file.
//!
//! - here: whether there is one, and where it goes. `image.rs`: what is in it.
//!
//! It goes to a file, or to the standard input of a program that the kernel starts (`usermode.rs`).
//!
//! The thread that takes the signal writes it, before the process ends. Other threads are in it as far as they are not
//! running at that moment.

mod image;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::Result;
use abi::errno::{EACCES, EAGAIN, EFBIG, EINVAL, EPIPE};
use abi::fcntl::OpenFlags;
use abi::prctl::{SUID_DUMP_DISABLE, SUID_DUMP_USER};
use abi::resource::RLIMIT_CORE;
use abi::signal::SigInfo;

use super::{Task, sys, usermode};
use crate::ipc::pipe::{Pipe, create_pipe};
use crate::sync::{Interruptible, Sleep, SpinLock, rank, wait_until};
use crate::vfs::attr::set_size;
use crate::vfs::namei::d_path;
use crate::vfs::open::filp_open;
use crate::vfs::{File, FileType, IovSource, PollEvents};

/// Longest name: `CORENAME_MAX_SIZE`.
const NAME_MAX: usize = 128;

static PATTERN: SpinLock<Vec<u8>> = SpinLock::new(rank::LEAF, Vec::new());
/// /proc/sys/kernel/core_uses_pid
static USES_PID: AtomicBool = AtomicBool::new(false);

/// No signal but a fatal one ends a dump.
const KILLABLE: Sleep = Sleep { interruptible: Interruptible::Killable, deadline: None };

/// /proc/sys/kernel/core_pipe_limit: how many dumps to programs there may be at a time, each of which then lasts as long as
/// its program reads. 0: as many as there are, and none waits.
static PIPE_LIMIT: AtomicU32 = AtomicU32::new(0);
/// How many there are.
static PIPES: AtomicU32 = AtomicU32::new(0);

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

/// The most dumps to programs at a time.
pub fn pipe_limit() -> u32 {
    PIPE_LIMIT.load(Ordering::Relaxed)
}

/// Sets it.
pub fn set_pipe_limit(limit: u32) {
    PIPE_LIMIT.store(limit, Ordering::Relaxed);
}

/// Writes a core dump of the current task's process, which the signal `info` ends. Whether there is one.
pub fn dump(task: &Arc<Task>, info: &SigInfo) -> bool {
    let process = &task.process;
    let limit = process.rlimit(RLIMIT_CORE);
    let dumpable = process.dumpable.load(Ordering::Relaxed);
    let pattern = pattern();
    if let Some(command) = pattern.strip_prefix(b"|") {
        // The program is root's. A limit of one byte is how it keeps its own end from starting another.
        if dumpable == SUID_DUMP_DISABLE as i32 || limit == 1 {
            return false;
        }
        let words = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let argv: Vec<_> = words.map(|word| expand(word, task, info, limit).0).collect();
        return match pipe(task, info, argv) {
            Ok(()) => true,
            Err(errno) => {
                crate::pr_info!("core dump of {} to {}: {errno}", task.tid(), pattern.escape_ascii());
                false
            }
        };
    }
    // Files of changed power are for root's eyes: they are not written at all.
    if dumpable != SUID_DUMP_USER as i32 || limit < abi::mm::PAGE_SIZE {
        return false;
    }
    let (mut name, has_pid) = expand(&pattern, task, info, limit);
    if !has_pid && uses_pid() {
        name.extend(format!(".{}", task.tgid()).into_bytes());
    }
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
    let mut out = Output { file: &file, pos: 0, limit, holes: true };
    match image::write(task, info, &mut out) {
        // A dump that is cut at the limit is one all the same.
        Err(EFBIG) => Ok(()),
        outcome => outcome,
    }
}

/// Starts the program `argv` and gives it the dump.
fn pipe(task: &Arc<Task>, info: &SigInfo, argv: Vec<Vec<u8>>) -> Result<()> {
    let limit = pipe_limit();
    let _one = PipeCount::new();
    if limit != 0 && PIPES.load(Ordering::SeqCst) > limit {
        return Err(EAGAIN);
    }
    let [reader, writer] = create_pipe(OpenFlags::empty());
    usermode::start(usermode::Helper { argv, stdin: reader })?;
    let mut out = Output { file: &writer, pos: 0, limit: u64::MAX, holes: false };
    match image::write(task, info, &mut out) {
        // As much as the program wants to read is a dump.
        Ok(()) | Err(EPIPE) => {}
        Err(errno) => return Err(errno),
    }
    let pipe = Pipe::of(&writer).cloned();
    // It reads to the end.
    drop(writer);
    if limit != 0
        && let Some(pipe) = pipe
    {
        // Until it has seen what it wants of the process: then it closes its end.
        let _ = wait_until(KILLABLE, |table| {
            table.register(pipe.write_queue());
            pipe.no_readers().then_some(())
        });
    }
    Ok(())
}

struct PipeCount;

impl PipeCount {
    fn new() -> PipeCount {
        PIPES.fetch_add(1, Ordering::SeqCst);
        PipeCount
    }
}

impl Drop for PipeCount {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a dump goes, up to the limit.
struct Output<'a> {
    file: &'a Arc<File>,
    pos: u64,
    limit: u64,
    /// What isn't written is a hole, and not zeros.
    holes: bool,
}

impl Output<'_> {
    /// Writes all of it. EFBIG at the limit.
    fn put(&mut self, data: &[u8]) -> Result<()> {
        let room = usize::try_from(self.limit.saturating_sub(self.pos)).unwrap_or(usize::MAX);
        let mut src = IovSource::kernel(&data[..data.len().min(room)]);
        while src.remaining() > 0 {
            match self.file.ops.write(self.file, &mut src, &mut self.pos) {
                Ok(0) => return Err(EINVAL),
                Ok(_) => {}
                Err(EAGAIN) => self.wait(PollEvents::OUT)?,
                Err(errno) => return Err(errno),
            }
        }
        if data.len() > room { Err(EFBIG) } else { Ok(()) }
    }

    /// Until the file shows one of `events`, or an error.
    fn wait(&self, events: PollEvents) -> Result<()> {
        let wanted = events | PollEvents::ALWAYS;
        wait_until(KILLABLE, |table| self.file.ops.poll(self.file, table).intersects(wanted).then_some(()))
    }

    /// Leaves a hole.
    fn skip(&mut self, mut bytes: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while !self.holes && bytes > 0 {
            let step = bytes.min(ZEROS.len() as u64);
            self.put(&ZEROS[..step as usize])?;
            bytes -= step;
        }
        self.pos = self.pos.saturating_add(bytes);
        if self.pos > self.limit { Err(EFBIG) } else { Ok(()) }
    }
}

/// A pattern with what its `%` words stand for, and whether the process's number is among that.
fn expand(pattern: &[u8], task: &Task, info: &SigInfo, limit: u64) -> (Vec<u8>, bool) {
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
    name.truncate(abi::fcntl::PATH_MAX - 1);
    (name, has_pid)
}
