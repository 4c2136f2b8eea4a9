//! Changing a tree: see the module above.

use super::node::*;
use super::{END, Found, MAX_DEPTH, Path, ROOT_LEN, Run, last_before, lookup, walk};
use crate::Result;
use crate::nodes::NodesMut;
use abi::errno::EFBIG;

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
