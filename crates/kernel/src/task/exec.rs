//! execve(2): a new program in the place of the old one.
//!
//! - `exec/script.rs`: `#!` lines. `elf.rs`: ELF headers. `exec/image.rs`: the new address space.
//! - `exec/args.rs`: argv and envp from the guest. `exec/stack.rs`: the first stack. `exec/cred.rs`: privileges.
//!
//! The new address space is made completely, in a fresh stub, before anything of the old program is given up: whatever
//! fails until then is the caller's error. After [`point_of_no_return`] nothing can fail.

mod args;
mod cred;
mod image;
mod script;
mod stack;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::elf::*;
use abi::errno::{E2BIG, EACCES, EFAULT, EINVAL, ELIBBAD, ELOOP, ENOENT, ENOEXEC};
use abi::fcntl::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, OpenFlags};
use abi::prctl::PER_CLEAR_ON_SETID;
use host::stub::{MemOp, Regs, StubThread};

use super::stubs::{self, Spare};
use super::{Task, current, dumpable, exit, ptrace};
use crate::mm::Mm;
use crate::signal;
use crate::syscall::UserPath;
use crate::vfs::namei::{self, LookupFlags, MAY_EXEC, MAY_READ};
use crate::vfs::{Fd, File, FileMode, FileType, MountFlags, Path};

use args::{ArgReader, arg_limit};
use image::{Binary, Image, random_word};
use stack::{StackContents, StackImage};

/// Interpreters of interpreters: as many as Linux allows.
const MAX_DEPTH: usize = 5;
/// The x86-64 selectors of user code and data, and the flags of a new program.
const USER_CS: u64 = 0x33;
const USER_DS: u64 = 0x2b;
const EFLAGS: u64 = 0x202;

/// A program to be run.
struct Binprm {
    /// The file that is loaded: of a script its interpreter.
    file: Arc<File>,
    /// Its beginning.
    head: Vec<u8>,
    /// The name that the caller gave (AT_EXECFN, comm).
    filename: Vec<u8>,
    argv: Vec<Vec<u8>>,
    envp: Vec<Vec<u8>>,
    /// The name in `filename` leads over a descriptor that will be closed: a script could not be opened.
    inaccessible: bool,
    /// One of the files cannot be read by the caller.
    unreadable: bool,
}

/// execve(2)
pub fn execve(filename: UserPath, argv: u64, envp: u64) -> Result<()> {
    execveat(Fd::CWD, filename, argv, envp, 0)
}

/// execveat(2)
pub fn execveat(dirfd: Fd, filename: UserPath, argv: u64, envp: u64, flags: u32) -> Result<()> {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(EINVAL);
    }
    let name = filename.read()?;
    let (argv, envp) = {
        let mut reader = ArgReader::new()?;
        (reader.strings(argv)?, reader.strings(envp)?)
    };
    let lookup = namei::lookup_flags(flags, 0)?;
    let path = namei::path_at(dirfd, &name, lookup)?;
    let by_name = dirfd == Fd::CWD || name.first() == Some(&b'/');
    let shown = match (by_name, name.is_empty()) {
        (true, false) => name,
        (_, true) => format!("/dev/fd/{}", dirfd.0).into_bytes(),
        (false, false) => [format!("/dev/fd/{}/", dirfd.0).as_bytes(), &name].concat(),
    };
    let inaccessible = !by_name && current().files()?.cloexec(dirfd)?;
    do_execve(&current(), path, shown, argv, envp, inaccessible)
}

/// The first program of a task that has none yet: init, and helpers that the kernel starts.
pub fn kernel_execve(task: &Arc<Task>, path: &[u8], argv: Vec<Vec<u8>>, envp: Vec<Vec<u8>>) -> Result<()> {
    let found = namei::path_at(Fd::CWD, path, LookupFlags::FOLLOW)?;
    do_execve(task, found, path.to_vec(), argv, envp, false)
}

fn do_execve(
    task: &Arc<Task>,
    path: Path,
    filename: Vec<u8>,
    mut argv: Vec<Vec<u8>>,
    envp: Vec<Vec<u8>>,
    inaccessible: bool,
) -> Result<()> {
    if argv.is_empty() {
        // A program may count on a name.
        argv.push(Vec::new());
    }
    if let Some(stub) = task.user.lock().as_ref() {
        stub.rest();
    }
    // Emptied while the files are looked at.
    let spare = Spare::new(task);
    let (file, unreadable) = open_exec(task, path)?;
    let head = read_head(&file)?;
    let mut bprm = Binprm { file, head, filename, argv, envp, inaccessible, unreadable };
    resolve_scripts(task, &mut bprm)?;
    let main = Binary::read(bprm.file.clone(), &bprm.head)?;
    let interp = match main.interpreter()? {
        None => None,
        Some(name) => Some(open_interpreter(task, &name, &mut bprm)?),
    };
    let exec_cred = exec_cred(task, &bprm.file)?;
    let mut persona = task.personality.load(Ordering::Relaxed);
    if exec_cred.secure {
        persona &= !PER_CLEAR_ON_SETID;
    }
    let image = Image::new(&main, interp.as_ref(), persona)?;
    let spare =
        spare.take(stubs::domain(task, &exec_cred.cred).filter(|_| !exec_cred.secure && !bprm.unreadable));
    let (mm, stub) = make_mm(image, &main, &bprm, &exec_cred, spare)?;
    let (old_tid, number) = (task.tid(), task.with_regs(|r| r.orig_rax));
    exit::de_thread(task)?;
    task.personality.store(persona, Ordering::Relaxed);
    point_of_no_return(task, mm, stub, &bprm, exec_cred);
    if let Ok(number) = number {
        // The call goes on to be execve for who traces it.
        let _ = task.with_regs(|r| r.orig_rax = number);
    }
    ptrace::exec_done(task, old_tid);
    Ok(())
}

