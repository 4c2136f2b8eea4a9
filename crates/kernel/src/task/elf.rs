//! Reading ELF programs for execve(2): headers are checked here, mapping is `exec/image.rs`.
//!
//! A program file is hostile: every number in it is a claim.

use abi::Result;
use abi::elf::*;
use abi::errno::{EINVAL, ENOEXEC, ENOMEM};
use abi::mm::{PAGE_SIZE, PROT_EXEC, PROT_READ, PROT_WRITE, page_down, page_up};
use host::stub::TASK_SIZE;
use zerocopy::FromBytes;

/// Most bytes of program headers, as in Linux.
const MAX_PHDRS_SIZE: usize = 65536;

/// A segment to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address before the load bias, not rounded.
    pub vaddr: u64,
    /// Where its bytes begin in the file, congruent to `vaddr` in the page.
    pub offset: u64,
    /// Bytes that come from the file.
    pub filesz: u64,
    /// Bytes in memory; what is beyond `filesz` is zero.
    pub memsz: u64,
    /// PROT_*
    pub prot: u32,
}

impl Segment {
    /// First page.
    pub fn start(&self) -> u64 {
        page_down(self.vaddr)
    }

    /// End of the bytes from the file.
    pub fn file_end(&self) -> u64 {
        self.vaddr + self.filesz
    }

    /// End of the bytes in memory.
    pub fn mem_end(&self) -> u64 {
        self.vaddr + self.memsz
    }
}

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// May be loaded anywhere (ET_DYN).
    pub dynamic: bool,
    /// Before the load bias.
    pub entry: u64,
    /// In order of the file; not empty, addresses ascending.
    pub segments: Vec<Segment>,
    /// Address of the program headers before the load bias; none if no segment holds them.
    pub phdr: Option<u64>,
    /// How many there are.
    pub phnum: u16,
    /// The largest alignment a segment asks for.
    pub align: u64,
    /// File range of the interpreter's name.
    pub interp: Option<(u64, u64)>,
    /// PT_GNU_STACK asks for an executable stack.
    pub exec_stack: bool,
}

impl Program {
    /// First and last address that the segments take, whole pages, before the load bias.
    pub fn span(&self) -> (u64, u64) {
        let start = self.segments.first().map_or(0, Segment::start);
        let end = self.segments.iter().map(Segment::mem_end).max().unwrap_or(0);
        (start, page_up(end).unwrap_or(TASK_SIZE))
    }
}

/// Checks the ELF header: file range of the program headers. ENOEXEC for what isn't a 64-bit x86 program.
pub fn parse_header(head: &[u8]) -> Result<(Ehdr, u64, usize)> {
    let (ehdr, _) = Ehdr::read_from_prefix(head).map_err(|_| ENOEXEC)?;
    let ident = &ehdr.e_ident;
    let ours = ident[..4] == ELFMAG
        && ident[EI_CLASS] == ELFCLASS64
        && ident[EI_DATA] == ELFDATA2LSB
        && matches!(ehdr.e_type, ET_EXEC | ET_DYN)
        && ehdr.e_machine == EM_X86_64
        && usize::from(ehdr.e_phentsize) == size_of::<Phdr>();
    let size = usize::from(ehdr.e_phnum) * size_of::<Phdr>();
    if !ours || size == 0 || size > MAX_PHDRS_SIZE {
        return Err(ENOEXEC);
    }
    Ok((ehdr, ehdr.e_phoff, size))
}

/// Checks the program headers. ENOEXEC, EINVAL, ENOMEM.
pub fn parse_program(ehdr: &Ehdr, table: &[u8]) -> Result<Program> {
    let mut program = Program {
        dynamic: ehdr.e_type == ET_DYN,
        entry: ehdr.e_entry,
        segments: Vec::new(),
        phdr: None,
        phnum: ehdr.e_phnum,
        align: PAGE_SIZE,
        interp: None,
        exec_stack: false,
    };
    for bytes in table.chunks_exact(size_of::<Phdr>()) {
        let phdr = Phdr::read_from_bytes(bytes).map_err(|_| ENOEXEC)?;
        match phdr.p_type {
            PT_LOAD => program.add_segment(ehdr, &phdr)?,
            PT_INTERP if program.interp.is_none() => {
                // At least one character and its zero.
                if phdr.p_filesz < 2 || phdr.p_filesz > 4096 {
                    return Err(ENOEXEC);
                }
                program.interp = Some((phdr.p_offset, phdr.p_filesz));
            }
            PT_GNU_STACK => program.exec_stack = phdr.p_flags & PF_X != 0,
            _ => {}
        }
    }
    if program.segments.is_empty() {
        return Err(ENOEXEC);
    }
    let (start, end) = program.span();
    if !program.dynamic && start < crate::mm::MMAP_MIN_ADDR {
        return Err(abi::errno::EPERM);
    }
    if end > TASK_SIZE { Err(ENOMEM) } else { Ok(program) }
}

