//! The bytes of one node: header, entries, and whether they make sense.

use super::{END, MAGIC, MAX_DEPTH, MAX_LEN, ROOT_LEN, Run};

/// Bytes of a header, of an extent and of an index.
pub(super) const ENTRY: usize = 12;

fn get16(node: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([node[at], node[at + 1]])
}

pub(super) fn get32(node: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([node[at], node[at + 1], node[at + 2], node[at + 3]])
}

pub(super) fn put16(node: &mut [u8], at: usize, value: u16) {
    node[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put32(node: &mut [u8], at: usize, value: u32) {
    node[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn entries(node: &[u8]) -> usize {
    usize::from(get16(node, 2))
}

pub(super) fn capacity(node: &[u8]) -> usize {
    usize::from(get16(node, 4))
}

pub(super) fn depth(node: &[u8]) -> u16 {
    get16(node, 6)
}

pub(super) fn set_entries(node: &mut [u8], count: usize) {
    put16(node, 2, count as u16);
}

/// Where the checksum of a (non-root) node is: behind the last possible entry.
pub fn tail_offset(node: &[u8]) -> usize {
    ENTRY * (1 + capacity(node))
}

pub(super) fn init(node: &mut [u8], depth: u16) {
    put16(node, 0, MAGIC);
    put16(node, 2, 0);
    put16(node, 4, (node.len() / ENTRY - 1) as u16);
    put16(node, 6, depth);
    put32(node, 8, 0);
}

/// Makes `root` the root of an empty tree.
pub fn init_root(root: &mut [u8; ROOT_LEN]) {
    root.fill(0);
    init(root, 0);
}

/// The logical block where entry `index` begins.
pub(super) fn key(node: &[u8], index: usize) -> u32 {
    get32(node, ENTRY * (1 + index))
}

pub(super) fn set_key(node: &mut [u8], index: usize, key: u32) {
    put32(node, ENTRY * (1 + index), key);
}

pub(super) fn run(node: &[u8], index: usize) -> Run {
    let at = ENTRY * (1 + index);
    let len = u32::from(get16(node, at + 4));
    let pblk = u64::from(get32(node, at + 8)) | u64::from(get16(node, at + 6)) << 32;
    let unwritten = len > MAX_LEN;
    Run { lblk: get32(node, at), len: if unwritten { len - MAX_LEN } else { len }, pblk, unwritten }
}

pub(super) fn set_run(node: &mut [u8], index: usize, run: &Run) {
    let at = ENTRY * (1 + index);
    put32(node, at, run.lblk);
    put16(node, at + 4, (run.len + if run.unwritten { MAX_LEN } else { 0 }) as u16);
    put16(node, at + 6, (run.pblk >> 32) as u16);
    put32(node, at + 8, run.pblk as u32);
}

pub(super) fn child(node: &[u8], index: usize) -> u64 {
    let at = ENTRY * (1 + index);
    u64::from(get32(node, at + 4)) | u64::from(get16(node, at + 8)) << 32
}

pub(super) fn set_child(node: &mut [u8], index: usize, key: u32, child: u64) {
    let at = ENTRY * (1 + index);
    put32(node, at, key);
    put32(node, at + 4, child as u32);
    put16(node, at + 8, (child >> 32) as u16);
    put16(node, at + 10, 0);
}

/// Replaces entries `from..to` by room for `count`; the caller fills it.
pub(super) fn make_room(node: &mut [u8], from: usize, to: usize, count: usize) {
    let had = entries(node);
    node.copy_within(ENTRY * (1 + to)..ENTRY * (1 + had), ENTRY * (1 + from + count));
    set_entries(node, had - (to - from) + count);
}

/// How many entries begin at or before `lblk`.
pub(super) fn upto(node: &[u8], lblk: u32) -> usize {
    let (mut low, mut high) = (0, entries(node));
    while low < high {
        let mid = (low + high) / 2;
        if key(node, mid) <= lblk { low = mid + 1 } else { high = mid }
    }
    low
}

/// Whether a header can be trusted for walking.
pub(super) fn sane(node: &[u8]) -> bool {
    get16(node, 0) == MAGIC
        && entries(node) <= capacity(node)
        && capacity(node) < node.len() / ENTRY
        && capacity(node) >= 2
        && depth(node) <= MAX_DEPTH
}

/// Checks a node as it comes from the device: header, order, no overlap, physical blocks inside the file system
/// (`first..end`). Says what is wrong.
pub fn check(node: &[u8], first: u64, end: u64) -> Result<(), &'static str> {
    if !sane(node) {
        return Err("bad extent header");
    }
    let mut next = 0u64;
    for index in 0..entries(node) {
        let (lblk, pblk, len);
        if depth(node) == 0 {
            let run = run(node, index);
            (lblk, pblk, len) = (run.lblk, run.pblk, run.len);
            if run.len == 0 {
                return Err("extent of no length");
            }
        } else {
            (lblk, pblk, len) = (key(node, index), child(node, index), 1);
        }
        if u64::from(lblk) < next || u64::from(lblk) + u64::from(len) > END {
            return Err("extents out of order");
        }
        if pblk < first || pblk.checked_add(u64::from(len)).is_none_or(|past| past > end) {
            return Err("extent outside the file system");
        }
        next = u64::from(lblk) + u64::from(len);
    }
    Ok(())
}
