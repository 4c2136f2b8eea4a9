//! Extent trees against a plain map, with nodes small enough to go deep.

use super::*;
use crate::nodes::NodesMut;
use abi::Errno;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

struct Memory {
    blocks: HashMap<u64, Vec<u8>>,
    next: u64,
    room: usize,
    corrupt: Cell<usize>,
}

impl Nodes for Memory {
    fn block_size(&self) -> usize {
        100
    }
    fn read<R>(&self, block: u64, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Ok(look(self.blocks.get(&block).ok_or(abi::errno::EIO)?))
    }
    fn corrupted(&self, _block: u64, _what: &str) -> Errno {
        self.corrupt.set(self.corrupt.get() + 1);
        abi::errno::EUCLEAN
    }
}

impl NodesMut for Memory {
    fn modify<R>(&mut self, block: u64, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        Ok(change(self.blocks.get_mut(&block).ok_or(abi::errno::EIO)?))
    }
    fn create(&mut self, _goal: u64, fill: impl FnOnce(&mut [u8])) -> Result<u64> {
        if self.blocks.len() >= self.room {
            return Err(abi::errno::ENOSPC);
        }
        self.next += 1;
        let mut block = vec![0; 100];
        fill(&mut block);
        self.blocks.insert(self.next, block);
        Ok(self.next)
    }
    fn free(&mut self, block: u64) -> Result<()> {
        self.blocks.remove(&block).map(drop).ok_or(abi::errno::EIO)
    }
}

/// Logical block → (physical, unwritten).
type Model = BTreeMap<u32, (u64, bool)>;

/// Walks the whole tree: order, keys, depth and that every block is reached once; returns what it maps.
fn contents(root: &[u8; ROOT_LEN], nodes: &Memory) -> Model {
    fn visit(node: &[u8], nodes: &Memory, seen: &mut usize, model: &mut Model) {
        check(node, 0, u64::MAX).unwrap();
        for index in 0..entries(node) {
            if depth(node) == 0 {
                let run = run(node, index);
                for n in 0..run.len {
                    let old = model.insert(run.lblk + n, (run.pblk + u64::from(n), run.unwritten));
                    assert!(old.is_none());
                }
            } else {
                let below = &nodes.blocks[&child(node, index)];
                *seen += 1;
                assert_eq!(depth(below), depth(node) - 1);
                assert_eq!(key(below, 0), key(node, index));
                assert!(entries(below) > 0);
                visit(below, nodes, seen, model);
            }
        }
    }
    let (mut seen, mut model) = (0, Model::new());
    visit(root, nodes, &mut seen, &mut model);
    assert_eq!(seen, nodes.blocks.len());
    model
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

fn check_lookup(root: &[u8; ROOT_LEN], nodes: &Memory, model: &Model, at: u32) {
    match lookup(root, nodes, at).unwrap() {
        Found::Run(run) => {
            let run = run.clip(u64::from(at), END);
            for n in 0..run.len {
                assert_eq!(model.get(&(at + n)), Some(&(run.pblk + u64::from(n), run.unwritten)));
            }
        }
        Found::Hole(end) => {
            assert_eq!(model.range(at..).next().map_or(END, |(&l, _)| u64::from(l)), end);
        }
    }
    let last = last_before(root, nodes, u64::from(at)).unwrap();
    let expect = model.range(..at).next_back().map(|(&l, _)| l);
    assert_eq!(last.map(|run| run.clip(0, u64::from(at)).end() as u32 - 1), expect);
}

fn torture(seed: u64, room: usize) -> u16 {
    let mut random = Random(seed);
    let mut nodes = Memory { blocks: HashMap::new(), next: 1000, room, corrupt: Cell::new(0) };
    let mut root = [0; ROOT_LEN];
    init_root(&mut root);
    let mut model = Model::new();
    let (mut next_pblk, mut deepest) = (1u64 << 33, 0);
    for step in 0..4000 {
        let (lblk, len) =
            (random.below(3000) as u32, 1 + random.below(if step % 7 == 0 { 200 } else { 4 }) as u32);
        let to = lblk + len;
        let op = random.below(if step % 1000 < 600 { 6 } else { 9 });
        let mut tree = Tree { root: &mut root, nodes: &mut nodes };
        match op {
            0..4 => {
                let unwritten = op == 0;
                next_pblk += random.below(2) * 5;
                let (mut at, mut old) = (lblk, Vec::new());
                while at < to {
                    let pblk = next_pblk + u64::from(at - lblk);
                    let Ok(done) = tree.set(Run { lblk: at, len: to - at, pblk, unwritten }, &mut old) else {
                        break;
                    };
                    assert!(done >= 1 && done <= to - at);
                    for n in 0..done {
                        model.insert(at + n, (pblk + u64::from(n), unwritten));
                    }
                    at += done;
                }
                next_pblk += u64::from(len);
            }
            4 => {
                let mut at = lblk;
                while let Some((&from, _)) = model.range(at..to).next() {
                    let Ok(done) = tree.convert(from, to - from, false) else { break };
                    for n in from..from + done {
                        model.get_mut(&n).unwrap().1 = false;
                    }
                    at = from + done;
                }
            }
            5 if random.below(4) == 0 && room == usize::MAX => {
                // Collapse or insert.
                if random.below(2) == 0 {
                    while tree.remove(u64::from(lblk), u64::from(to), 3, &mut Vec::new()).unwrap() {}
                    let mut at = u64::from(to);
                    while at < END {
                        at = tree.shift_down(at as u32, len).unwrap();
                    }
                    let tail = model.split_off(&lblk);
                    model.extend(tail.into_iter().filter(|e| e.0 >= to).map(|(l, e)| (l - len, e)));
                } else if model.last_key_value().is_none_or(|l| *l.0 < 3500) {
                    tree.cut(lblk).unwrap();
                    let mut before = Some(END);
                    while let Some(limit) = before {
                        before = tree.shift_up(lblk, limit, len).unwrap();
                    }
                    let tail = model.split_off(&lblk);
                    model.extend(tail.into_iter().map(|(l, e)| (l + len, e)));
                }
            }
            _ => {
                let (mut old, limit) = (Vec::new(), 1 + random.below(9) as usize);
                let expect: Vec<u64> = model.range(lblk..to).map(|(_, e)| e.0).collect();
                let mut failed = false;
                loop {
                    match tree.remove(u64::from(lblk), u64::from(to), limit, &mut old) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(_) => {
                            failed = true;
                            break;
                        }
                    }
                }
                let mut blocks: Vec<u64> =
                    old.iter().flat_map(|r| r.pblk..r.pblk + u64::from(r.len)).collect();
                if failed {
                    model = contents(&root, &nodes);
                } else {
                    let mut expect = expect;
                    expect.sort_unstable();
                    blocks.sort_unstable();
                    assert_eq!(blocks, expect);
                    model.retain(|l, _| !(lblk..to).contains(l));
                }
            }
        }
        deepest = deepest.max(tree_depth(&root));
        if step % 20 == 0 || op == 5 {
            assert_eq!(contents(&root, &nodes), model, "step {step}");
        }
        for _ in 0..3 {
            check_lookup(&root, &nodes, &model, random.below(3300) as u32);
        }
    }
    assert_eq!(nodes.corrupt.get(), 0);
    let mut tree = Tree { root: &mut root, nodes: &mut nodes };
    while tree.remove(0, END, 50, &mut Vec::new()).unwrap() {}
    assert!(nodes.blocks.is_empty());
    assert_eq!(root_entries(&root), 0);
    deepest
}

