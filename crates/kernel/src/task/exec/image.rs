//! A new program's address space: segments, heap, stack and vDSO, as VMAs and as one batch of host operations.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EACCES, ENOEXEC, ENOMEM};
use abi::mm::{PAGE_SIZE, PROT_EXEC, PROT_READ, PROT_WRITE, page_down, page_up};
use abi::prctl::{ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC};
use abi::resource::RLIMIT_STACK;
use host::stub::{MapSource, MemOp, TASK_SIZE};

use crate::fastpath;
use crate::mm::vma::STACK_GUARD_GAP;
use crate::mm::{Backing, ExeFile, MmInner, VmFlags, Vma};
use crate::task::current;
use crate::task::elf::{self, Program, Segment};
use crate::vfs::{File, Mapping, MmapRequest};

/// Where programs that can be anywhere begin, when they have an interpreter.
const ET_DYN_BASE: u64 = page_down(TASK_SIZE / 3 * 2);
/// Stack that is mapped beyond what the arguments need.
const STACK_EXPAND: u64 = 128 * 1024;
/// Bits of page numbers that randomisation chooses: mappings, stack.
const MMAP_RND_BITS: u32 = 28;
const STACK_RND_BITS: u32 = 22;

/// A program and its headers.
pub struct Binary {
    /// Open file.
    pub file: Arc<File>,
    /// What its headers say.
    pub program: Program,
}

impl Binary {
    /// Reads the headers; `head` is the beginning of the file. ENOEXEC and the errors of the file system.
    pub fn read(file: Arc<File>, head: &[u8]) -> Result<Binary> {
        let (ehdr, at, size) = elf::parse_header(head)?;
        let in_head = usize::try_from(at).ok().and_then(|at| head.get(at..at.checked_add(size)?));
        let program = match in_head {
            Some(table) => elf::parse_program(&ehdr, table)?,
            None => {
                let mut table = vec![0; size];
                if file.kernel_read(&mut table, at)? < size {
                    return Err(ENOEXEC);
                }
                elf::parse_program(&ehdr, &table)?
            }
        };
        Ok(Binary { file, program })
    }

    /// Name of the interpreter, if it wants one.
    pub fn interpreter(&self) -> Result<Option<Vec<u8>>> {
        let Some((at, len)) = self.program.interp else { return Ok(None) };
        let mut name = vec![0; len as usize];
        if self.file.kernel_read(&mut name, at)? < name.len() || name.pop() != Some(0) {
            return Err(ENOEXEC);
        }
        name.truncate(name.iter().position(|&b| b == 0).unwrap_or(name.len()));
        Ok(Some(name))
    }
}

/// An address space in the making.
pub struct Image {
    /// VMAs and layout.
    pub inner: MmInner,
    /// The host's part.
    pub ops: Vec<MemOp>,
    /// Guest memory to fill with zeros: what follows the file's bytes in the last page of a segment.
    pub zeros: Vec<(u64, usize)>,
    /// Where execution begins: the interpreter, if there is one.
    pub entry: u64,
    /// The program's own entry (AT_ENTRY).
    pub program_entry: u64,
    /// AT_BASE
    pub interp_base: u64,
    /// AT_PHDR
    pub phdr: u64,
    /// AT_PHNUM
    pub phnum: u16,
    /// The end of the stack.
    pub stack_top: u64,
    exec_all: bool,
}

struct Random {
    on: bool,
}

impl Random {
    /// A random page-aligned number below `1 << bits` pages; 0 where randomisation is off.
    fn pages(&self, bits: u32) -> u64 {
        if self.on { (random_word() & ((1 << bits) - 1)) * PAGE_SIZE } else { 0 }
    }
}

