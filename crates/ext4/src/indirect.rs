//! Block maps of ext2 and ext3: twelve pointers in the inode, then an indirect, a double and a triple indirect block.
//! Same operations as `extent`, over the same [`Nodes`]; pointers carry no state, so there is nothing unwritten here.

use crate::Result;
use crate::extent::{Found, ROOT_LEN, Run};
use crate::nodes::{Nodes, NodesMut};
use abi::errno::EFBIG;

const DIRECT: u64 = 12;

fn get(node: &[u8], index: usize) -> u32 {
    let at = index * 4;
    u32::from_le_bytes([node[at], node[at + 1], node[at + 2], node[at + 3]])
}

fn put(node: &mut [u8], index: usize, block: u32) {
    node[index * 4..index * 4 + 4].copy_from_slice(&block.to_le_bytes());
}

/// Where a logical block is: the index in each node from the root, how many nodes, and the blocks that each index of
/// the last but `n`th node spans.
struct Place {
    index: [usize; 4],
    levels: usize,
    /// Pointers in an indirect block.
    per: u64,
    /// Blocks from here to the end of the branch that the root's pointer spans, aligned to it.
    relative: u64,
}

/// The first logical block that can't be mapped with blocks of this size.
pub fn end(block_size: usize) -> u64 {
    let per = block_size as u64 / 4;
    (DIRECT + per + per * per + per * per * per).min(u64::from(u32::MAX))
}

fn place(block_size: usize, lblk: u32) -> Option<Place> {
    let per = block_size as u64 / 4;
    let mut rest = u64::from(lblk);
    if rest < DIRECT {
        return Some(Place { index: [rest as usize, 0, 0, 0], levels: 0, per, relative: rest });
    }
    rest -= DIRECT;
    let mut span = per;
    for levels in 1..=3usize {
        if rest < span {
            let mut index = [11 + levels, 0, 0, 0];
            let mut below = rest;
            for at in (1..=levels).rev() {
                index[at] = (below % per) as usize;
                below /= per;
            }
            return Some(Place { index, levels, per, relative: rest });
        }
        rest -= span;
        span *= per;
    }
    None
}

/// What is at `lblk`. Runs end at their indirect block's end, holes may be followed by another hole.
pub fn lookup<N: Nodes>(root: &[u8; ROOT_LEN], nodes: &N, lblk: u32) -> Result<Found> {
    let Some(place) = place(nodes.block_size(), lblk) else { return Ok(Found::Hole(u64::from(u32::MAX))) };
    // Pointers that are alike (none, or ascending) from the index on, in the last node of the way.
    let scan = |node: &[u8], index: usize, past: usize| {
        let first = get(node, index);
        let mut count = 1;
        while index + count < past {
            let expect = if first == 0 { 0 } else { first.wrapping_add(count as u32) };
            if get(node, index + count) != expect {
                break;
            }
            count += 1;
        }
        (first, count as u32)
    };
    let mut found = if place.levels == 0 {
        scan(root, place.index[0], DIRECT as usize)
    } else {
        scan(root, place.index[0], place.index[0] + 1)
    };
    for level in 1..=place.levels {
        if found.0 == 0 {
            // Nothing below: a hole to the end of what this pointer spans.
            let span = place.per.pow((place.levels - level + 1) as u32);
            return Ok(Found::Hole(u64::from(lblk) + span - place.relative % span));
        }
        let past = if level == place.levels { place.per as usize } else { place.index[level] + 1 };
        found = nodes.read(u64::from(found.0), |node| scan(node, place.index[level], past))?;
    }
    Ok(if found.0 == 0 {
        Found::Hole(u64::from(lblk) + u64::from(found.1))
    } else {
        Found::Run(Run { lblk, len: found.1, pblk: u64::from(found.0), unwritten: false })
    })
}

/// A block map being changed.
pub struct Map<'a, N> {
    /// The inode's `i_block`.
    pub root: &'a mut [u8; ROOT_LEN],
    /// Its blocks.
    pub nodes: &'a mut N,
}