/// Opens a file to run it. EACCES unless it is a regular file that may be executed, on a mount that allows it. Also
/// whether it cannot be read.
fn open_exec(task: &Task, path: Path) -> Result<(Arc<File>, bool)> {
    let inode = path.inode()?;
    match inode.kind {
        FileType::Regular => {}
        FileType::Symlink => return Err(ELOOP),
        _ => return Err(EACCES),
    }
    if path.mnt.flags().contains(MountFlags::NOEXEC) {
        return Err(EACCES);
    }
    let cred = task.cred();
    namei::permission(&inode, MAY_EXEC, &cred)?;
    // Somebody who writes it is an error now, not when it is loaded.
    inode.deny_write_access()?;
    inode.allow_write_access();
    let unreadable = namei::permission(&inode, MAY_READ, &cred).is_err();
    let ops = inode.ops.open(&inode, OpenFlags::empty())?;
    let file = File::new(path, ops, OpenFlags::empty(), FileMode::READ | FileMode::SEEK);
    Ok((file, unreadable))
}

/// The beginning of a file: a page, because program headers mostly lie in it.
fn read_head(file: &File) -> Result<Vec<u8>> {
    let mut head = vec![0; 4096];
    let len = file.kernel_read(&mut head, 0)?;
    head.truncate(len);
    Ok(head)
}

/// Replaces scripts by their interpreters. ELOOP, ENOEXEC, ENOENT.
fn resolve_scripts(task: &Task, bprm: &mut Binprm) -> Result<()> {
    let mut script = bprm.filename.clone();
    for _ in 0..=MAX_DEPTH {
        let line = &bprm.head[..bprm.head.len().min(BINPRM_BUF_SIZE)];
        let Some(shebang) = script::parse(line)? else { return Ok(()) };
        if bprm.inaccessible {
            return Err(ENOENT);
        }
        let mut argv = vec![shebang.interpreter.clone()];
        argv.extend(shebang.argument);
        argv.push(script);
        argv.extend(bprm.argv.drain(1..));
        bprm.argv = argv;
        let path = namei::path_at(Fd::CWD, &shebang.interpreter, LookupFlags::FOLLOW)?;
        let (file, unreadable) = open_exec(task, path)?;
        bprm.head = read_head(&file)?;
        bprm.file = file;
        bprm.unreadable |= unreadable;
        script = shebang.interpreter;
    }
    Err(ELOOP)
}

fn open_interpreter(task: &Task, name: &[u8], bprm: &mut Binprm) -> Result<Binary> {
    let path = namei::path_at(Fd::CWD, name, LookupFlags::FOLLOW)?;
    let (file, unreadable) = open_exec(task, path)?;
    bprm.unreadable |= unreadable;
    let head = read_head(&file)?;
    Binary::read(file, &head).map_err(|errno| if errno == ENOEXEC { ELIBBAD } else { errno })
}

fn exec_cred(task: &Task, file: &File) -> Result<cred::ExecCred> {
    let no_new_privs = task.no_new_privs.load(Ordering::Relaxed);
    let privileges = cred::FilePrivileges::of(file, no_new_privs)?;
    // One in the task, one here; threads of this process end anyway.
    let shares_fs = Arc::strong_count(&task.fs()) > 1 + task.process.threads().len();
    let traced = task.ptrace.lacks_power();
    cred::compute(&task.cred(), privileges, shares_fs || traced || no_new_privs, no_new_privs)
}

/// Puts the image into a stub, `spare` if there is one: one batch, one copy.
fn make_mm(
    mut image: Image,
    main: &Binary,
    bprm: &Binprm,
    exec_cred: &cred::ExecCred,
    spare: Option<StubThread>,
) -> Result<(Arc<Mm>, StubThread)> {
    image.map_vdso()?;
    let stack = build_stack(&image, bprm, exec_cred)?;
    image.map_stack(stack.bytes.len() as u64, main.program.exec_stack)?;
    let layout = &mut image.inner.layout;
    layout.start_stack = stack.sp;
    (layout.arg_start, layout.arg_end) = stack.args;
    (layout.env_start, layout.env_end) = stack.env;
    image.inner.auxv = stack.auxv.into();
    let mut ranges = vec![(stack.sp, stack.bytes.len())];
    let mut bytes = stack.bytes;
    for &(addr, len) in &image.zeros {
        ranges.push((addr, len));
        bytes.resize(bytes.len() + len, 0);
    }
    // What the spare's last program has done to it is its own affair: then it takes a fresh one.
    let spare = spare.and_then(|stub| fill(stub, image.ops.clone(), &ranges, &bytes).ok());
    let mut stub = match spare {
        Some(stub) => stub,
        None => fill(StubThread::fresh()?.1, core::mem::take(&mut image.ops), &ranges, &bytes)?,
    };
    *stub.regs_mut() = Regs {
        rip: image.entry,
        rsp: stack.sp,
        cs: USER_CS,
        ss: USER_DS,
        eflags: EFLAGS,
        orig_rax: u64::MAX,
        ..Regs::default()
    };
    stub.reset_fpstate();
    Ok((Mm::new(stub.address_space().clone(), image.inner), stub))
}

