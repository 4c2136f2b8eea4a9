//! Extent trees: lookup, and changing a range at a time. The root is the 60 bytes of the inode's `i_block`; every other
//! node is a block. A node is a header, then entries of 12 bytes sorted by logical block; leaves hold extents, inner
//! nodes hold indexes whose key is exactly the first logical block of the child.
//!
//! All changes come down to [`Tree::splice`]: replace a few entries of one leaf. It makes room first, one split at a
//! time, each of which leaves a valid tree, so that running out of space midway loses nothing. Checksums are the
//! business of `map`'s nodes. No locks: the caller holds the inode's state.

use crate::Result;
use crate::nodes::{Nodes, NodesMut};
use abi::errno::EFBIG;

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

const ENTRY: usize = 12;

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

fn get16(node: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([node[at], node[at + 1]])
}

fn get32(node: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([node[at], node[at + 1], node[at + 2], node[at + 3]])
}

fn put16(node: &mut [u8], at: usize, value: u16) {
    node[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put32(node: &mut [u8], at: usize, value: u32) {
    node[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn entries(node: &[u8]) -> usize {
    usize::from(get16(node, 2))
}

fn capacity(node: &[u8]) -> usize {
    usize::from(get16(node, 4))
}

fn depth(node: &[u8]) -> u16 {
    get16(node, 6)
}

fn set_entries(node: &mut [u8], count: usize) {
    put16(node, 2, count as u16);
}

/// Where the checksum of a (non-root) node is: behind the last possible entry.
pub fn tail_offset(node: &[u8]) -> usize {
    ENTRY * (1 + capacity(node))
}

fn init(node: &mut [u8], depth: u16) {
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
fn key(node: &[u8], index: usize) -> u32 {
    get32(node, ENTRY * (1 + index))
}

fn set_key(node: &mut [u8], index: usize, key: u32) {
    put32(node, ENTRY * (1 + index), key);
}

fn run(node: &[u8], index: usize) -> Run {
    let at = ENTRY * (1 + index);
    let len = u32::from(get16(node, at + 4));
    let pblk = u64::from(get32(node, at + 8)) | u64::from(get16(node, at + 6)) << 32;
    let unwritten = len > MAX_LEN;
    Run { lblk: get32(node, at), len: if unwritten { len - MAX_LEN } else { len }, pblk, unwritten }
}

fn set_run(node: &mut [u8], index: usize, run: &Run) {
    let at = ENTRY * (1 + index);
    put32(node, at, run.lblk);
    put16(node, at + 4, (run.len + if run.unwritten { MAX_LEN } else { 0 }) as u16);
    put16(node, at + 6, (run.pblk >> 32) as u16);
    put32(node, at + 8, run.pblk as u32);
}

fn child(node: &[u8], index: usize) -> u64 {
    let at = ENTRY * (1 + index);
    u64::from(get32(node, at + 4)) | u64::from(get16(node, at + 8)) << 32
}

fn set_child(node: &mut [u8], index: usize, key: u32, child: u64) {
    let at = ENTRY * (1 + index);
    put32(node, at, key);
    put32(node, at + 4, child as u32);
    put16(node, at + 8, (child >> 32) as u16);
    put16(node, at + 10, 0);
}

/// Replaces entries `from..to` by room for `count`; the caller fills it.
fn make_room(node: &mut [u8], from: usize, to: usize, count: usize) {
    let had = entries(node);
    node.copy_within(ENTRY * (1 + to)..ENTRY * (1 + had), ENTRY * (1 + from + count));
    set_entries(node, had - (to - from) + count);
}

/// How many entries begin at or before `lblk`.
fn upto(node: &[u8], lblk: u32) -> usize {
    let (mut low, mut high) = (0, entries(node));
    while low < high {
        let mid = (low + high) / 2;
        if key(node, mid) <= lblk { low = mid + 1 } else { high = mid }
    }
    low
}

/// Whether a header can be trusted for walking.
fn sane(node: &[u8]) -> bool {
    get16(node, 0) == MAGIC
        && entries(node) <= capacity(node)
        && capacity(node) < node.len() / ENTRY
        && capacity(node) >= 2
        && depth(node) <= MAX_DEPTH
}

/// Checks a node as it comes from the device: header, order, no overlap, physical blocks inside the file system
/// (`first..end`). Says what is wrong.
pub fn check(node: &[u8], first: u64, end: u64) -> core::result::Result<(), &'static str> {
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

/// The last run that begins before `limit`.
pub fn last_before<N: Nodes>(root: &[u8; ROOT_LEN], nodes: &N, limit: u64) -> Result<Option<Run>> {
    let Some(target) = limit.min(END).checked_sub(1) else { return Ok(None) };
    walk(root, nodes, target as u32, |node, path| {
        let at = path.leaf().at;
        (at > 0).then(|| run(node, at - 1))
    })
}

/// A tree being changed.
pub struct Tree<'a, N> {
    /// The inode's `i_block`.
    pub root: &'a mut [u8; ROOT_LEN],
    /// Its blocks.
    pub nodes: &'a mut N,
}

impl<N: NodesMut> Tree<'_, N> {
    fn edit<R>(&mut self, block: u64, f: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        if block == 0 { Ok(f(&mut self.root[..])) } else { self.nodes.modify(block, f) }
    }

    /// Maps `new`, whatever was there; at most to the end of its leaf. Returns the blocks done (≥ 1). The runs that
    /// were there before, clipped, go to `old`.
    pub fn set(&mut self, new: Run, old: &mut Vec<Run>) -> Result<u32> {
        self.replace(new.lblk, new.end(), Some(new), usize::MAX, old)
    }

    /// Marks the run of mapped blocks from `lblk`, at most `len` of them, as written or not. Returns the blocks done.
    pub fn convert(&mut self, lblk: u32, len: u32, unwritten: bool) -> Result<u32> {
        let Found::Run(found) = lookup(self.root, self.nodes, lblk)? else {
            return Err(self.nodes.corrupted(0, "conversion of a hole"));
        };
        let part = found.clip(u64::from(lblk), u64::from(lblk) + u64::from(len));
        if part.unwritten != unwritten {
            self.set(Run { unwritten, ..part }, &mut Vec::new())?;
        }
        Ok(part.len)
    }

    /// Unmaps at most `limit` runs of `from..to`, the last ones first and all in one leaf. They go to `old`, clipped.
    /// Whether there may be more.
    pub fn remove(&mut self, from: u64, to: u64, limit: usize, old: &mut Vec<Run>) -> Result<bool> {
        let Some(last) = last_before(self.root, self.nodes, to)? else { return Ok(false) };
        if last.end() <= from {
            return Ok(false);
        }
        // The leaf of the last run, from its first extent on.
        let first = walk(self.root, self.nodes, last.lblk, |node, path| {
            let at = path.leaf().at;
            let mut first = at.checked_sub(1)?;
            while first > 0 && at - first < limit && run(node, first - 1).end() > from {
                first -= 1;
            }
            Some(run(node, first))
        })?;
        let Some(first) = first else { return Err(self.nodes.corrupted(0, "extents out of order")) };
        let start = from.max(u64::from(first.lblk));
        self.replace(start as u32, to.min(last.end()), None, limit, old)?;
        Ok(start > from)
    }

    /// Cuts the run across `lblk`, if there is one, so that a run begins there.
    pub fn cut(&mut self, lblk: u32) -> Result<()> {
        loop {
            let from = u64::from(lblk);
            let Some((path, at, whole)) = walk(self.root, self.nodes, lblk, |node, path| {
                let at = path.leaf().at.checked_sub(1)?;
                let whole = run(node, at);
                (u64::from(whole.lblk) < from && whole.end() > from).then_some((*path, at, whole))
            })?
            else {
                return Ok(());
            };
            if path.leaf().entries < path.leaf().capacity {
                let halves = [Some(whole.clip(0, from)), Some(whole.clip(from, END))];
                return self.splice(&path, at, at + 1, &halves);
            }
            self.split(&path, false)?;
        }
    }

    fn replace(
        &mut self,
        lblk: u32,
        to: u64,
        new: Option<Run>,
        limit: usize,
        old: &mut Vec<Run>,
    ) -> Result<u32> {
        loop {
            let from = u64::from(lblk);
            // At most: rest of the first, the new one, rest of the last; or a neighbour merged into them.
            let mut fill = [None::<Run>; 3];
            let mut gone = 0;
            let (path, first, past, end) = walk(self.root, self.nodes, lblk, |node, path| {
                let mut first = path.leaf().at;
                if first > 0 && run(node, first - 1).end() > from {
                    first -= 1;
                }
                let mut end = to.min(path.next);
                let mut past = first;
                while past < entries(node) && u64::from(key(node, past)) < end && past - first < limit {
                    let part = run(node, past);
                    old.push(part.clip(from, end));
                    gone += 1;
                    past += 1;
                }
                if past - first == limit && past > first {
                    end = end.min(run(node, past - 1).end());
                }
                let mut middle = new.map(|new| new.clip(from, end));
                if past > first {
                    let (head, tail) = (run(node, first), run(node, past - 1));
                    if u64::from(head.lblk) < from {
                        fill[0] = Some(head.clip(0, from));
                    }
                    if tail.end() > end {
                        fill[2] = Some(tail.clip(end, u64::MAX));
                    }
                }
                if let Some(middle) = &mut middle {
                    if fill[0].is_none() && first > 0 && run(node, first - 1).precedes(middle) {
                        first -= 1;
                        fill[0] = Some(run(node, first));
                    }
                    if fill[2].is_none() && past < entries(node) && middle.precedes(&run(node, past)) {
                        fill[2] = Some(run(node, past));
                        past += 1;
                    }
                    if let Some(before) = fill[0].filter(|before| before.precedes(middle)) {
                        *middle = Run { len: before.len + middle.len, ..before };
                        fill[0] = None;
                    }
                    if let Some(after) = fill[2].filter(|after| middle.precedes(after)) {
                        middle.len += after.len;
                        fill[2] = None;
                    }
                }
                fill[1] = middle;
                (*path, first, past, end)
            })?;
            let count = fill.iter().flatten().count();
            let leaf = path.leaf();
            if leaf.entries - (past - first) + count > leaf.capacity {
                old.truncate(old.len() - gone);
                self.split(&path, past == leaf.entries)?;
                continue;
            }
            self.splice(&path, first, past, &fill)?;
            return Ok((end - from) as u32);
        }
    }

    /// Replaces entries `first..past` of the path's leaf, which has room for `fill`.
    fn splice(&mut self, path: &Path, first: usize, past: usize, fill: &[Option<Run>]) -> Result<()> {
        let leaf = path.leaf();
        let count = fill.iter().flatten().count();
        let left = leaf.entries - (past - first) + count;
        if left == 0 && path.depth > 0 {
            return self.drop_node(path, path.depth);
        }
        let start = self.edit(leaf.block, |node| {
            make_room(node, first, past, count);
            for (index, run) in fill.iter().flatten().enumerate() {
                set_run(node, first + index, run);
            }
            key(node, 0)
        })?;
        if first == 0 && path.depth > 0 {
            self.rekey(path, path.depth, start)?;
        }
        if past - first > count { self.shrink() } else { Ok(()) }
    }

    /// The node at `level` begins at `start` now: says so in the indexes above.
    fn rekey(&mut self, path: &Path, level: usize, start: u32) -> Result<()> {
        for step in path.steps[..level].iter().rev() {
            let same = self.edit_if(
                step.block,
                |node| key(node, step.at) != start,
                |node| {
                    set_key(node, step.at, start);
                },
            )?;
            if same || step.at > 0 {
                break;
            }
        }
        Ok(())
    }

    /// Edits a node where `wanted` says so; whether it was left alone.
    fn edit_if(
        &mut self,
        block: u64,
        wanted: impl FnOnce(&[u8]) -> bool,
        f: impl FnOnce(&mut [u8]),
    ) -> Result<bool> {
        let wanted = if block == 0 { wanted(&self.root[..]) } else { self.nodes.read(block, wanted)? };
        if wanted {
            self.edit(block, f)?;
        }
        Ok(!wanted)
    }

    /// Takes the node at `level` (not the root), which is to be empty, out of its parent, and frees it.
    fn drop_node(&mut self, path: &Path, mut level: usize) -> Result<()> {
        loop {
            self.nodes.free(path.steps[level].block)?;
            level -= 1;
            let step = path.steps[level];
            if step.entries > 1 {
                let start = self.edit(step.block, |node| {
                    make_room(node, step.at, step.at + 1, 0);
                    key(node, 0)
                })?;
                if step.at == 0 {
                    self.rekey(path, level, start)?;
                }
                return self.shrink();
            }
            if level == 0 {
                init_root(self.root);
                return Ok(());
            }
        }
    }

    /// Pulls the root's only child up into it, as long as it fits.
    fn shrink(&mut self) -> Result<()> {
        while depth(&self.root[..]) > 0 && entries(&self.root[..]) == 1 {
            let (only, level) = (child(&self.root[..], 0), depth(&self.root[..]) - 1);
            let mut root = [0; ROOT_LEN];
            init(&mut root, level);
            let room = capacity(&root);
            let fits = self.nodes.read(only, |node| {
                let count = entries(node);
                if count > room || depth(node) != level || !sane(node) {
                    return false;
                }
                root[ENTRY..ENTRY * (1 + count)].copy_from_slice(&node[ENTRY..ENTRY * (1 + count)]);
                set_entries(&mut root, count);
                true
            })?;
            if !fits {
                break;
            }
            *self.root = root;
            self.nodes.free(only)?;
        }
        Ok(())
    }

    /// Makes room in the path's leaf or above it: one step, after which the caller walks anew. `append`: what comes
    /// goes behind the leaf's last entry, so nearly everything stays in the left half.
    fn split(&mut self, path: &Path, append: bool) -> Result<()> {
        // The lowest full node whose parent has room is the one that splits.
        let mut level = path.depth;
        while level > 0 && path.steps[level - 1].entries == path.steps[level - 1].capacity {
            level -= 1;
        }
        if level == 0 {
            return self.grow();
        }
        let (full, parent) = (path.steps[level], path.steps[level - 1]);
        let append = append && path.steps[level..path.depth].iter().all(|step| step.at + 1 == step.entries);
        let keep = if append { full.entries - 1 } else { full.entries / 2 };
        let moved = full.entries - keep;
        let level_depth = (path.depth - level) as u16;
        let mut half = vec![0; ENTRY * moved];
        self.nodes
            .read(full.block, |node| half.copy_from_slice(&node[ENTRY * (1 + keep)..][..ENTRY * moved]))?;
        let start = get32(&half, 0);
        let right = self.nodes.create(full.block, |node| {
            let usable = node.len() - node.len() % ENTRY;
            init(&mut node[..usable], level_depth);
            set_entries(node, moved);
            node[ENTRY..ENTRY + half.len()].copy_from_slice(&half);
        })?;
        self.edit(parent.block, |node| {
            make_room(node, parent.at + 1, parent.at + 1, 1);
            set_child(node, parent.at + 1, start, right);
        })?;
        self.edit(full.block, |node| set_entries(node, keep))
    }

    /// Moves the root's entries to a block of their own: the tree is a level deeper.
    fn grow(&mut self) -> Result<()> {
        let level = depth(&self.root[..]);
        if level >= MAX_DEPTH {
            return Err(EFBIG);
        }
        let root = *self.root;
        let goal = if level == 0 { run(&root, 0).pblk } else { child(&root, 0) };
        let block = self.nodes.create(goal, |node| {
            let usable = node.len() - node.len() % ENTRY;
            init(&mut node[..usable], level);
            set_entries(node, entries(&root));
            node[ENTRY..ROOT_LEN].copy_from_slice(&root[ENTRY..]);
        })?;
        let start = key(&root, 0);
        init_root(self.root);
        put16(&mut self.root[..], 6, level + 1);
        set_entries(&mut self.root[..], 1);
        set_child(&mut self.root[..], 0, start, block);
        Ok(())
    }

    /// Moves the extents of one leaf that begin at or after `from` by `by` logical blocks down. The caller made the
    /// gap and goes up from leaf to leaf. Returns where the next leaf begins (`END`: no more).
    pub fn shift_down(&mut self, from: u32, by: u32) -> Result<u64> {
        let (path, past) = walk(self.root, self.nodes, from, |node, path| {
            let at = path.leaf().at;
            // An extent that begins exactly there moves too.
            (*path, if at > 0 && key(node, at - 1) == from { at - 1 } else { at })
        })?;
        self.shift(&path, past, |key| key.wrapping_sub(by))?;
        Ok(path.next)
    }

    /// Moves the extents of one leaf that begin in `from..before` by `by` logical blocks up; the caller comes down from
    /// the last leaf. Returns where the leaf began, as the `before` of the next call, or none when all is done.
    pub fn shift_up(&mut self, from: u32, before: u64, by: u32) -> Result<Option<u64>> {
        let Some(last) = last_before(self.root, self.nodes, before)? else { return Ok(None) };
        if last.lblk < from {
            return Ok(None);
        }
        let (path, first, start) = walk(self.root, self.nodes, last.lblk, |node, path| {
            let at = upto(node, from);
            let first = if at > 0 && key(node, at - 1) == from { at - 1 } else { at };
            (*path, first, if first < entries(node) { key(node, first) } else { from })
        })?;
        self.shift(&path, first, |key| key.wrapping_add(by))?;
        Ok((start > from).then_some(u64::from(start)))
    }

    fn shift(&mut self, path: &Path, first: usize, f: impl Fn(u32) -> u32) -> Result<()> {
        let leaf = path.leaf();
        if first >= leaf.entries {
            return Ok(());
        }
        let start = self.edit(leaf.block, |node| {
            for index in first..entries(node) {
                let moved = f(key(node, index));
                set_key(node, index, moved);
            }
            key(node, 0)
        })?;
        if first == 0 { self.rekey(path, path.depth, start) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "extent_tests.rs"]
mod tests;