impl<N: NodesMut> Map<'_, N> {
    /// Fills a hole; at most to the end of its indirect block. Returns the blocks done (≥ 1).
    pub fn set(&mut self, run: Run) -> Result<u32> {
        let place = place(self.nodes.block_size(), run.lblk).ok_or(EFBIG)?;
        if run.pblk + u64::from(run.len) > u64::from(u32::MAX) {
            return Err(EFBIG);
        }
        let mut block = 0;
        for level in 0..place.levels {
            let index = place.index[level];
            let down = if block == 0 {
                get(self.root, index)
            } else {
                self.nodes.read(block, |node| get(node, index))?
            };
            let next = if down == 0 {
                let goal = if block == 0 { run.pblk } else { block };
                let new = self.nodes.create(goal, |_| ())?;
                if block == 0 {
                    put(&mut self.root[..], index, new as u32);
                } else {
                    self.nodes.modify(block, |node| put(node, index, new as u32))?;
                }
                new
            } else {
                u64::from(down)
            };
            block = next;
        }
        let first = place.index[place.levels];
        let past = if place.levels == 0 { DIRECT as usize } else { place.per as usize };
        let count = (run.len as usize).min(past - first);
        let fill = |node: &mut [u8]| {
            let clean = (first..first + count).all(|index| get(node, index) == 0);
            for index in 0..count {
                put(node, first + index, run.pblk as u32 + index as u32);
            }
            clean
        };
        let clean = if block == 0 { fill(&mut self.root[..]) } else { self.nodes.modify(block, fill)? };
        if clean { Ok(count as u32) } else { Err(self.nodes.corrupted(block, "block mapped twice")) }
    }

    /// Unmaps at most about `limit` runs and nodes of `from..to`, the last ones first; they go to `old`. Whether there
    /// may be more.
    pub fn remove(&mut self, from: u64, to: u64, limit: usize, old: &mut Vec<Run>) -> Result<bool> {
        let per = self.nodes.block_size() as u64 / 4;
        let mut work = Removal { from, to, budget: limit.max(1), old, per };
        let mut base = DIRECT;
        let starts: Vec<(usize, u64, u64)> = (1..=3u32)
            .map(|level| {
                let start = base;
                base += per.pow(level);
                (11 + level as usize, start, per.pow(level))
            })
            .collect();
        for &(index, start, span) in starts.iter().rev() {
            let down = get(self.root, index);
            if down == 0 || start >= to || start + span <= from {
                continue;
            }
            let empty = work.prune(self.nodes, u64::from(down), index - 12, start)?;
            if empty {
                put(&mut self.root[..], index, 0);
                self.nodes.free(u64::from(down))?;
            }
            if work.budget == 0 {
                return Ok(true);
            }
        }
        for index in (from.min(DIRECT)..to.min(DIRECT)).rev() {
            let block = get(self.root, index as usize);
            if block != 0 {
                work.push(index as u32, block);
                put(&mut self.root[..], index as usize, 0);
            }
        }
        Ok(false)
    }
}

/// One call of [`Map::remove`].
struct Removal<'a> {
    from: u64,
    to: u64,
    /// Runs and nodes that may still go.
    budget: usize,
    old: &'a mut Vec<Run>,
    per: u64,
}

