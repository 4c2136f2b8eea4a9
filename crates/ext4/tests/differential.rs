//! The same random operations on the library and on a model in memory: results and trees must agree, and e2fsck must
//! find nothing, also after remounts in between.

mod common;

use abi::Errno;
use abi::errno::{EEXIST, EINVAL, EISDIR, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM};
use common::*;
use ext4::{Inode, RenameFlags};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A node of the model.
#[derive(Clone)]
enum Node {
    Dir(BTreeMap<Vec<u8>, usize>),
    File(Vec<u8>),
    Link(Vec<u8>),
}

/// The model: what POSIX says, as short as it can be said.
struct Model {
    nodes: HashMap<usize, (Node, u32)>,
    next: usize,
}

type Done<T> = Result<T, Errno>;

impl Model {
    fn new() -> Model {
        Model { nodes: HashMap::from([(0, (Node::Dir(BTreeMap::new()), 2))]), next: 1 }
    }

    fn dir(&mut self, id: usize) -> Done<&mut BTreeMap<Vec<u8>, usize>> {
        match self.nodes.get_mut(&id) {
            Some((Node::Dir(names), _)) => Ok(names),
            _ => Err(ENOTDIR),
        }
    }

    fn find(&mut self, dir: usize, name: &[u8]) -> Done<usize> {
        self.dir(dir)?.get(name).copied().ok_or(ENOENT)
    }

    fn is_dir(&self, id: usize) -> bool {
        matches!(self.nodes[&id].0, Node::Dir(_))
    }

    fn add(&mut self, dir: usize, name: &[u8], node: Node) -> Done<()> {
        if self.dir(dir)?.contains_key(name) {
            return Err(EEXIST);
        }
        let (id, is_dir) = (self.next, matches!(node, Node::Dir(_)));
        self.next += 1;
        self.nodes.insert(id, (node, if is_dir { 2 } else { 1 }));
        self.dir(dir)?.insert(name.to_vec(), id);
        if is_dir {
            self.links(dir, 1);
        }
        Ok(())
    }

    fn links(&mut self, id: usize, change: i32) {
        let links = &mut self.nodes.get_mut(&id).unwrap().1;
        *links = links.wrapping_add_signed(change);
    }

    fn let_go(&mut self, id: usize) {
        if self.is_dir(id) {
            self.nodes.remove(&id);
            return;
        }
        self.links(id, -1);
        if self.nodes[&id].1 == 0 {
            self.nodes.remove(&id);
        }
    }

    fn empty(&mut self, id: usize) -> bool {
        self.dir(id).is_ok_and(|names| names.is_empty())
    }

    fn unlink(&mut self, dir: usize, name: &[u8]) -> Done<()> {
        let id = self.find(dir, name)?;
        if self.is_dir(id) {
            return Err(EISDIR);
        }
        self.dir(dir)?.remove(name);
        self.let_go(id);
        Ok(())
    }

    fn rmdir(&mut self, dir: usize, name: &[u8]) -> Done<()> {
        let id = self.find(dir, name)?;
        if !self.is_dir(id) {
            return Err(ENOTDIR);
        }
        if !self.empty(id) {
            return Err(ENOTEMPTY);
        }
        self.dir(dir)?.remove(name);
        self.let_go(id);
        self.links(dir, -1);
        Ok(())
    }

    fn link(&mut self, id: usize, dir: usize, name: &[u8]) -> Done<()> {
        if self.is_dir(id) {
            return Err(EPERM);
        }
        if self.dir(dir)?.contains_key(name) {
            return Err(EEXIST);
        }
        self.dir(dir)?.insert(name.to_vec(), id);
        self.links(id, 1);
        Ok(())
    }

    fn below(&self, id: usize, top: usize) -> bool {
        id == top
            || matches!(&self.nodes[&top].0, Node::Dir(names) if names.values().any(|&child| self.below(id, child)))
    }

