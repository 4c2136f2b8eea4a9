//! What /proc/PID shows of an address space: maps, smaps, status, statm, auxv, exe, cmdline.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Result;
use abi::errno::EFAULT;

use super::vma::Totals;
use super::{Backing, Layout, Mm, VmFlags, Vma};
use crate::vfs::{File, Path};

/// One line of /proc/PID/maps.
pub struct VmaInfo {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Properties; MAYSHARE decides between `s` and `p`.
    pub flags: VmFlags,
    /// Offset in the file, bytes.
    pub offset: u64,
    /// Device and inode of the file, or 0.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// The file, whose path is shown.
    pub path: Option<Path>,
    /// What is shown otherwise: `[heap]`, `/dev/zero (deleted)`, or nothing.
    pub name: &'static str,
}

/// VM_* as the two-letter words of smaps' VmFlags line, in Linux's order.
pub const VM_FLAG_NAMES: [(VmFlags, &str); 22] = [
    (VmFlags::READ, "rd"),
    (VmFlags::WRITE, "wr"),
    (VmFlags::EXEC, "ex"),
    (VmFlags::SHARED, "sh"),
    (VmFlags::MAYREAD, "mr"),
    (VmFlags::MAYWRITE, "mw"),
    (VmFlags::MAYEXEC, "me"),
    (VmFlags::MAYSHARE, "ms"),
    (VmFlags::GROWSDOWN, "gd"),
    (VmFlags::LOCKED, "lo"),
    (VmFlags::SEQ_READ, "sr"),
    (VmFlags::RAND_READ, "rr"),
    (VmFlags::DONTCOPY, "dc"),
    (VmFlags::DONTEXPAND, "de"),
    (VmFlags::LOCKONFAULT, "lf"),
    (VmFlags::ACCOUNT, "ac"),
    (VmFlags::NORESERVE, "nr"),
    (VmFlags::WIPEONFORK, "wf"),
    (VmFlags::DONTDUMP, "dd"),
    (VmFlags::HUGEPAGE, "hg"),
    (VmFlags::NOHUGEPAGE, "nh"),
    (VmFlags::MERGEABLE, "mg"),
];

/// Sizes and addresses, in bytes.
pub struct MmStat {
    /// Sums over the VMAs.
    pub totals: Totals,
    /// Resident set.
    pub rss: u64,
    /// Largest sum of sizes seen.
    pub hiwater_vm: u64,
    /// Largest resident set seen.
    pub hiwater_rss: u64,
    /// Addresses.
    pub layout: Layout,
    /// Number of VMAs.
    pub map_count: usize,
}

impl VmaInfo {
    fn of(vma: &Vma, layout: &Layout) -> VmaInfo {
        let mut info = VmaInfo {
            start: vma.start,
            end: vma.end,
            flags: vma.flags,
            offset: 0,
            dev: 0,
            ino: 0,
            path: None,
            name: "",
        };
        match &vma.backing {
            Backing::Anonymous if vma.start < layout.brk && vma.end > layout.start_brk => {
                info.name = "[heap]"
            }
            Backing::Anonymous if vma.start <= layout.start_stack && layout.start_stack < vma.end => {
                info.name = "[stack]";
            }
            Backing::Anonymous => {}
            Backing::SharedAnon(shared) => {
                // Linux keeps these in its internal tmpfs.
                (info.dev, info.ino, info.offset) = (1, shared.ino, vma.offset);
                info.name = "/dev/zero (deleted)";
            }
            Backing::File(mapped) => {
                let inode = mapped.file.inode();
                let dev = inode.getattr().map_or(inode.sb.dev, |a| a.dev);
                (info.dev, info.ino, info.offset) = (dev, inode.ino, vma.offset);
                info.path = Some(mapped.file.path.clone());
            }
            Backing::Shm(attach) => {
                (info.dev, info.ino, info.offset) = (1, attach.id() as u64, vma.offset);
                info.name = "/SYSV (deleted)";
            }
            Backing::Special(name) => info.name = name,
        }
        info
    }
}

impl Mm {
    /// All mappings, in order of address.
    pub fn vmas(&self) -> Vec<VmaInfo> {
        let (vmas, layout) = {
            let inner = self.lock();
            (inner.vmas.clone(), inner.layout)
        };
        // File systems are asked without the lock.
        vmas.iter().map(|v| VmaInfo::of(v, &layout)).collect()
    }

    /// Sizes and addresses.
    pub fn stat(&self) -> MmStat {
        let rss = self.rss();
        let inner = self.lock();
        MmStat {
            totals: inner.vmas.totals(),
            rss,
            hiwater_vm: inner.hiwater_vm,
            hiwater_rss: self.hiwater_rss.load(Ordering::Relaxed),
            layout: inner.layout,
            map_count: inner.vmas.len(),
        }
    }

    /// Resident bytes, as the host counts them.
    pub fn rss(&self) -> u64 {
        let rss = self.space.resident_bytes();
        self.hiwater_rss.fetch_max(rss, Ordering::Relaxed);
        rss
    }

    /// The program.
    pub fn exe_file(&self) -> Option<Arc<File>> {
        self.lock().exe.as_ref().map(|exe| exe.file.clone())
    }

    /// The auxiliary vector.
    pub fn auxv(&self) -> Arc<[u64]> {
        self.lock().auxv.clone()
    }

    /// The command line: /proc/PID/cmdline. Without its last zero a program has made it longer, into its environment.
    pub fn cmdline(&self) -> Vec<u8> {
        let layout = self.lock().layout;
        let mut line = self.read_range(layout.arg_start, layout.arg_end);
        if line.last().is_some_and(|&b| b != 0) {
            line.extend(self.read_range(layout.env_start, layout.env_end));
            let end = line.iter().position(|&b| b == 0).unwrap_or(line.len());
            line.truncate(end);
        }
        line
    }

    /// The environment the program began with: /proc/PID/environ.
    pub fn environ(&self) -> Vec<u8> {
        let layout = self.lock().layout;
        self.read_range(layout.env_start, layout.env_end)
    }

    fn read_range(&self, start: u64, end: u64) -> Vec<u8> {
        // execve(2) allows 6 MiB; prctl(PR_SET_MM) could claim anything.
        let len = end.saturating_sub(start).min(8 << 20);
        let mut bytes = vec![0; len as usize];
        let got = self.read(start, &mut bytes);
        bytes.truncate(got);
        bytes
    }

    /// Object and offset of a shared mapping at `addr`, which name a futex in it; none for private memory. EFAULT.
    pub fn futex_key(&self, addr: u64) -> Result<Option<(u64, u64)>> {
        let inner = self.lock();
        let vma = inner.vmas.find(addr).ok_or(EFAULT)?;
        if !vma.flags.contains(VmFlags::MAYSHARE) {
            return Ok(None);
        }
        let object = match &vma.backing {
            // Inodes are named by their place in the kernel's memory; the others are numbered, with a mark.
            Backing::File(mapped) => Arc::as_ptr(mapped.file.inode()) as u64,
            Backing::SharedAnon(shared) => 1 << 63 | shared.ino,
            Backing::Shm(attach) => 1 << 62 | attach.id() as u64,
            Backing::Anonymous | Backing::Special(_) => return Ok(None),
        };
        Ok(Some((object, vma.offset + (addr - vma.start))))
    }
}