/// A word from the host's random numbers.
pub fn random_word() -> u64 {
    let mut bytes = [0; 8];
    host::random::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl Image {
    /// Lays out `main` and its interpreter. `persona` is personality(2) of the new program.
    pub fn new(main: &Binary, interp: Option<&Binary>, persona: u32) -> Result<Image> {
        let random = Random { on: persona & ADDR_NO_RANDOMIZE == 0 };
        let stack_top = TASK_SIZE - random.pages(STACK_RND_BITS);
        let mut image = Image {
            inner: MmInner::default(),
            ops: Vec::new(),
            zeros: Vec::new(),
            entry: 0,
            program_entry: 0,
            interp_base: 0,
            phdr: 0,
            phnum: main.program.phnum,
            stack_top,
            exec_all: persona & READ_IMPLIES_EXEC != 0,
        };
        let spread = PAGE_SIZE << STACK_RND_BITS;
        let room =
            current().process.rlimit(RLIMIT_STACK).saturating_add(spread).saturating_add(STACK_GUARD_GAP);
        let room = room.clamp(128 << 20, TASK_SIZE / 6 * 5);
        image.inner.layout.mmap_base = page_down(TASK_SIZE - room - random.pages(MMAP_RND_BITS));
        image.inner.exe = Some(ExeFile::new(main.file.clone())?);
        image.load_program(main, interp, &random)?;
        Ok(image)
    }

    fn load_program(&mut self, main: &Binary, interp: Option<&Binary>, random: &Random) -> Result<()> {
        let program = &main.program;
        let (start, end) = program.span();
        let base = match (program.dynamic, interp) {
            (false, _) => start,
            (true, Some(_)) => (ET_DYN_BASE + random.pages(MMAP_RND_BITS)) & !(program.align - 1),
            (true, None) => self.inner.free_area(end - start, program.align)?,
        };
        let bias = base.wrapping_sub(start);
        self.load(main, bias)?;
        self.program_entry = program.entry.wrapping_add(bias);
        self.entry = self.program_entry;
        self.phdr = program.phdr.map_or(0, |at| at.wrapping_add(bias));
        self.set_code_and_data(program, bias);
        if let Some(interp) = interp {
            let (start, end) = interp.program.span();
            let bias = self.inner.free_area(end - start, interp.program.align)?.wrapping_sub(start);
            self.load(interp, bias)?;
            self.interp_base = bias;
            self.entry = interp.program.entry.wrapping_add(bias);
        }
        if self.entry >= TASK_SIZE {
            return Err(abi::errno::EINVAL);
        }
        // A loader that is run as a program lies among the mappings: its heap goes where programs are.
        let loader = program.dynamic && interp.is_none();
        let brk = if loader { ET_DYN_BASE } else { end.wrapping_add(bias) };
        let brk = brk + if random.on { page_down(random_word() % (1 << 30)) } else { 0 };
        (self.inner.layout.start_brk, self.inner.layout.brk) = (brk, brk);
        Ok(())
    }

    fn set_code_and_data(&mut self, program: &Program, bias: u64) {
        let layout = &mut self.inner.layout;
        let code = || program.segments.iter().filter(|s| s.prot & PROT_EXEC != 0);
        let at = |addr: Option<u64>| addr.unwrap_or(0).wrapping_add(bias);
        layout.start_code = at(code().map(|s| s.vaddr).min());
        layout.end_code = at(code().map(Segment::file_end).max());
        layout.start_data = at(program.segments.iter().map(|s| s.vaddr).max());
        layout.end_data = at(program.segments.iter().map(Segment::file_end).max());
    }

    fn load(&mut self, binary: &Binary, bias: u64) -> Result<()> {
        for segment in &binary.program.segments {
            let start = segment.start().wrapping_add(bias);
            let file_end = segment.file_end().wrapping_add(bias);
            let mem_end = page_up(segment.mem_end().wrapping_add(bias)).ok_or(ENOMEM)?;
            if start < crate::mm::MMAP_MIN_ADDR || mem_end > TASK_SIZE || start >= mem_end {
                return Err(ENOMEM);
            }
            let prot = self.effective_prot(segment.prot);
            let mut zero_from = start;
            if segment.filesz > 0 {
                zero_from = page_up(file_end).ok_or(ENOMEM)?;
                self.map_file(&binary.file, start, zero_from, page_down(segment.offset), prot)?;
                if segment.memsz > segment.filesz && prot & PROT_WRITE != 0 && zero_from > file_end {
                    self.zeros.push((file_end, (zero_from - file_end) as usize));
                }
            }
            if mem_end > zero_from {
                self.map_zero(zero_from, mem_end, VmFlags::from_prot(prot), Backing::Anonymous);
            }
        }
        Ok(())
    }

    fn effective_prot(&self, prot: u32) -> u32 {
        if self.exec_all && prot & PROT_READ != 0 { prot | PROT_EXEC } else { prot }
    }

    fn map_file(&mut self, file: &Arc<File>, start: u64, end: u64, offset: u64, prot: u32) -> Result<()> {
        let len = end - start;
        let request = MmapRequest { shared: false, write: false, may_write: false, offset, len };
        let (fd, pager) = match file.ops.mmap(file, request)? {
            Mapping::Object(fd) => (fd, None),
            Mapping::Paged(fd, pager) => {
                // Its last page will be cleared behind the end of the data.
                pager.populate(offset + len - PAGE_SIZE, offset + len)?;
                (fd, Some(pager))
            }
            _ => return Err(EACCES),
        };
        let backing = Backing::file(file.clone(), Some(fd.clone()), pager);
        let text = prot & (PROT_WRITE | PROT_EXEC) == PROT_EXEC;
        let copy = if text { fastpath::of_file(file, offset, len) } else { None };
        self.map(start, end, VmFlags::from_prot(prot), backing, offset, MapSource::Object { fd, offset });
        if let Some(copy) = copy {
            self.ops.extend(self.inner.patch(start, &copy));
        }
        Ok(())
    }

    fn map_zero(&mut self, start: u64, end: u64, flags: VmFlags, backing: Backing) {
        self.map(start, end, flags, backing, 0, MapSource::Anonymous);
    }

    fn map(
        &mut self,
        start: u64,
        end: u64,
        flags: VmFlags,
        backing: Backing,
        offset: u64,
        source: MapSource,
    ) {
        let mut flags = flags | VmFlags::MAY;
        if flags.contains(VmFlags::WRITE) {
            flags |= VmFlags::ACCOUNT;
        }
        self.inner.vmas.remove(start, end);
        let vma = Vma { start, end, flags, backing, offset };
        self.ops.extend(vma.map_ops(source, false));
        self.inner.vmas.insert(vma);
    }

    /// Maps the stack, with room for `contents` bytes at its top.
    pub fn map_stack(&mut self, contents: u64, executable: bool) -> Result<()> {
        let len = page_up(contents).and_then(|l| l.checked_add(STACK_EXPAND)).ok_or(ENOMEM)?;
        let start = self.stack_top.checked_sub(len).ok_or(ENOMEM)?;
        if !self.inner.vmas.is_free(start, self.stack_top) {
            return Err(ENOMEM);
        }
        let mut flags = VmFlags::READ | VmFlags::WRITE | VmFlags::GROWSDOWN;
        if executable || self.exec_all {
            flags |= VmFlags::EXEC;
        }
        self.map_zero(start, self.stack_top, flags, Backing::Anonymous);
        Ok(())
    }

    /// Maps the vDSO; its ELF header is at `layout.vdso` then.
    pub fn map_vdso(&mut self) -> Result<()> {
        let len = host::vdso::len();
        let at = self.inner.free_area(len, PAGE_SIZE)?;
        let ops = host::vdso::map_ops(at)?;
        if ops.is_empty() {
            return Ok(());
        }
        self.ops.extend(ops);
        let code = host::vdso::ehdr(at);
        let base = VmFlags::READ | VmFlags::MAYREAD | VmFlags::DONTEXPAND | VmFlags::DONTDUMP;
        let mut add = |start: u64, end: u64, flags: VmFlags, name: &'static str| {
            if start < end {
                self.inner.vmas.insert(Vma { start, end, flags, backing: Backing::Special(name), offset: 0 });
            }
        };
        add(at, code, base, "[vvar]");
        let code_flags = (base | VmFlags::EXEC | VmFlags::MAY) - VmFlags::DONTDUMP;
        add(code, at + len, code_flags, "[vdso]");
        self.inner.layout.vdso = code;
        Ok(())
    }
}
