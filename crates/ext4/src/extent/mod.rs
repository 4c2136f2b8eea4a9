//! Extent trees: lookup, and changing a range at a time. The root is the 60 bytes of the inode's `i_block`; every other
//! node is a block. A node is a header, then entries of 12 bytes sorted by logical block; leaves hold extents, inner
//! nodes hold indexes whose key is exactly the first logical block of the child.
//!
//! All changes come down to [`Tree::splice`]: replace a few entries of one leaf. It makes room first, one split at a
//! time, each of which leaves a valid tree, so that running out of space midway loses nothing. Checksums are the
//! business of `map`'s nodes. No locks: the caller holds the inode's state.

mod edit;
mod node;

use crate::Result;
use crate::nodes::Nodes;
pub use edit::Tree;
use node::*;
pub use node::{check, init_root, tail_offset};

/// The header's magic number.
pub const MAGIC: u16 = 0xf30a;
/// Bytes of the root node.
pub const ROOT_LEN: usize = 60;
/// The deepest tree there can be.
pub const MAX_DEPTH: u16 = 5;
/// The longest written extent; an unwritten one is a block shorter.
pub const MAX_LEN: u32 = 32768;
/// No logical block reaches this.
pub const END: u64 = u32::MAX as u64;

/// A run of mapped blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First logical block.
    pub lblk: u32,
    /// Blocks.
    pub len: u32,
    /// First physical block.
    pub pblk: u64,
    /// Allocated, but reads as zeros.
    pub unwritten: bool,
}

impl Run {
    /// The logical block after the last.
    pub fn end(&self) -> u64 {
        u64::from(self.lblk) + u64::from(self.len)
    }

    /// The part inside `from..to`, which must overlap.
    pub fn clip(&self, from: u64, to: u64) -> Run {
        let start = from.max(u64::from(self.lblk));
        let end = to.min(self.end());
        let skip = start - u64::from(self.lblk);
        Run { lblk: start as u32, len: (end - start) as u32, pblk: self.pblk + skip, ..*self }
    }

    fn max_len(&self) -> u32 {
        MAX_LEN - u32::from(self.unwritten)
    }

    fn precedes(&self, next: &Run) -> bool {
        self.unwritten == next.unwritten
            && self.end() == u64::from(next.lblk)
            && self.pblk + u64::from(self.len) == next.pblk
            && self.len + next.len <= self.max_len()
    }
}

/// What a lookup finds: a run that holds the block, or a hole from the block on, this many blocks long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The whole extent around the block.
    Run(Run),
    /// Nothing from the block asked for up to here (exclusive).
    Hole(u64),
}

/// The depth of a tree, for counting credits.
pub fn tree_depth(root: &[u8; ROOT_LEN]) -> u16 {
    depth(root).min(MAX_DEPTH)
}

/// Extents in the root of a tree without other nodes.
pub fn root_entries(root: &[u8; ROOT_LEN]) -> usize {
    entries(root).min(4)
}

/// One step of a way from the root to a leaf.
#[derive(Clone, Copy, Default)]
struct Step {
    /// The node's block; 0 is the root.
    block: u64,
    /// In an inner node the entry taken; in a leaf how many extents begin at or before the block looked for.
    at: usize,
    entries: usize,
    capacity: usize,
}

/// The way to the leaf responsible for a logical block.
#[derive(Clone, Copy)]
struct Path {
    steps: [Step; MAX_DEPTH as usize + 1],
    depth: usize,
    /// Where the next leaf begins.
    next: u64,
}

impl Path {
    fn leaf(&self) -> Step {
        self.steps[self.depth]
    }
}

/// Looks at a node; `block` 0 is the root.
fn look<N: Nodes, R>(
    root: &[u8; ROOT_LEN],
    nodes: &N,
    block: u64,
    depth_wanted: usize,
    f: impl FnOnce(&[u8]) -> R,
) -> Result<R> {
    let check = |node: &[u8]| {
        (sane(node) && usize::from(depth(node)) == depth_wanted && (entries(node) > 0 || block == 0))
            .then(|| f(node))
    };
    let found = if block == 0 { check(root) } else { nodes.read(block, check)? };
    found.ok_or_else(|| nodes.corrupted(block, "bad extent header"))
}