    fn rename(&mut self, from: usize, name: &[u8], to: usize, new: &[u8], flags: RenameFlags) -> Done<()> {
        let id = self.find(from, name)?;
        let target = self.find(to, new).ok();
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let Some(target) = target else {
            if exchange {
                return Err(ENOENT);
            }
            self.dir(from)?.remove(name);
            self.dir(to)?.insert(new.to_vec(), id);
            if self.is_dir(id) {
                self.links(from, -1);
                self.links(to, 1);
            }
            return Ok(());
        };
        if flags.contains(RenameFlags::NOREPLACE) {
            return Err(EEXIST);
        }
        if id == target {
            return Ok(());
        }
        let (moves_dir, meets_dir) = (self.is_dir(id), self.is_dir(target));
        if [from, to].contains(&target) {
            return Err(if exchange { EINVAL } else { ENOTEMPTY });
        }
        if exchange {
            self.dir(from)?.insert(name.to_vec(), target);
            self.dir(to)?.insert(new.to_vec(), id);
            let change = i32::from(meets_dir) - i32::from(moves_dir);
            self.links(from, change);
            self.links(to, -change);
            return Ok(());
        }
        if moves_dir != meets_dir {
            return Err(if moves_dir { ENOTDIR } else { EISDIR });
        }
        if meets_dir && !self.empty(target) {
            return Err(ENOTEMPTY);
        }
        self.dir(from)?.remove(name);
        self.dir(to)?.insert(new.to_vec(), id);
        if moves_dir {
            self.links(from, -1);
        }
        self.let_go(target);
        Ok(())
    }

    /// Every directory: its number and the names that lead to it.
    fn dirs(&self) -> Vec<(usize, Vec<Vec<u8>>)> {
        let mut found = vec![(0, Vec::new())];
        let mut at = 0;
        while at < found.len() {
            let (id, path) = found[at].clone();
            if let Node::Dir(names) = &self.nodes[&id].0 {
                for (name, &child) in names {
                    if self.is_dir(child) {
                        let mut path = path.clone();
                        path.push(name.clone());
                        found.push((child, path));
                    }
                }
            }
            at += 1;
        }
        found
    }
}

fn open(root: &Arc<Inode>, path: &[Vec<u8>]) -> Arc<Inode> {
    path.iter().fold(root.clone(), |dir, name| dir.lookup(name).unwrap())
}

/// The tree on disk is the model's.
fn compare(model: &Model, id: usize, inode: &Arc<Inode>, path: &str) {
    let (node, links) = &model.nodes[&id];
    let stat = inode.stat();
    assert_eq!(stat.links, *links, "links of {path}");
    match node {
        Node::File(data) => assert!(read(inode) == *data, "contents of {path}"),
        Node::Link(target) => assert_eq!(&inode.read_link().unwrap(), target, "target of {path}"),
        Node::Dir(names) => {
            let mut listed: Vec<_> = list(inode).into_iter().map(|(name, _)| name).collect();
            listed.retain(|name| name != b"lost+found");
            listed.sort();
            assert_eq!(listed, names.keys().cloned().collect::<Vec<_>>(), "names in {path}");
            for (name, &child) in names {
                let path = format!("{path}/{}", String::from_utf8_lossy(name));
                compare(model, child, &inode.lookup(name).unwrap(), &path);
            }
        }
    }
}

struct Run<'a> {
    model: Model,
    root: Arc<Inode>,
    random: &'a mut Random,
}

