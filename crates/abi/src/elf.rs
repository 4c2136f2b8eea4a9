//! ELF files as execve(2) and core dumps see them, and the auxiliary vector (getauxval(3)).

uapi! {
    /// `Elf64_Ehdr`.
    pub struct Ehdr {
        pub e_ident: [u8; 16],
        pub e_type: u16,
        pub e_machine: u16,
        pub e_version: u32,
        pub e_entry: u64,
        pub e_phoff: u64,
        pub e_shoff: u64,
        pub e_flags: u32,
        pub e_ehsize: u16,
        pub e_phentsize: u16,
        pub e_phnum: u16,
        pub e_shentsize: u16,
        pub e_shnum: u16,
        pub e_shstrndx: u16,
    }

    /// `Elf64_Phdr`.
    pub struct Phdr {
        pub p_type: u32,
        pub p_flags: u32,
        pub p_offset: u64,
        pub p_vaddr: u64,
        pub p_paddr: u64,
        pub p_filesz: u64,
        pub p_memsz: u64,
        pub p_align: u64,
    }

    /// `Elf64_Shdr`.
    pub struct Shdr {
        pub sh_name: u32,
        pub sh_type: u32,
        pub sh_flags: u64,
        pub sh_addr: u64,
        pub sh_offset: u64,
        pub sh_size: u64,
        pub sh_link: u32,
        pub sh_info: u32,
        pub sh_addralign: u64,
        pub sh_entsize: u64,
    }

    /// `Elf64_Sym`.
    pub struct Sym {
        pub st_name: u32,
        pub st_info: u8,
        pub st_other: u8,
        pub st_shndx: u16,
        pub st_value: u64,
        pub st_size: u64,
    }

    /// `Elf64_Dyn`.
    pub struct Dyn {
        pub d_tag: i64,
        pub d_val: u64,
    }

    /// `Elf64_Nhdr`; name and descriptor follow, each padded to 4 bytes.
    pub struct Nhdr {
        pub n_namesz: u32,
        pub n_descsz: u32,
        pub n_type: u32,
    }

    /// `Elf32_Ehdr`.
    pub struct Ehdr32 {
        pub e_ident: [u8; 16],
        pub e_type: u16,
        pub e_machine: u16,
        pub e_version: u32,
        pub e_entry: u32,
        pub e_phoff: u32,
        pub e_shoff: u32,
        pub e_flags: u32,
        pub e_ehsize: u16,
        pub e_phentsize: u16,
        pub e_phnum: u16,
        pub e_shentsize: u16,
        pub e_shnum: u16,
        pub e_shstrndx: u16,
    }

    /// `Elf32_Phdr`.
    pub struct Phdr32 {
        pub p_type: u32,
        pub p_offset: u32,
        pub p_vaddr: u32,
        pub p_paddr: u32,
        pub p_filesz: u32,
        pub p_memsz: u32,
        pub p_flags: u32,
        pub p_align: u32,
    }
}

/// The first four bytes of an ELF file.
pub const ELFMAG: [u8; 4] = *b"\x7fELF";

// Indexes of e_ident
consts! { usize;
    EI_CLASS = 4,
    EI_DATA = 5,
    EI_VERSION = 6,
    EI_OSABI = 7,
}
consts! { u8;
    ELFCLASS32 = 1,
    ELFCLASS64 = 2,
    ELFDATA2LSB = 1,
    ELFOSABI_NONE = 0,
}
consts! { u16;
    ET_REL = 1,
    ET_EXEC = 2,
    ET_DYN = 3,
    ET_CORE = 4,
    EM_386 = 3,
    EM_X86_64 = 62,
    PN_XNUM = 0xffff,
}
consts! { u32;
    EV_CURRENT = 1,
    PT_NULL = 0,
    PT_LOAD = 1,
    PT_DYNAMIC = 2,
    PT_INTERP = 3,
    PT_NOTE = 4,
    PT_SHLIB = 5,
    PT_PHDR = 6,
    PT_TLS = 7,
    PT_GNU_EH_FRAME = 0x6474_e550,
    PT_GNU_STACK = 0x6474_e551,
    PT_GNU_RELRO = 0x6474_e552,
    PT_GNU_PROPERTY = 0x6474_e553,
    PF_X = 1,
    PF_W = 2,
    PF_R = 4,
    SHT_NULL = 0,
    SHT_PROGBITS = 1,
    SHT_SYMTAB = 2,
    SHT_STRTAB = 3,
    SHT_NOTE = 7,
    SHT_NOBITS = 8,
    SHT_DYNSYM = 11,
    NT_PRSTATUS = 1,
    NT_PRFPREG = 2,
    NT_PRPSINFO = 3,
    NT_AUXV = 6,
    NT_X86_XSTATE = 0x202,
    NT_SIGINFO = 0x5349_4749,
    NT_FILE = 0x4649_4c45,
}

// Auxiliary vector: pairs of u64, AT_NULL last
consts! { u64;
    AT_NULL = 0,
    AT_IGNORE = 1,
    AT_EXECFD = 2,
    AT_PHDR = 3,
    AT_PHENT = 4,
    AT_PHNUM = 5,
    AT_PAGESZ = 6,
    AT_BASE = 7,
    AT_FLAGS = 8,
    AT_ENTRY = 9,
    AT_NOTELF = 10,
    AT_UID = 11,
    AT_EUID = 12,
    AT_GID = 13,
    AT_EGID = 14,
    AT_PLATFORM = 15,
    AT_HWCAP = 16,
    AT_CLKTCK = 17,
    AT_SECURE = 23,
    AT_BASE_PLATFORM = 24,
    AT_RANDOM = 25,
    AT_HWCAP2 = 26,
    AT_RSEQ_FEATURE_SIZE = 27,
    AT_RSEQ_ALIGN = 28,
    AT_HWCAP3 = 29,
    AT_HWCAP4 = 30,
    AT_EXECFN = 31,
    AT_SYSINFO = 32,
    AT_SYSINFO_EHDR = 33,
    AT_MINSIGSTKSZ = 51,
}

/// Bytes of one argument or environment string of execve(2).
pub const MAX_ARG_STRLEN: usize = 131072;
/// Bytes of a `#!` line that count.
pub const BINPRM_BUF_SIZE: usize = 256;
