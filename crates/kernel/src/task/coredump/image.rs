//! What is in a core dump: notes about the process and its threads, and its memory.

use std::sync::Arc;

use abi::Result;
use abi::elf::*;
use abi::mm::PAGE_SIZE;
use abi::ptrace::UserRegs;
use abi::signal::SigInfo;
use abi::time::{NSEC_PER_SEC, Timeval};
use zerocopy::{Immutable, IntoBytes};

use super::Output;
use crate::mm::{Mm, VmFlags, VmaInfo};
use crate::task::{Task, ptrace};
use crate::vfs::namei::d_path;

/// Bytes copied at a time.
const CHUNK: usize = 64 * 1024;
/// Most bytes of names in the list of mapped files.
const FILES_MAX: usize = 4 << 20;

/// `struct elf_prstatus`
#[repr(C)]
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
struct Prstatus {
    signo: i32,
    code: i32,
    errno: i32,
    cursig: i16,
    _pad: [u8; 2],
    pending: u64,
    blocked: u64,
    pid: i32,
    ppid: i32,
    pgrp: i32,
    sid: i32,
    times: [Timeval; 4],
    regs: UserRegs,
    fpvalid: i32,
    _pad2: i32,
}

/// `struct elf_prpsinfo`
#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct Prpsinfo {
    state: u8,
    sname: u8,
    zombie: u8,
    nice: i8,
    _pad: u32,
    flags: u64,
    uid: u32,
    gid: u32,
    pid: i32,
    ppid: i32,
    pgrp: i32,
    sid: i32,
    fname: [u8; 16],
    args: [u8; 80],
}

/// Writes the whole dump.
pub(super) fn write(task: &Arc<Task>, info: &SigInfo, out: &mut Output<'_>) -> Result<()> {
    let mm = task.mm()?;
    mm.flush()?;
    mm.land();
    let vmas = mm.vmas();
    let written = written(&mm);
    let sizes: Vec<u64> = vmas.iter().map(|vma| dumped(&mm, vma, &written)).collect();
    let notes = notes(task, info, &mm, &vmas);
    let headers = size_of::<Ehdr>() + (vmas.len() + 1) * size_of::<Phdr>();
    let first = (headers as u64 + notes.len() as u64).next_multiple_of(PAGE_SIZE);
    out.put(header(vmas.len() + 1).as_bytes())?;
    let note = Phdr {
        p_type: PT_NOTE,
        p_offset: headers as u64,
        p_filesz: notes.len() as u64,
        p_align: 4,
        ..Phdr::default()
    };
    out.put(note.as_bytes())?;
    let mut offset = first;
    for (vma, &filesz) in vmas.iter().zip(&sizes) {
        let flags = vma.flags.prot();
        // PROT_READ is 1 and PF_R is 4.
        let bits = (flags & 1) << 2 | flags & 2 | flags >> 2 & 1;
        let load = Phdr {
            p_type: PT_LOAD,
            p_flags: bits,
            p_offset: offset,
            p_vaddr: vma.start,
            p_filesz: filesz,
            p_memsz: vma.end - vma.start,
            p_align: PAGE_SIZE,
            ..Phdr::default()
        };
        out.put(load.as_bytes())?;
        offset += filesz;
    }
    out.put(&notes)?;
    out.skip(first - headers as u64 - notes.len() as u64)?;
    for (vma, &size) in vmas.iter().zip(&sizes) {
        memory(&mm, vma.start, size, out)?;
    }
    Ok(())
}

fn header(count: usize) -> Ehdr {
    Ehdr {
        e_ident: [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        e_type: ET_CORE,
        e_machine: EM_X86_64,
        e_version: 1,
        e_phoff: size_of::<Ehdr>() as u64,
        e_ehsize: size_of::<Ehdr>() as u16,
        e_phentsize: size_of::<Phdr>() as u16,
        // Beyond, a section header would have the number; MAX_MAP_COUNT keeps below it.
        e_phnum: count.min(0xfffe) as u16,
        ..Ehdr::default()
    }
}

/// Where the host has private pages of files: those that were written, whether or not they still may be.
fn written(mm: &Mm) -> Vec<(u64, u64)> {
    let smaps = mm.space.host_smaps().unwrap_or_default();
    let mut found = Vec::new();
    let mut range = None;
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let hex = |text| u64::from_str_radix(text, 16).ok();
            range = hex(start).zip(hex(end));
        } else if first == "Anonymous:" && !line.ends_with(" 0 kB") {
            found.extend(range);
        }
    }
    found
}

/// Bytes of a mapping that are in the dump: of anonymous memory and written private pages all, of a program's file the
/// page with its headers.
fn dumped(mm: &Mm, vma: &VmaInfo, written: &[(u64, u64)]) -> u64 {
    let all = vma.end - vma.start;
    let private = !vma.flags.contains(VmFlags::MAYSHARE);
    match () {
        () if vma.flags.contains(VmFlags::DONTDUMP) => 0,
        () if vma.path.is_none() => all,
        () if private && written.iter().any(|(start, end)| *start < vma.end && vma.start < *end) => all,
        () if vma.offset == 0 && vma.flags.contains(VmFlags::READ) => {
            let mut magic = [0; 4];
            let elf = mm.read(vma.start, &mut magic) == 4 && magic == *b"\x7fELF";
            if elf { PAGE_SIZE } else { 0 }
        }
        () => 0,
    }
}