#[test]
fn against_a_map() {
    let deepest = (1..=12).map(|seed| torture(seed, usize::MAX)).max();
    assert!(deepest >= Some(3), "too shallow a test: {deepest:?}");
}

#[test]
fn without_space_for_nodes() {
    for seed in 1..=6 {
        torture(seed, 10);
    }
}

#[test]
fn appending_keeps_nodes_full() {
    let mut nodes = Memory { blocks: HashMap::new(), next: 1000, room: usize::MAX, corrupt: Cell::new(0) };
    let mut root = [0; ROOT_LEN];
    init_root(&mut root);
    let mut tree = Tree { root: &mut root, nodes: &mut nodes };
    for n in 0..700 {
        let run = Run { lblk: n * 2, len: 1, pblk: 5000 + u64::from(n) * 3, unwritten: false };
        tree.set(run, &mut Vec::new()).unwrap();
    }
    // Seven to a node, of which a split leaves six behind: 117 leaves, their parents, a root of up to four.
    assert!(nodes.blocks.len() <= 117 + 20 + 4, "{}", nodes.blocks.len());
}

#[test]
fn long_runs_merge_up_to_the_limit() {
    let mut nodes = Memory { blocks: HashMap::new(), next: 1000, room: usize::MAX, corrupt: Cell::new(0) };
    let mut root = [0; ROOT_LEN];
    init_root(&mut root);
    let mut tree = Tree { root: &mut root, nodes: &mut nodes };
    for n in 0..256u32 {
        let run = Run { lblk: n * 256, len: 256, pblk: 10_000 + u64::from(n) * 256, unwritten: false };
        tree.set(run, &mut Vec::new()).unwrap();
    }
    assert_eq!(root_entries(&root), 2);
}

#[test]
fn hostile_nodes_are_refused() {
    let mut random = Random(77);
    for _ in 0..20_000 {
        let mut nodes =
            Memory { blocks: HashMap::new(), next: 1000, room: usize::MAX, corrupt: Cell::new(0) };
        let mut root = [0; ROOT_LEN];
        init_root(&mut root);
        let mut tree = Tree { root: &mut root, nodes: &mut nodes };
        for n in 0..60 {
            let run = Run { lblk: n * 3, len: 2, pblk: 5000 + u64::from(n) * 3, unwritten: n % 3 == 0 };
            tree.set(run, &mut Vec::new()).unwrap();
        }
        for _ in 0..1 + random.below(3) {
            let mut ids: Vec<u64> = nodes.blocks.keys().copied().collect();
            ids.sort_unstable();
            let which = random.below(ids.len() as u64 + 1) as usize;
            let node =
                if which == ids.len() { &mut root[..] } else { nodes.blocks.get_mut(&ids[which]).unwrap() };
            let at = random.below(node.len() as u64) as usize;
            node[at] = random.below(256) as u8;
            // A node is checked when it is read from the device; children must exist.
            if check(node, 0, u64::MAX).is_err() {
                node.fill(0);
            }
        }
        for lblk in 0..200 {
            let _ = lookup(&root, &nodes, lblk);
            let _ = last_before(&root, &nodes, u64::from(lblk));
        }
        let mut tree = Tree { root: &mut root, nodes: &mut nodes };
        let run = Run { lblk: random.below(200) as u32, len: 5, pblk: 9000, unwritten: false };
        let _ = tree.set(run, &mut Vec::new());
        for _ in 0..400 {
            match tree.remove(0, END, 5, &mut Vec::new()) {
                Ok(true) => {}
                _ => break,
            }
        }
    }
}