impl Run<'_> {
    fn name(&mut self) -> Vec<u8> {
        let number = self.random.below(40);
        match self.random.below(4) {
            0 => format!("{number}").into_bytes(),
            1 => format!("{number}-{}", "long".repeat(number as usize)).into_bytes(),
            _ => format!("name{number}").into_bytes(),
        }
    }

    fn pick(&mut self) -> (usize, Arc<Inode>) {
        let dirs = self.model.dirs();
        let (id, path) = &dirs[self.random.below(dirs.len() as u64) as usize];
        (*id, open(&self.root, path))
    }

    fn step(&mut self) {
        let ((id, dir), name) = (self.pick(), self.name());
        match self.random.below(20) {
            0..=4 => {
                let done = dir.create(&name, &file(0o644)).map(drop);
                assert_eq!(done, self.model.add(id, &name, Node::File(Vec::new())));
            }
            5..=6 => {
                let done = dir.mkdir(&name, &directory(0o755)).map(drop);
                assert_eq!(done, self.model.add(id, &name, Node::Dir(BTreeMap::new())));
            }
            7 => {
                let target = vec![b'a' + (name.len() % 26) as u8; 1 + self.random.below(200) as usize];
                let done = dir.symlink(&name, &target, &file(0)).map(drop);
                assert_eq!(done, self.model.add(id, &name, Node::Link(target)));
            }
            8..=9 => assert_eq!(dir.unlink(&name, time(1)), self.model.unlink(id, &name)),
            10 => assert_eq!(dir.rmdir(&name, time(1)), self.model.rmdir(id, &name)),
            11 => {
                let ((other, other_dir), new) = (self.pick(), self.name());
                if let Ok(inode) = dir.lookup(&name) {
                    let node = self.model.find(id, &name).unwrap();
                    assert_eq!(other_dir.link(&inode, &new, time(1)), self.model.link(node, other, &new));
                }
            }
            12..=15 => {
                let ((other, other_dir), new) = (self.pick(), self.name());
                let flags = [
                    RenameFlags::empty(),
                    RenameFlags::empty(),
                    RenameFlags::NOREPLACE,
                    RenameFlags::EXCHANGE,
                ];
                let flags = flags[self.random.below(4) as usize];
                // No directory below itself: the caller's part.
                let node = self.model.find(id, &name).ok();
                let target = self.model.find(other, &new).ok();
                let exchange = flags.contains(RenameFlags::EXCHANGE);
                if node.is_some_and(|node| self.model.is_dir(node) && self.model.below(other, node))
                    || target
                        .is_some_and(|node| exchange && self.model.is_dir(node) && self.model.below(id, node))
                {
                    return;
                }
                let done = dir.rename(&name, &other_dir, &new, flags, time(1));
                assert_eq!(done, self.model.rename(id, &name, other, &new, flags), "rename {flags:?}");
            }
            _ => self.contents(id, &dir, &name),
        }
    }

    fn contents(&mut self, id: usize, dir: &Arc<Inode>, name: &[u8]) {
        let Ok(node) = self.model.find(id, name) else { return };
        let inode = dir.lookup(name).unwrap();
        let (offset, len) = (self.random.below(60_000), 1 + self.random.below(30_000) as usize);
        let (truncate, seed) = (self.random.below(3) == 0, self.random.next());
        let Some((Node::File(data), _)) = self.model.nodes.get_mut(&node) else { return };
        if truncate {
            inode.set_size(offset).unwrap();
            data.resize(offset as usize, 0);
        } else {
            match write(&inode, offset, &pattern(seed, len)) {
                Err(ENOSPC) => return,
                done => done.unwrap(),
            }
            data.resize(data.len().max(offset as usize + len), 0);
            data[offset as usize..][..len].copy_from_slice(&pattern(seed, len));
        }
    }
}

fn run(kind: &str, args: &[&str], seed: u64, steps: u32) {
    let image = Image::make("64M", args);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut model = Model::new();
    model.nodes.get_mut(&0).unwrap().1 = 3;
    for round in 0..3 {
        let fs = image.mount();
        let mut run = Run { model, root: fs.root().unwrap(), random: &mut random };
        for _ in 0..steps {
            run.step();
        }
        compare(&run.model, 0, &run.root, "");
        model = run.model;
        drop(run.root);
        fs.unmount().unwrap();
        image.check(&format!("{kind} seed {seed} round {round}"));
    }
    let fs = image.mount();
    compare(&model, 0, &fs.root().unwrap(), "");
    fs.unmount().unwrap();
}

#[test]
fn random_trees() {
    let long = std::env::var("EXT4_DIFF_ROUNDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..long.unwrap_or(1) {
        for (kind, args) in KINDS.iter().filter(|(kind, _)| *kind != "ext4-64k") {
            eprintln!("{kind} {seed}");
            run(kind, args, seed * 1000 + kind.len() as u64, 700);
        }
    }
}