fn memory(mm: &Mm, start: u64, len: u64, out: &mut Output<'_>) -> Result<()> {
    let mut buf = vec![0; CHUNK];
    let mut done = 0;
    while done < len {
        crate::sched::cond_resched()?;
        let want = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
        let got = mm.read_unpatched(start + done, &mut buf[..want]);
        // What cannot be read, or was never written, is a hole.
        let step = if got == 0 { (PAGE_SIZE as usize).min(want) } else { got };
        let last = done + step as u64 >= len;
        if got == 0 || (buf[..got].iter().all(|&b| b == 0) && !last) {
            buf[..step].fill(0);
            if last { out.put(&buf[..step])? } else { out.skip(step as u64)? }
        } else {
            out.put(&buf[..got])?;
        }
        done += step as u64;
    }
    Ok(())
}

fn note(out: &mut Vec<u8>, name: &[u8], kind: u32, data: &[u8]) {
    let header = Nhdr { n_namesz: name.len() as u32, n_descsz: data.len() as u32, n_type: kind };
    out.extend_from_slice(header.as_bytes());
    for piece in [name, data] {
        out.extend_from_slice(piece);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

const CORE: &[u8] = b"CORE\0";
const LINUX: &[u8] = b"LINUX\0";

fn notes(task: &Arc<Task>, info: &SigInfo, mm: &Mm, vmas: &[VmaInfo]) -> Vec<u8> {
    let mut out = Vec::new();
    let state = |out: &mut Vec<u8>, thread: &Arc<Task>, whole: &dyn Fn(&mut Vec<u8>)| {
        let Some((regs, fp, xstate)) = ptrace::registers(thread) else { return };
        note(out, CORE, NT_PRSTATUS, prstatus(thread, info, regs).as_bytes());
        whole(out);
        note(out, CORE, NT_PRFPREG, &fp);
        if let Some(xstate) = xstate {
            note(out, LINUX, NT_X86_XSTATE, &xstate);
        }
    };
    state(&mut out, task, &|out| {
        note(out, CORE, NT_PRPSINFO, prpsinfo(task, mm).as_bytes());
        note(out, CORE, NT_SIGINFO, info.as_bytes());
        let auxv: Vec<u8> = mm.auxv().iter().flat_map(|w| w.to_ne_bytes()).collect();
        note(out, CORE, NT_AUXV, &auxv);
        note(out, CORE, NT_FILE, &files(task, vmas));
    });
    for thread in task.process.threads().iter().filter(|t| !Arc::ptr_eq(t, task)) {
        state(&mut out, thread, &|_| {});
    }
    out
}

fn prstatus(task: &Task, info: &SigInfo, regs: UserRegs) -> Prstatus {
    let process = &task.process;
    let (pending, blocked) = {
        let signal = task.signal.lock();
        (signal.pending.set.bits, signal.blocked.bits)
    };
    let time = |ns: &std::sync::atomic::AtomicU64| {
        let ns = ns.load(std::sync::atomic::Ordering::Relaxed);
        Timeval { tv_sec: (ns / NSEC_PER_SEC) as i64, tv_usec: (ns % NSEC_PER_SEC / 1000) as i64 }
    };
    Prstatus {
        signo: info.si_signo,
        cursig: info.si_signo as i16,
        pending,
        blocked,
        pid: task.tid(),
        ppid: process.ppid(),
        pgrp: process.pgrp(),
        sid: process.session(),
        times: [
            time(&task.sched.utime),
            time(&task.sched.stime),
            time(&process.cutime),
            time(&process.cstime),
        ],
        regs,
        fpvalid: 1,
        ..Prstatus::default()
    }
}

fn prpsinfo(task: &Task, mm: &Mm) -> Prpsinfo {
    let (process, cred) = (&task.process, task.cred());
    let mut fname = [0; 16];
    let comm = task.comm();
    fname[..comm.len()].copy_from_slice(&comm);
    let mut args = [0; 80];
    let line = mm.cmdline();
    let n = line.len().min(args.len() - 1);
    for (to, from) in args.iter_mut().zip(&line[..n]) {
        *to = if *from == 0 { b' ' } else { *from };
    }
    Prpsinfo {
        state: 0,
        sname: b'R',
        zombie: 0,
        nice: task.sched.attr().nice,
        _pad: 0,
        flags: 0,
        uid: cred.uid,
        gid: cred.gid,
        pid: process.tgid,
        ppid: process.ppid(),
        pgrp: process.pgrp(),
        sid: process.session(),
        fname,
        args,
    }
}

/// NT_FILE: which files are mapped where.
fn files(task: &Task, vmas: &[VmaInfo]) -> Vec<u8> {
    let root = task.fs().root();
    let mut names = Vec::new();
    let mut words = Vec::new();
    for vma in vmas {
        let Some(path) = &vma.path else { continue };
        let name = d_path(path, &root);
        if names.len() + name.len() > FILES_MAX {
            break;
        }
        names.extend_from_slice(&name);
        names.push(0);
        words.extend([vma.start, vma.end, vma.offset / PAGE_SIZE]);
    }
    let head = [words.len() as u64 / 3, PAGE_SIZE];
    let mut out: Vec<u8> = head.iter().chain(&words).flat_map(|w| w.to_ne_bytes()).collect();
    out.extend(names);
    out
}