impl Program {
    fn add_segment(&mut self, ehdr: &Ehdr, phdr: &Phdr) -> Result<()> {
        if phdr.p_memsz == 0 {
            return Ok(());
        }
        let in_page = phdr.p_vaddr & (PAGE_SIZE - 1);
        let congruent = phdr.p_offset & (PAGE_SIZE - 1) == in_page;
        let sane = phdr.p_filesz <= phdr.p_memsz
            && phdr.p_vaddr < TASK_SIZE
            && phdr.p_memsz <= TASK_SIZE - phdr.p_vaddr
            && (phdr.p_filesz == 0
                || congruent && phdr.p_offset.checked_add(phdr.p_filesz + PAGE_SIZE).is_some());
        if !sane {
            return Err(EINVAL);
        }
        // Later segments lie above earlier ones; two may not share a byte, though they may share a page.
        if self.segments.last().is_some_and(|last| phdr.p_vaddr < last.mem_end()) {
            return Err(EINVAL);
        }
        let header_end = ehdr.e_phoff.checked_add(u64::from(ehdr.e_phnum) * size_of::<Phdr>() as u64);
        let file_end = phdr.p_offset.saturating_add(phdr.p_filesz);
        if phdr.p_offset <= ehdr.e_phoff && header_end.is_some_and(|end| end <= file_end) {
            self.phdr.get_or_insert(ehdr.e_phoff - phdr.p_offset + phdr.p_vaddr);
        }
        if phdr.p_align.is_power_of_two() && phdr.p_align < TASK_SIZE {
            self.align = self.align.max(phdr.p_align);
        }
        let prot = [(PF_R, PROT_READ), (PF_W, PROT_WRITE), (PF_X, PROT_EXEC)];
        self.segments.push(Segment {
            vaddr: phdr.p_vaddr,
            offset: phdr.p_offset,
            filesz: phdr.p_filesz,
            memsz: phdr.p_memsz,
            prot: prot.iter().filter(|(flag, _)| phdr.p_flags & flag != 0).map(|(_, prot)| prot).sum(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn ehdr(phnum: u16) -> Ehdr {
        let mut ehdr = Ehdr {
            e_type: ET_DYN,
            e_machine: EM_X86_64,
            e_phoff: 64,
            e_phentsize: size_of::<Phdr>() as u16,
            e_phnum: phnum,
            ..Ehdr::default()
        };
        ehdr.e_ident[..4].copy_from_slice(&ELFMAG);
        ehdr.e_ident[EI_CLASS] = ELFCLASS64;
        ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
        ehdr
    }

    fn load(vaddr: u64, offset: u64, filesz: u64, memsz: u64) -> Phdr {
        Phdr {
            p_type: PT_LOAD,
            p_flags: PF_R | PF_X,
            p_vaddr: vaddr,
            p_offset: offset,
            p_filesz: filesz,
            p_memsz: memsz,
            p_align: 0x20_0000,
            ..Phdr::default()
        }
    }

    fn parse(phdrs: &[Phdr]) -> Result<Program> {
        let ehdr = ehdr(phdrs.len() as u16);
        let (ehdr, _, size) = parse_header(ehdr.as_bytes())?;
        assert_eq!(size, size_of_val(phdrs));
        parse_program(&ehdr, phdrs.as_bytes())
    }

    #[test]
    fn a_plain_program() {
        let program = parse(&[load(0, 0, 0x1234, 0x1234), load(0x3800, 0x2800, 0x100, 0x5000)]).unwrap();
        assert_eq!(program.phdr, Some(64));
        assert_eq!(program.align, 0x20_0000);
        assert_eq!(program.span(), (0, 0x9000));
        assert_eq!(program.segments[0].prot, PROT_READ | PROT_EXEC);
        assert!(!program.exec_stack);
    }

    #[test]
    fn claims_that_make_no_sense() {
        assert_eq!(parse(&[]).unwrap_err(), ENOEXEC);
        assert_eq!(parse(&[load(0, 0, 2, 1)]).unwrap_err(), EINVAL);
        assert_eq!(parse(&[load(0x1000, 0x10, 0x100, 0x100)]).unwrap_err(), EINVAL);
        assert_eq!(parse(&[load(0x1000, u64::MAX - 0xfff, 0x1000, 0x1000)]).unwrap_err(), EINVAL);
        assert_eq!(parse(&[load(TASK_SIZE - 0x1000, 0, 0x1000, 0x2000)]).unwrap_err(), EINVAL);
        assert_eq!(parse(&[load(u64::MAX, 0xfff, 1, u64::MAX)]).unwrap_err(), EINVAL);
        assert_eq!(parse(&[load(0x2000, 0, 8, 8), load(0x1000, 0, 8, 8)]).unwrap_err(), EINVAL);
    }

    #[test]
    fn other_machines_are_refused() {
        let mut header = ehdr(1);
        header.e_machine = EM_386;
        assert_eq!(parse_header(header.as_bytes()).unwrap_err(), ENOEXEC);
        assert_eq!(parse_header(b"#!/bin/sh\n").unwrap_err(), ENOEXEC);
    }
}