/// Finds the leaf for `lblk`, and shows it to `f`.
fn walk<N: Nodes, R>(
    root: &[u8; ROOT_LEN],
    nodes: &N,
    lblk: u32,
    f: impl FnOnce(&[u8], &Path) -> R,
) -> Result<R> {
    if !sane(root) || capacity(root) != 4 {
        return Err(nodes.corrupted(0, "bad extent header in the inode"));
    }
    let depth = usize::from(depth(root));
    let mut path = Path { steps: Default::default(), depth, next: END };
    let (mut block, mut start) = (0, None);
    for level in 0..depth {
        let step = look(root, nodes, block, depth - level, |node| {
            if !fits(node, start, path.next) {
                return None;
            }
            let at = upto(node, lblk).saturating_sub(1);
            if at + 1 < entries(node) {
                path.next = path.next.min(u64::from(key(node, at + 1)));
            }
            let step = Step { block, at, entries: entries(node), capacity: capacity(node) };
            Some((step, child(node, at), key(node, at)))
        })?;
        let Some((step, down, key)) = step.filter(|step| step.1 != 0) else {
            return Err(nodes.corrupted(block, "bad extent index"));
        };
        path.steps[level] = step;
        (block, start) = (down, Some(key));
    }
    let found = look(root, nodes, block, 0, |node| {
        if !fits(node, start, path.next) {
            return None;
        }
        path.steps[depth] =
            Step { block, at: upto(node, lblk), entries: entries(node), capacity: capacity(node) };
        Some(f(node, &path))
    })?;
    found.ok_or_else(|| nodes.corrupted(block, "extents outside their index"))
}

/// Whether a node begins where its parent says, and ends before the next one begins.
fn fits(node: &[u8], start: Option<u32>, next: u64) -> bool {
    let Some(last) = entries(node).checked_sub(1) else { return depth(node) == 0 && start.is_none() };
    let end = if depth(node) == 0 { run(node, last).end() } else { u64::from(key(node, last)) + 1 };
    start.is_none_or(|start| start == key(node, 0)) && end <= next
}

/// What is at `lblk`.
pub fn lookup<N: Nodes>(root: &[u8; ROOT_LEN], nodes: &N, lblk: u32) -> Result<Found> {
    walk(root, nodes, lblk, |node, path| {
        let at = path.leaf().at;
        if at > 0 && run(node, at - 1).end() > u64::from(lblk) {
            Found::Run(run(node, at - 1))
        } else if at < entries(node) {
            Found::Hole(u64::from(key(node, at)))
        } else {
            Found::Hole(path.next)
        }
    })
}

/// How many leaves hold what is at `from` or after it, and how many runs begin in `from..to`. Reads all these leaves.
pub fn weigh<N: Nodes>(root: &[u8; ROOT_LEN], nodes: &N, from: u32, to: u64) -> Result<(usize, usize)> {
    let (mut leaves, mut runs) = (0, 0);
    let mut at = u64::from(from);
    while at < END {
        at = walk(root, nodes, at as u32, |node, path| {
            let first = if leaves == 0 { upto(node, from).saturating_sub(1) } else { 0 };
            runs += (first..entries(node)).take_while(|&index| u64::from(key(node, index)) < to).count();
            path.next
        })?;
        leaves += 1;
    }
    Ok((leaves, runs))
}

/// The last run that begins before `limit`.
pub fn last_before<N: Nodes>(root: &[u8; ROOT_LEN], nodes: &N, limit: u64) -> Result<Option<Run>> {
    let Some(target) = limit.min(END).checked_sub(1) else { return Ok(None) };
    walk(root, nodes, target as u32, |node, path| {
        let at = path.leaf().at;
        (at > 0).then(|| run(node, at - 1))
    })
}

#[cfg(test)]
mod tests;