impl Removal<'_> {
    fn push(&mut self, lblk: u32, block: u32) {
        if let Some(last) = self.old.last_mut()
            && u64::from(block) + 1 == last.pblk
            && lblk + 1 == last.lblk
        {
            *last = Run { lblk, pblk: u64::from(block), len: last.len + 1, unwritten: false };
            return;
        }
        self.budget = self.budget.saturating_sub(1);
        self.old.push(Run { lblk, len: 1, pblk: u64::from(block), unwritten: false });
    }

    /// Unmaps inside one node (`level` 0: of pointers to data) that begins at `base`; whether it is empty now. The
    /// caller frees it then.
    fn prune<N: NodesMut>(&mut self, nodes: &mut N, block: u64, level: usize, base: u64) -> Result<bool> {
        let span = self.per.pow(level as u32);
        let mut node = nodes.read(block, |node| node.to_vec())?;
        let first = self.from.saturating_sub(base) / span;
        let past = self.to.saturating_sub(base).div_ceil(span).min(self.per);
        let mut changed = false;
        for index in (first..past).rev() {
            let down = get(&node, index as usize);
            if down == 0 {
                continue;
            }
            if self.budget == 0 {
                break;
            }
            if level == 0 {
                self.push((base + index) as u32, down);
            } else {
                if !self.prune(nodes, u64::from(down), level - 1, base + index * span)? {
                    continue;
                }
                nodes.free(u64::from(down))?;
                self.budget = self.budget.saturating_sub(1);
            }
            put(&mut node, index as usize, 0);
            changed = true;
        }
        let empty = node.iter().all(|&byte| byte == 0);
        if changed && !empty {
            nodes.modify(block, |bytes| bytes.copy_from_slice(&node))?;
        }
        Ok(empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};

    struct Memory {
        blocks: HashMap<u64, Vec<u8>>,
        next: u64,
    }

    impl Nodes for Memory {
        fn block_size(&self) -> usize {
            32
        }
        fn read<R>(&self, block: u64, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
            Ok(look(&self.blocks[&block]))
        }
        fn corrupted(&self, block: u64, what: &str) -> abi::Errno {
            panic!("{block}: {what}")
        }
    }

    impl NodesMut for Memory {
        fn modify<R>(&mut self, block: u64, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
            Ok(change(self.blocks.get_mut(&block).unwrap()))
        }
        fn create(&mut self, _goal: u64, fill: impl FnOnce(&mut [u8])) -> Result<u64> {
            self.next += 1;
            let mut block = vec![0; 32];
            fill(&mut block);
            self.blocks.insert(self.next, block);
            Ok(self.next)
        }
        fn free(&mut self, block: u64) -> Result<()> {
            self.blocks.remove(&block).unwrap();
            Ok(())
        }
    }

    #[test]
    fn against_a_map() {
        // Eight pointers to a block: 12 + 8 + 64 + 512 blocks.
        assert_eq!(end(32), 596);
        let mut seed = 5u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let mut nodes = Memory { blocks: HashMap::new(), next: 1 << 20 };
        let mut root = [0; ROOT_LEN];
        let mut model = BTreeMap::<u32, u64>::new();
        let mut next = 100;
        for step in 0..4000 {
            let lblk = random(596) as u32;
            let to = (lblk + 1 + random(if step % 50 == 0 { 400 } else { 20 }) as u32).min(596);
            let mut map = Map { root: &mut root, nodes: &mut nodes };
            if random(3) > 0 {
                let mut at = lblk;
                while at < to {
                    if model.contains_key(&at) {
                        at += 1;
                        continue;
                    }
                    let hole = model.range(at..to).next().map_or(to, |(&l, _)| l) - at;
                    let run = Run { lblk: at, len: hole, pblk: next, unwritten: false };
                    let done = map.set(run).unwrap();
                    for n in 0..done {
                        model.insert(at + n, next + u64::from(n));
                    }
                    next += u64::from(done) + random(2);
                    at += done;
                }
            } else {
                let mut old = Vec::new();
                while map.remove(u64::from(lblk), u64::from(to), 3, &mut old).unwrap() {}
                let mut gone: Vec<u64> = old.iter().flat_map(|r| r.pblk..r.pblk + u64::from(r.len)).collect();
                gone.sort_unstable();
                let mut expect: Vec<u64> = model.range(lblk..to).map(|(_, &p)| p).collect();
                expect.sort_unstable();
                assert_eq!(gone, expect);
                model.retain(|l, _| !(lblk..to).contains(l));
            }
            let mut at = 0;
            while at < 596 {
                match lookup(&root, &nodes, at).unwrap() {
                    Found::Run(run) => {
                        for n in 0..run.len {
                            assert_eq!(model.get(&(at + n)), Some(&(run.pblk + u64::from(n))));
                        }
                        at += run.len;
                    }
                    Found::Hole(end) => {
                        assert!(end > u64::from(at));
                        assert_eq!(model.range(at..end.min(596) as u32).next(), None, "{at} {end}");
                        at = end.min(596) as u32;
                    }
                }
            }
        }
        let mut map = Map { root: &mut root, nodes: &mut nodes };
        while map.remove(0, 596, 10, &mut Vec::new()).unwrap() {}
        assert!(nodes.blocks.is_empty());
        assert_eq!(root, [0; ROOT_LEN]);
    }
}
