//! /proc/PID/maps, smaps and smaps_rollup.
//!
//! Which pages are in memory is the host's to say: its own smaps of the stub process is read, and each of its mappings
//! is counted to the guest's that it begins in.

use abi::Result;
use abi::stat::{major, minor};

use super::super::{Text, put};
use super::Who;
use crate::mm::{Mm, VM_FLAG_NAMES, VmFlags, VmaInfo};
use crate::task::current;
use crate::vfs::Path;
use crate::vfs::namei::d_path;

/// /proc/PID/maps
pub(super) fn maps(who: &Who) -> Result<Vec<u8>> {
    who.accessible()?;
    let Some(mm) = who.mm()? else { return Ok(Vec::new()) };
    let root = current().fs().root();
    let mut out = Text::default();
    for vma in mm.vmas() {
        head(&mut out, &vma, &root);
    }
    Ok(out.0)
}

/// One line: addresses, permissions, offset, device, inode, and the name from column 74 on.
fn head(out: &mut Text, vma: &VmaInfo, root: &Path) {
    let start = out.0.len();
    let flag = |flag: VmFlags, letter: char| if vma.flags.contains(flag) { letter } else { '-' };
    let perms = [flag(VmFlags::READ, 'r'), flag(VmFlags::WRITE, 'w'), flag(VmFlags::EXEC, 'x')];
    let shared = if vma.flags.contains(VmFlags::MAYSHARE) { 's' } else { 'p' };
    put!(out, "{:08x}-{:08x} {}{shared}", vma.start, vma.end, perms.iter().collect::<String>());
    put!(out, " {:08x} {:02x}:{:02x} {} ", vma.offset, major(vma.dev), minor(vma.dev), vma.ino);
    let pad = 73usize.saturating_sub(out.0.len() - start);
    match &vma.path {
        Some(path) => {
            out.0.resize(out.0.len() + pad, b' ');
            out.escaped(&d_path(path, root), b"\n");
        }
        None if !vma.name.is_empty() => {
            out.0.resize(out.0.len() + pad, b' ');
            out.bytes(vma.name.as_bytes());
        }
        None => {}
    }
    out.bytes(b"\n");
}

/// Names of the sizes that smaps shows, in its order, after Size and the two page sizes.
const SIZES: [&str; 22] = [
    "Rss",
    "Pss",
    "Pss_Dirty",
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
    "KSM",
    "LazyFree",
    "AnonHugePages",
    "ShmemPmdMapped",
    "FilePmdMapped",
    "Shared_Hugetlb",
    "Private_Hugetlb",
    "Swap",
    "SwapPss",
    "Locked",
    "Pss_Anon",
    "Pss_File",
    "Pss_Shmem",
];
/// How many of them a single mapping shows; a rollup has the others as well.
const OF_ONE: usize = 19;

type Sizes = [u64; SIZES.len()];

/// /proc/PID/smaps
pub(super) fn smaps(who: &Who) -> Result<Vec<u8>> {
    who.accessible()?;
    let Some(mm) = who.mm()? else { return Ok(Vec::new()) };
    let root = current().fs().root();
    let mut out = Text::default();
    for (vma, sizes) in measured(&mm) {
        head(&mut out, &vma, &root);
        put!(out, "Size:           {:8} kB\n", (vma.end - vma.start) >> 10);
        out.bytes(b"KernelPageSize:        4 kB\nMMUPageSize:           4 kB\n");
        for (name, size) in SIZES.iter().zip(sizes).take(OF_ONE) {
            put!(out, "{:16}{size:8} kB\n", format!("{name}:"));
        }
        out.bytes(b"THPeligible:           0\nVmFlags: ");
        for (_, name) in VM_FLAG_NAMES.iter().filter(|(flag, _)| vma.flags.contains(*flag)) {
            put!(out, "{name} ");
        }
        out.bytes(b"\n");
    }
    Ok(out.0)
}

/// /proc/PID/smaps_rollup
pub(super) fn smaps_rollup(who: &Who) -> Result<Vec<u8>> {
    who.accessible()?;
    let Some(mm) = who.mm()? else { return Ok(Vec::new()) };
    let all = measured(&mm);
    let (start, end) = (all.first().map_or(0, |v| v.0.start), all.last().map_or(0, |v| v.0.end));
    let sums = all.iter().fold([0; SIZES.len()], add);
    let mut out = Text::default();
    put!(out, "{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    out.0.resize(73, b' ');
    out.bytes(b"[rollup]\n");
    // The parts of Pss come right after its dirty part here.
    let order = (0..3).chain(19..22).chain(3..OF_ONE);
    for i in order {
        put!(out, "{:16}{:8} kB\n", format!("{}:", SIZES[i]), sums[i]);
    }
    Ok(out.0)
}

fn add(sum: Sizes, (_, sizes): &(VmaInfo, Sizes)) -> Sizes {
    core::array::from_fn(|i| sum[i] + sizes[i])
}

/// The mappings with their sizes in KiB.
fn measured(mm: &Mm) -> Vec<(VmaInfo, Sizes)> {
    let host = mm.space.host_smaps().map_or(Vec::new(), |text| parse(&text));
    let mut host = host.into_iter().peekable();
    let measure = |vma: VmaInfo| {
        let mut sizes = [0; SIZES.len()];
        while let Some((start, one)) = host.next_if(|(start, _)| *start < vma.end) {
            if start >= vma.start {
                sizes = core::array::from_fn(|i| sizes[i] + one[i]);
            }
        }
        let file = usize::from(vma.path.is_some());
        // Proportional sizes of a whole mapping: all anonymous or all of a file.
        sizes[19 + file] = sizes[1];
        (vma, sizes)
    };
    mm.vmas().into_iter().map(measure).collect()
}

/// First addresses and sizes of the mappings in a text like smaps.
fn parse(text: &str) -> Vec<(u64, Sizes)> {
    let mut all: Vec<(u64, Sizes)> = Vec::new();
    for line in text.lines() {
        let Some((word, rest)) = line.split_once(' ') else { continue };
        if let Some(name) = word.strip_suffix(':') {
            let Some(i) = SIZES.iter().position(|n| *n == name) else { continue };
            let kib = rest.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            if let Some((_, sizes)) = all.last_mut() {
                sizes[i] = kib;
            }
        } else if let Some((start, _)) = word.split_once('-')
            && let Ok(start) = u64::from_str_radix(start, 16)
        {
            all.push((start, [0; SIZES.len()]));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_host_are_read() {
        let text = "7f00-8f00 rw-p 00000000 00:00 0 \nSize:                 64 kB\nRss:                  12 kB\n\
                    Pss:                   6 kB\nVmFlags: rd wr\n9000-a000 r--s 00000000 00:01 7    /memfd:x y (deleted)\n\
                    Rss:                   4 kB\n";
        let all = parse(text);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].0, all[0].1[0], all[0].1[1]), (0x7f00, 12, 6));
        assert_eq!((all[1].0, all[1].1[0]), (0x9000, 4));
    }
}
