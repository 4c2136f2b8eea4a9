//! Random operations on a file system, and a model that knows what they should leave.

use crate::common::{self, Random};
use abi::errno::{ENODATA, ENOSPC};
use abi::fcntl::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
};
use abi::time::Timespec;
use ext4::recording::RecordingDevice;
use ext4::{Filesystem, Inode, NewInode, RenameFlags, SetAttr, XattrFlags};
use std::collections::BTreeMap;
use std::sync::Arc;
/// What a name leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// By number in `State::files`.
    File(usize),
    Directory,
    Symlink(Arc<Vec<u8>>),
}

#[derive(Clone, Debug)]
pub struct FileState {
    pub content: Arc<Vec<u8>>,
    pub mode: u16,
    pub attrs: BTreeMap<String, Vec<u8>>,
}

/// What the file system holds.
#[derive(Clone, Default)]
pub struct State {
    pub tree: BTreeMap<String, Node>,
    pub files: BTreeMap<usize, FileState>,
}

impl State {
    pub fn links(&self, file: usize) -> usize {
        self.tree.values().filter(|node| **node == Node::File(file)).count()
    }

    fn names(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        self.tree.iter().filter(|(_, node)| wanted(node)).map(|(path, _)| path.clone()).collect()
    }
}

/// A change of a file's bytes.
pub struct Write {
    pub op: usize,
    pub file: usize,
    pub start: usize,
    pub end: usize,
    /// All of it or nothing: what was behind it has moved.
    pub shifts: bool,
}

pub struct World {
    device: Arc<RecordingDevice>,
    fs: Arc<Filesystem>,
    random: Random,
    state: State,
    /// The state after each operation; the first is the empty file system.
    pub states: Vec<State>,
    /// The recorded position at which each operation began.
    pub started: Vec<usize>,
    /// Position and operation: from there on, everything up to it is durable.
    pub synced: Vec<(usize, usize)>,
    pub writes: Vec<Write>,
    /// The last operation that changed each file or a name of it: what an fsync of it waits for.
    touched: BTreeMap<usize, usize>,
    /// Unlinked files that are still open.
    open: Vec<Arc<Inode>>,
    /// The root stays in memory, and knows by itself what it has to wait for.
    root: Option<Arc<Inode>>,
    files: usize,
}

const NOW: Timespec = Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };

fn new_inode(mode: u16) -> NewInode {
    NewInode { mode, uid: 1, gid: 2, rdev: (0, 0), now: NOW }
}

pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl World {
    pub fn new(device: Arc<RecordingDevice>, fs: Arc<Filesystem>, random: Random) -> World {
        World {
            device,
            root: fs.root().ok(),
            fs,
            random,
            state: State::default(),
            states: vec![State::default()],
            started: Vec::new(),
            synced: Vec::new(),
            writes: Vec::new(),
            touched: BTreeMap::new(),
            open: Vec::new(),
            files: 0,
        }
    }

    /// Unmounts, after which everything is durable.
    pub fn close(&mut self) {
        self.open.clear();
        self.root = None;
        self.fs.unmount().unwrap();
        self.synced.push((self.device.position(), self.states.len() - 1));
    }

    fn walk(&self, path: &str) -> Arc<Inode> {
        let root = self.fs.root().unwrap();
        path.split('/')
            .filter(|name| !name.is_empty())
            .fold(root, |dir, name| dir.lookup(name.as_bytes()).unwrap())
    }

    /// The directory of a path, and the name in it.
    fn place<'p>(&self, path: &'p str) -> (Arc<Inode>, &'p [u8]) {
        let (dir, name) = split(path);
        (self.walk(dir), name.as_bytes())
    }

    fn pick(&mut self, wanted: impl Fn(&Node) -> bool) -> Option<String> {
        let names = self.state.names(wanted);
        (!names.is_empty()).then(|| names[self.random.pick(names.len())].clone())
    }

    fn pick_file(&mut self) -> Option<(String, usize)> {
        let path = self.pick(|node| matches!(node, Node::File(_)))?;
        let Node::File(file) = self.state.tree[&path] else { return None };
        Some((path, file))
    }

    /// A path that isn't taken, in a directory that exists.
    fn new_path(&mut self) -> String {
        loop {
            let dir = match self.random.pick(3) {
                0 => None,
                _ => self.pick(|node| *node == Node::Directory),
            };
            let long = if self.random.pick(4) == 0 {
                "-with-a-rather-long-name-that-fills-directories".repeat(3)
            } else {
                String::new()
            };
            let name = format!("n{}{long}", self.random.pick(400));
            let path = dir.map_or(name.clone(), |dir| format!("{dir}/{name}"));
            if !self.state.tree.contains_key(&path) {
                return path;
            }
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        common::pattern(self.random.next(), len)
    }

    fn set_attribute(&mut self, path: &str, file: usize) {
        let inode = self.walk(path);
        let name = format!("user.{}", self.random.pick(6));
        if self.random.pick(4) == 0 {
            match inode.xattr_remove(name.as_bytes()) {
                Ok(()) | Err(ENODATA) => {}
                Err(error) => panic!("removexattr: {error}"),
            }
            self.state.files.get_mut(&file).unwrap().attrs.remove(&name);
            return;
        }
        let len = [10, 60, 300][self.random.pick(3)];
        let value = self.bytes(len);
        match inode.xattr_set(name.as_bytes(), &value, XattrFlags::empty()) {
            Ok(()) => drop(self.state.files.get_mut(&file).unwrap().attrs.insert(name, value)),
            Err(error) => assert_eq!(error, ENOSPC),
        }
    }

    /// Changes a file's bytes in the model.
    fn change(&mut self, file: usize, start: usize, end: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let op = self.states.len();
        self.writes.push(Write { op, file, start, end, shifts: false });
        let state = self.state.files.get_mut(&file).unwrap();
        change(Arc::make_mut(&mut state.content));
    }

    /// Writes as a page cache does: whole blocks.
    fn write(&mut self, path: &str, file: usize, offset: usize, data: &[u8]) {
        let inode = self.walk(path);
        let block = self.fs.geometry().block_size;
        let old = self.state.files[&file].content.clone();
        let size = old.len().max(offset + data.len());
        let start = offset / block * block;
        let stop = (offset + data.len()).next_multiple_of(block).min(size);
        let mut bytes = vec![0; stop - start];
        if start < old.len() {
            let part = &old[start..old.len().min(stop)];
            bytes[..part.len()].copy_from_slice(part);
        }
        bytes[offset - start..][..data.len()].copy_from_slice(data);
        if let Err(error) = inode.reserve(start as u64, bytes.len() as u64) {
            assert_eq!(error, ENOSPC);
            return;
        }
        inode.write_back(start as u64, &[&bytes], size as u64).unwrap();
        self.change(file, start.min(old.len()), size.max(stop), |content| {
            content.resize(size, 0);
            content[offset..offset + data.len()].copy_from_slice(data);
        });
    }

    fn set_size(&mut self, path: &str, file: usize, size: usize) {
        self.walk(path).set_size(size as u64).unwrap();
        self.change(file, size, usize::MAX, |content| content.resize(size, 0));
    }

    fn fallocate(&mut self, path: &str, file: usize) {
        let inode = self.walk(path);
        let old = self.state.files[&file].content.len();
        let (offset, len) = (self.random.pick(60_000), 1 + self.random.pick(60_000));
        let mode = [0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE]
            [self.random.pick(4)];
        let Ok(size) = inode.fallocate(mode, offset as u64, len as u64, false) else {
            // Indirect maps, or no space.
            return;
        };
        let zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) != 0;
        self.change(file, if zeroes { offset.min(old) } else { old }, usize::MAX, |content| {
            content.resize(size as usize, 0);
            let end = (offset + len).min(content.len());
            if zeroes && offset < end {
                content[offset..end].fill(0);
            }
        });
    }

    /// Takes some blocks out of a file, or puts a hole into it.
    fn shift(&mut self, path: &str, file: usize) {
        let inode = self.walk(path);
        let block = self.fs.geometry().block_size;
        let blocks = self.state.files[&file].content.len() / block;
        let (at, count) = (self.random.pick(blocks + 1), 1 + self.random.pick(8));
        let (offset, len) = (at * block, count * block);
        let insert = self.random.pick(2) == 0;
        let mode = if insert { FALLOC_FL_INSERT_RANGE } else { FALLOC_FL_COLLAPSE_RANGE };
        if inode.fallocate(mode, offset as u64, len as u64, false).is_err() {
            // Indirect maps, or past the end.
            return;
        }
        self.change(file, 0, 0, |content| {
            if insert {
                content.splice(offset..offset, std::iter::repeat_n(0, len));
            } else {
                content.drain(offset..offset + len);
            }
        });
        if let Some(write) = self.writes.last_mut() {
            write.shifts = true;
        }
    }

    /// fsync(2) or fdatasync(2) of a directory: its names are durable.
    fn sync_dir(&mut self) {
        let dir = self.pick(|node| *node == Node::Directory).filter(|_| self.random.pick(3) > 0);
        let dir = dir.unwrap_or_default();
        let datasync = self.random.pick(2) == 0;
        self.walk(&dir).fsync(datasync).unwrap();
        let names = |state: &State| {
            let here = state.tree.iter().filter(|(path, _)| split(path).0 == dir);
            here.map(|(path, node)| (path.clone(), node.clone())).collect::<Vec<_>>()
        };
        // As long as the directory has had this name.
        let known = |state: &State| dir.is_empty() || state.tree.contains_key(&dir);
        let last = (1..self.states.len()).rev().take_while(|op| known(&self.states[op - 1]));
        if let Some(op) = last.into_iter().find(|op| names(&self.states[*op]) != names(&self.states[op - 1]))
        {
            self.synced.push((self.device.position(), op));
        }
    }

    fn note_sync(&mut self) {
        self.synced.push((self.device.position(), self.states.len()));
    }

    /// One random operation.
    fn step(&mut self) {
        match self.random.pick(100) {
            0..14 => {
                let path = self.new_path();
                let (dir, name) = self.place(&path);
                dir.create(name, &new_inode(0o100644)).unwrap();
                self.files += 1;
                self.state.files.insert(
                    self.files,
                    FileState { content: Arc::default(), mode: 0o644, attrs: BTreeMap::new() },
                );
                self.state.tree.insert(path, Node::File(self.files));
            }
            14..40 => {
                let Some((path, file)) = self.pick_file() else { return };
                let size = self.state.files[&file].content.len();
                let offset = match self.random.pick(4) {
                    0 => self.random.pick(100_000),
                    1 => self.random.pick(size + 1),
                    _ => size.min(150_000),
                };
                let len = 1 + match self.random.pick(8) {
                    0 => self.random.pick(60_000),
                    _ => self.random.pick(6000),
                };
                let data = self.bytes(len);
                self.write(&path, file, offset, &data);
            }
            40..45 => {
                let Some((path, file)) = self.pick_file() else { return };
                let size = self.state.files[&file].content.len();
                let size = self.random.pick(size + size / 4 + 2);
                self.set_size(&path, file, size);
            }
            45..49 => {
                let Some((path, file)) = self.pick_file() else { return };
                if self.random.pick(2) == 0 { self.fallocate(&path, file) } else { self.shift(&path, file) }
            }
            49..54 => {
                let path = self.new_path();
                let (dir, name) = self.place(&path);
                dir.mkdir(name, &new_inode(0o040755)).unwrap();
                self.state.tree.insert(path, Node::Directory);
            }
            54..56 => {
                let empty = self.state.names(|node| *node == Node::Directory);
                let prefix = |dir: &String| format!("{dir}/");
                let Some(path) = empty
                    .into_iter()
                    .find(|dir| !self.state.tree.keys().any(|path| path.starts_with(&prefix(dir))))
                else {
                    return;
                };
                let (dir, name) = self.place(&path);
                dir.rmdir(name, NOW).unwrap();
                self.state.tree.remove(&path);
            }
            56..59 => {
                let path = self.new_path();
                let limit = [50, 900][self.random.pick(2)];
                let len = 1 + self.random.pick(limit);
                let target: Vec<u8> = (0..len).map(|n| b'a' + (n % 26) as u8).collect();
                let (dir, name) = self.place(&path);
                dir.symlink(name, &target, &new_inode(0o120777)).unwrap();
                self.state.tree.insert(path, Node::Symlink(Arc::new(target)));
            }
            59..62 => {
                let Some((path, file)) = self.pick_file() else { return };
                let new = self.new_path();
                let inode = self.walk(&path);
                let (dir, name) = self.place(&new);
                dir.link(&inode, name, NOW).unwrap();
                self.state.tree.insert(new, Node::File(file));
            }
            62..70 => {
                let Some(path) = self.pick(|node| *node != Node::Directory) else { return };
                let (dir, name) = self.place(&path);
                if self.random.pick(3) == 0 && self.open.len() < 5 {
                    self.open.push(dir.lookup(name).unwrap());
                }
                dir.unlink(name, NOW).unwrap();
                self.state.tree.remove(&path);
            }
            70..72 => {
                if !self.open.is_empty() {
                    let n = self.random.pick(self.open.len());
                    drop(self.open.swap_remove(n));
                }
            }
            72..80 => self.rename(),
            80..83 => {
                let Some((path, file)) = self.pick_file() else { return };
                self.set_attribute(&path, file);
            }
            83..85 => {
                let Some((path, file)) = self.pick_file() else { return };
                let mode = self.random.pick(0o1000) as u16;
                self.walk(&path).set_attr(&SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
                self.state.files.get_mut(&file).unwrap().mode = mode;
            }
            85..88 => self.sync_dir(),
            88..94 => {
                let Some((path, file)) = self.pick_file() else { return };
                self.walk(&path).fsync(false).unwrap();
                self.synced.push((self.device.position(), self.touched[&file]));
            }
            94..97 => {
                self.fs.sync().unwrap();
                self.note_sync();
            }
            _ => self.fs.tick(u64::MAX / 2).unwrap(),
        }
    }

    fn rename(&mut self) {
        let Some(path) = self.pick(|_| true) else { return };
        let node = self.state.tree[&path].clone();
        let mut flags = RenameFlags::empty();
        let new = match self.random.pick(3) {
            0 => {
                let kind = node == Node::Directory;
                let Some(new) = self.pick(|node| (*node == Node::Directory) == kind) else { return };
                if self.random.pick(2) == 0 {
                    flags = RenameFlags::EXCHANGE;
                }
                new
            }
            _ => self.new_path(),
        };
        let below = |a: &str, b: &str| a.starts_with(&format!("{b}/"));
        if new == path || below(&new, &path) || below(&path, &new) {
            return;
        }
        let full = self.state.tree.keys().any(|other| below(other, &new));
        if full && flags.is_empty() {
            return;
        }
        let (dir, name) = self.place(&path);
        let (new_dir, new_name) = self.place(&new);
        dir.rename(name, &new_dir, new_name, flags, NOW).unwrap();
        if matches!(node, Node::File(_)) && self.state.tree.get(&new) == Some(&node) {
            // Two names of one file: rename(2) does nothing.
            return;
        }
        let moved = |tree: &mut BTreeMap<String, Node>, from: &str| {
            let paths: Vec<String> =
                tree.keys().filter(|other| *other == from || below(other, from)).cloned().collect();
            paths
                .into_iter()
                .map(|other| (other[from.len()..].to_string(), tree.remove(&other).unwrap()))
                .collect::<Vec<_>>()
        };
        let mut back = moved(&mut self.state.tree, &new);
        if flags.is_empty() {
            back.clear();
        }
        for (rest, node) in moved(&mut self.state.tree, &path) {
            self.state.tree.insert(format!("{new}{rest}"), node);
        }
        for (rest, node) in back {
            self.state.tree.insert(format!("{path}{rest}"), node);
        }
    }

    /// Notes which files the last operation changed, by their names and by themselves.
    fn note_touched(&mut self) {
        let op = self.states.len();
        let before = &self.states[op - 1];
        let names = |state: &State, file: usize| {
            let names = state.tree.iter().filter(|(_, node)| **node == Node::File(file));
            names.map(|(path, _)| split(path).1.to_string()).collect::<Vec<_>>()
        };
        for (file, state) in &self.state.files {
            let same =
                before.files.get(file).is_some_and(|old| old.mode == state.mode && old.attrs == state.attrs);
            let written = self.writes.last().is_some_and(|write| write.op == op && write.file == *file);
            if !same || written || names(before, *file) != names(&self.state, *file) {
                self.touched.insert(*file, op);
            }
        }
    }

    /// Does `ops` random operations.
    pub fn run(&mut self, ops: usize) {
        for _ in 0..ops {
            self.started.push(self.device.position());
            self.step();
            self.note_touched();
            self.states.push(self.state.clone());
        }
    }
}