fn fill(mut stub: StubThread, ops: Vec<MemOp>, ranges: &[(u64, usize)], bytes: &[u8]) -> Result<StubThread> {
    stub.batch(ops).map_err(|(_, errno)| errno)?;
    let copied = stub.address_space().write_vectored(ranges, bytes);
    if copied == bytes.len() { Ok(stub) } else { Err(EFAULT) }
}

fn build_stack(image: &Image, bprm: &Binprm, exec_cred: &cred::ExecCred) -> Result<StackImage> {
    let strings = bprm.argv.iter().chain(&bprm.envp);
    let size: u64 = strings.map(|s| s.len() as u64 + 1 + 8).sum();
    if size > arg_limit() {
        return Err(E2BIG);
    }
    let mut random = [0; 16];
    host::random::fill(&mut random);
    let contents = StackContents {
        execfn: &bprm.filename,
        argv: &bprm.argv,
        envp: &bprm.envp,
        random,
        shift: random_word() % 8192,
    };
    let cred = &exec_cred.cred;
    Ok(stack::build(image.stack_top, &contents, |at| {
        let mut auxv = Vec::with_capacity(24);
        if image.inner.layout.vdso != 0 {
            auxv.push((AT_SYSINFO_EHDR, image.inner.layout.vdso));
        }
        auxv.extend([
            (AT_MINSIGSTKSZ, host::auxv::minsigstksz()),
            (AT_HWCAP, host::auxv::hwcap()),
            (AT_PAGESZ, abi::mm::PAGE_SIZE),
            (AT_CLKTCK, 100),
            (AT_PHDR, image.phdr),
            (AT_PHENT, size_of::<Phdr>() as u64),
            (AT_PHNUM, u64::from(image.phnum)),
            (AT_BASE, image.interp_base),
            (AT_FLAGS, 0),
            (AT_ENTRY, image.program_entry),
            (AT_UID, u64::from(cred.uid)),
            (AT_EUID, u64::from(cred.euid)),
            (AT_GID, u64::from(cred.gid)),
            (AT_EGID, u64::from(cred.egid)),
            (AT_SECURE, u64::from(exec_cred.secure)),
            (AT_RANDOM, at.random),
            (AT_HWCAP2, host::auxv::hwcap2()),
            (AT_RSEQ_FEATURE_SIZE, super::rseq::FEATURE_SIZE),
            (AT_RSEQ_ALIGN, super::rseq::ALIGN),
            (AT_EXECFN, at.execfn),
            (AT_PLATFORM, at.platform),
        ]);
        auxv
    }))
}

/// Gives up the old program. The caller is the only thread of its process.
fn point_of_no_return(task: &Arc<Task>, mm: Arc<Mm>, stub: StubThread, bprm: &Binprm, new: cred::ExecCred) {
    let process = &task.process;
    exit::release_mm(task);
    let domain = stubs::domain(task, &task.cred());
    let old_stub = task.user.lock().replace(stub);
    let old_mm = task.set_mm(Some(mm));
    crate::mm::batch_landed(task);
    let vfork = task.vfork_done.lock().take();
    if let Some(vfork) = vfork {
        vfork.complete();
    }
    stubs::release(domain, old_stub, old_mm);

    close_on_exec(task);
    task.set_comm(bprm.filename.rsplit(|&b| b == b'/').next().unwrap_or_default());
    signal::exec_reset(task);
    crate::time::exec_timers(process);
    task.rseq.clear();
    let plain = new.cred.euid == new.cred.uid && new.cred.egid == new.cred.gid;
    if plain && !new.secure && !bprm.unreadable {
        process.dumpable.store(1, Ordering::Relaxed);
    } else {
        dumpable::restrict(process);
    }
    if new.secure {
        task.pdeath_signal.store(0, Ordering::Relaxed);
    }
    task.set_cred(new.cred);
    process.did_exec.store(true, Ordering::SeqCst);
}

/// The descriptor table is the program's own from here on, without what FD_CLOEXEC marks.
fn close_on_exec(task: &Task) {
    let Ok(mut files) = task.files() else { return };
    // One in the task, one here.
    if Arc::strong_count(&files) > 2 {
        files = files.copy();
        let shared = task.set_files(Some(files.clone()));
        drop(shared);
    }
    crate::vfs::close_on_exec(&files);
}
