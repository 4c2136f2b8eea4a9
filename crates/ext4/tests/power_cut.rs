//! Power cuts: random operations on a recording device, cut at random moments with the unflushed writes dropped,
//! reordered and torn. After each cut the image must come up, by this crate's replay and by e2fsck's, be clean, and
//! have everything that was synced. With a journal it must be exactly as after some operation.
//!
//! `EXT4_POWER_CUTS` sets the number of cuts for each kind of file system, `EXT4_POWER_SEED` the random numbers.

mod tools;

use abi::errno::ENOSPC;
use abi::fcntl::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};
use abi::time::Timespec;
use ext4::recording::RecordingDevice;
use ext4::{
    BlockDevice, DataMode, Filesystem, Inode, Level, Log, MemoryDevice, MountOptions, NewInode, RenameFlags,
    SetAttr,
};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use tools::{Random, TempDir, mke2fs, run, text};

/// A kind of file system and mount.
struct Kind {
    mke2fs: &'static str,
    data: DataMode,
    /// What is there after replay is exactly what some operation left.
    journal: bool,
    /// Image size in KiB.
    size: u32,
}

const EXT2: Kind = Kind { mke2fs: "-t ext2 -b 1024", data: DataMode::Ordered, journal: false, size: 8192 };
const EXT3: Kind =
    Kind { mke2fs: "-t ext3 -b 1024 -J size=1", data: DataMode::Ordered, journal: true, size: 12288 };
const EXT4: Kind =
    Kind { mke2fs: "-t ext4 -b 4096 -J size=4", data: DataMode::Ordered, journal: true, size: 24576 };

/// What a name leads to.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// By number in `State::files`.
    File(usize),
    Directory,
    Symlink(Arc<Vec<u8>>),
}

#[derive(Clone, Debug)]
struct FileState {
    content: Arc<Vec<u8>>,
    mode: u16,
}

/// What the file system holds.
#[derive(Clone, Default)]
struct State {
    tree: BTreeMap<String, Node>,
    files: BTreeMap<usize, FileState>,
}

impl State {
    fn links(&self, file: usize) -> usize {
        self.tree.values().filter(|node| **node == Node::File(file)).count()
    }

    fn names(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        self.tree.iter().filter(|(_, node)| wanted(node)).map(|(path, _)| path.clone()).collect()
    }
}

/// A change of a file's bytes.
struct Write {
    op: usize,
    file: usize,
    start: usize,
    end: usize,
}

struct World<'a> {
    device: &'a RecordingDevice,
    fs: Arc<Filesystem>,
    random: Random,
    state: State,
    /// The state after each operation; the first is the empty file system.
    states: Vec<State>,
    /// The recorded position at which each operation began.
    started: Vec<usize>,
    /// Position and operation: from there on, everything up to it is durable.
    synced: Vec<(usize, usize)>,
    writes: Vec<Write>,
    /// The last operation that changed each file or a name of it: what an fsync of it waits for.
    touched: BTreeMap<usize, usize>,
    /// Unlinked files that are still open.
    open: Vec<Arc<Inode>>,
    files: usize,
}

const NOW: Timespec = Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };

fn new_inode(mode: u16) -> NewInode {
    NewInode { mode, uid: 1, gid: 2, rdev: (0, 0), now: NOW }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl World<'_> {
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
        (!names.is_empty()).then(|| names[self.random.below(names.len())].clone())
    }

    fn pick_file(&mut self) -> Option<(String, usize)> {
        let path = self.pick(|node| matches!(node, Node::File(_)))?;
        let Node::File(file) = self.state.tree[&path] else { return None };
        Some((path, file))
    }

    /// A path that isn't taken, in a directory that exists.
    fn new_path(&mut self) -> String {
        loop {
            let dir = match self.random.below(3) {
                0 => None,
                _ => self.pick(|node| *node == Node::Directory),
            };
            let long = if self.random.below(4) == 0 {
                "-with-a-rather-long-name-that-fills-directories".repeat(3)
            } else {
                String::new()
            };
            let name = format!("n{}{long}", self.random.below(400));
            let path = dir.map_or(name.clone(), |dir| format!("{dir}/{name}"));
            if !self.state.tree.contains_key(&path) {
                return path;
            }
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let seed = self.random.next();
        let mut random = Random(seed);
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(random.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Changes a file's bytes in the model.
    fn change(&mut self, file: usize, start: usize, end: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let op = self.states.len();
        self.writes.push(Write { op, file, start, end });
        let state = self.state.files.get_mut(&file).unwrap();
        change(Arc::make_mut(&mut state.content));
    }

    /// Writes as a page cache does: whole blocks.
    fn write(&mut self, path: &str, file: usize, offset: usize, data: &[u8]) {
        let inode = self.walk(path);
        let block = self.fs.geometry().block_size as usize;
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
        let (offset, len) = (self.random.below(60_000), 1 + self.random.below(60_000));
        let mode = [0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE]
            [self.random.below(4)];
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

    fn note_sync(&mut self) {
        self.synced.push((self.device.position(), self.states.len()));
    }

    /// One random operation.
    fn step(&mut self) {
        match self.random.below(100) {
            0..14 => {
                let path = self.new_path();
                let (dir, name) = self.place(&path);
                dir.create(name, &new_inode(0o100644)).unwrap();
                self.files += 1;
                self.state.files.insert(self.files, FileState { content: Arc::default(), mode: 0o644 });
                self.state.tree.insert(path, Node::File(self.files));
            }
            14..40 => {
                let Some((path, file)) = self.pick_file() else { return };
                let size = self.state.files[&file].content.len();
                let offset = match self.random.below(4) {
                    0 => self.random.below(100_000),
                    1 => self.random.below(size + 1),
                    _ => size.min(150_000),
                };
                let len = 1 + match self.random.below(8) {
                    0 => self.random.below(60_000),
                    _ => self.random.below(6000),
                };
                let data = self.bytes(len);
                self.write(&path, file, offset, &data);
            }
            40..45 => {
                let Some((path, file)) = self.pick_file() else { return };
                let size = self.state.files[&file].content.len();
                let size = self.random.below(size + size / 4 + 2);
                self.set_size(&path, file, size);
            }
            45..49 => {
                let Some((path, file)) = self.pick_file() else { return };
                self.fallocate(&path, file);
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
                let limit = [50, 900][self.random.below(2)];
                let len = 1 + self.random.below(limit);
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
                if self.random.below(3) == 0 && self.open.len() < 5 {
                    self.open.push(dir.lookup(name).unwrap());
                }
                dir.unlink(name, NOW).unwrap();
                self.state.tree.remove(&path);
            }
            70..72 => {
                if !self.open.is_empty() {
                    let n = self.random.below(self.open.len());
                    drop(self.open.swap_remove(n));
                }
            }
            72..80 => self.rename(),
            80..82 => {
                let Some((path, file)) = self.pick_file() else { return };
                let mode = self.random.below(0o1000) as u16;
                self.walk(&path).set_attr(&SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
                self.state.files.get_mut(&file).unwrap().mode = mode;
            }
            82..94 => {
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
        let new = match self.random.below(3) {
            0 => {
                let kind = node == Node::Directory;
                let Some(new) = self.pick(|node| (*node == Node::Directory) == kind) else { return };
                if self.random.below(2) == 0 {
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
            let same = before.files.get(file).is_some_and(|old| old.mode == state.mode);
            let written = self.writes.last().is_some_and(|write| write.op == op && write.file == *file);
            if !same || written || names(before, *file) != names(&self.state, *file) {
                self.touched.insert(*file, op);
            }
        }
    }

    fn run(&mut self, ops: usize) {
        for _ in 0..ops {
            self.started.push(self.device.position());
            self.step();
            self.note_touched();
            self.states.push(self.state.clone());
        }
    }
}

/// What was found in an image.
#[derive(Debug)]
enum Found {
    File { content: Vec<u8>, mode: u16, links: usize },
    Directory,
    Symlink(Vec<u8>),
}

struct Messages;

impl Log for Messages {
    fn log(&self, level: Level, text: std::fmt::Arguments<'_>) {
        if level <= Level::Error {
            println!("{level:?}: {text}");
        }
    }
}

/// Reads a whole tree.
fn tree(fs: &Arc<Filesystem>, with_lost: bool) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![(String::new(), fs.root().unwrap())];
    while let Some((path, dir)) = dirs.pop() {
        let mut names = Vec::new();
        dir.read_dir(0, &mut |entry| {
            names.push(entry.name.clone());
            true
        })
        .unwrap();
        for name in names {
            if name == b"." || name == b".." || !with_lost && path.is_empty() && name == b"lost+found" {
                continue;
            }
            let inode = dir.lookup(&name).unwrap_or_else(|error| panic!("lookup in {path:?}: {error}"));
            let name = String::from_utf8(name).unwrap();
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let stat = inode.stat();
            let node = match stat.mode & 0o170000 {
                0o040000 => {
                    dirs.push((path.clone(), inode));
                    Found::Directory
                }
                0o120000 => Found::Symlink(inode.read_link().unwrap()),
                _ => {
                    let mut content = vec![0; stat.size as usize];
                    inode.read_at(0, &mut content).unwrap();
                    Found::File { content, mode: stat.mode & 0o7777, links: stat.links as usize }
                }
            };
            found.insert(path, node);
        }
    }
    found
}

/// What happened up to a cut.
struct Cut<'a> {
    world: &'a World<'a>,
    kind: &'a Kind,
    position: usize,
    /// The last operation that must be there.
    synced: usize,
    /// The last operation that had begun.
    last: usize,
}

impl Cut<'_> {
    fn new<'a>(world: &'a World<'a>, kind: &'a Kind, position: usize) -> Cut<'a> {
        let synced =
            world.synced.iter().filter(|(at, _)| *at <= position).map(|(_, op)| *op).max().unwrap_or(0);
        // `started[n]` is where operation n + 1 began.
        let last = world.started.partition_point(|at| *at <= position);
        Cut { world, kind, position, synced: synced.min(last), last }
    }

    /// Whether every byte of `file` is as after operation `op`, but for those that may have changed since in place.
    fn same_content(&self, file: usize, op: usize, content: &[u8]) -> Result<(), String> {
        let state = &self.world.states[op].files[&file];
        // A data operation may take more than one transaction.
        if op < self.last && self.world.writes.iter().any(|write| write.op == op + 1 && write.file == file) {
            return Ok(());
        }
        if state.content.len() != content.len() {
            return Err(format!("size {} instead of {}", content.len(), state.content.len()));
        }
        let wrong = |n: &usize| state.content[*n] != content[*n];
        for n in (0..content.len()).filter(wrong) {
            // Without order, the data of what isn't synced may be anything.
            let from = if self.kind.data == DataMode::Writeback { self.synced } else { op };
            let rewritten = self.world.writes.iter().any(|write| {
                write.file == file
                    && (from + 1..=self.last).contains(&write.op)
                    && (write.start..write.end).contains(&n)
            });
            if !rewritten {
                return Err(format!("byte {n} of {} differs", content.len()));
            }
        }
        Ok(())
    }

    /// Compares an image with the state after `op`.
    fn fits(&self, found: &BTreeMap<String, Found>, op: usize) -> Result<(), String> {
        let state = &self.world.states[op];
        if let Some(path) = state.tree.keys().find(|path| !found.contains_key(*path)) {
            return Err(format!("{path} is missing"));
        }
        for (path, found) in found {
            let Some(node) = state.tree.get(path) else {
                return Err(format!("{path} should not exist"));
            };
            self.same_node(node, found, op).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(())
    }

    fn same_node(&self, node: &Node, found: &Found, op: usize) -> Result<(), String> {
        let state = &self.world.states[op];
        match (node, found) {
            (Node::Directory, Found::Directory) => Ok(()),
            (Node::Symlink(target), Found::Symlink(is)) if **target == *is => Ok(()),
            (Node::File(file), Found::File { content, mode, links }) => {
                // Without a journal e2fsck counts links anew, and another name of the file may be gone.
                let same_links = !self.kind.journal || *links == state.links(*file);
                if *mode != state.files[file].mode || !same_links {
                    return Err(format!("mode {mode:o}, links {links}"));
                }
                self.same_content(*file, op, content)
            }
            _ => Err(format!("expected {node:?}")),
        }
    }

    /// With a journal: the image is as after some operation that isn't before the last synced one.
    fn check_exact(&self, found: &BTreeMap<String, Found>) {
        let mut errors = Vec::new();
        for op in self.synced..=self.last {
            match self.fits(found, op) {
                Ok(()) => return,
                Err(error) => errors.push(format!("{op}: {error}")),
            }
        }
        panic!(
            "cut at {}: operations up to {} are durable and {} had begun, but the image is as after none of them: {errors:#?}",
            self.position, self.synced, self.last
        );
    }

    /// Without one: what was synced and not touched since is there.
    fn check_synced(&self, found: &BTreeMap<String, Found>) {
        let states = &self.world.states[self.synced..=self.last];
        for (path, node) in &states[0].tree {
            // A name is as safe as the names on the way to it.
            let mut ways = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path.as_str()]);
            let stable =
                ways.all(|way| states.iter().all(|state| state.tree.get(way) == states[0].tree.get(way)));
            let untouched = match node {
                Node::File(file) => {
                    let touched = |write: &Write| {
                        write.file == *file && (self.synced + 1..=self.last).contains(&write.op)
                    };
                    !self.world.writes.iter().any(touched)
                        && states.iter().all(|state| {
                            state.links(*file) == states[0].links(*file)
                                && state.files[file].mode == states[0].files[file].mode
                        })
                }
                _ => true,
            };
            if stable && untouched {
                let result = match found.get(path) {
                    None if self.lost_and_found(path, node, found) => Ok(()),
                    None => Err("missing".to_string()),
                    Some(found) => self.same_node(node, found, self.synced),
                };
                if let Err(error) = result {
                    panic!(
                        "cut at {}, {} durable, {} begun: {path}: {error}",
                        self.position, self.synced, self.last
                    );
                }
            }
        }
    }
}

impl Cut<'_> {
    /// Whether a name may be gone, as a directory block on the way to it was torn, and e2fsck has found the file. Empty
    /// ones it clears.
    fn lost_and_found(&self, path: &str, node: &Node, found: &BTreeMap<String, Found>) -> bool {
        let entries = |state: &State, dir: &str| {
            state.tree.keys().filter(|path| split(path).0 == dir).cloned().collect::<Vec<_>>()
        };
        let states = &self.world.states[self.synced..=self.last];
        let ways = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
        let torn = ways.map(|way| split(way).0).any(|dir| {
            let before = entries(&states[0], dir);
            states.iter().any(|state| entries(state, dir) != before)
        });
        let Node::File(file) = node else { return torn };
        let wanted = &self.world.states[self.synced].files[file].content;
        let same = |found: &Found| matches!(found, Found::File { content, .. } if *content == **wanted);
        torn && (wanted.is_empty() || found.values().any(same))
    }
}

fn e2fsck(image: &str, options: &str, allowed: &[i32], context: &str) {
    let output = run("e2fsck", &[options, image]);
    let code = output.status.code().unwrap_or(-1);
    assert!(allowed.contains(&code), "{context}: e2fsck {options}: {code}\n{}", text(&output));
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Cuts the power of a file system of that kind.
fn cut_power(kind: &Kind) {
    let cuts = env("EXT4_POWER_CUTS").unwrap_or(24) as usize;
    let seed = env("EXT4_POWER_SEED").unwrap_or(1);
    let dir = TempDir::new();
    let path = dir.path("image");
    mke2fs(&path, kind.size, kind.mke2fs);
    let device = Arc::new(RecordingDevice::new(fs::read(&path).unwrap()));
    let options = MountOptions { data: kind.data, ..MountOptions::default() };
    let mounted = Filesystem::mount(device.clone(), &options, Arc::new(Messages)).unwrap();
    let mut world = World {
        device: &device,
        fs: mounted,
        random: Random(seed),
        state: State::default(),
        states: vec![State::default()],
        started: Vec::new(),
        synced: Vec::new(),
        writes: Vec::new(),
        touched: BTreeMap::new(),
        open: Vec::new(),
        files: 0,
    };
    world.run(if cuts > 100 { 1500 } else { 500 });
    let end = device.position();
    let mut positions: Vec<usize> = (0..cuts).map(|_| world.random.below(end + 1)).collect();
    positions.sort_unstable();
    let mut record = device.cuts();
    let mut random = Random(seed + 1);
    for position in positions {
        let cut = Cut::new(&world, kind, position);
        let image = record.image(position, |below| random.below(below));
        let context = format!("{}, seed {seed}, cut at {position}", kind.mke2fs);
        fs::write(&path, &image).unwrap();
        let name = path.to_str().unwrap();
        e2fsck(name, "-fy", &[0, 1], &context);
        e2fsck(name, "-fn", &[0], &context);
        let repaired = mount_copy(fs::read(&path).unwrap(), &options);
        let found = tree(&repaired, !kind.journal);
        if kind.journal {
            cut.check_exact(&found);
            let replayed = Arc::new(MemoryDevice::new(image));
            let mounted = Filesystem::mount(replayed.clone(), &options, Arc::new(Messages)).unwrap();
            cut.check_exact(&tree(&mounted, false));
            mounted.unmount().unwrap();
            fs::write(&path, replayed.snapshot()).unwrap();
            e2fsck(name, "-fn", &[0], &format!("{context}, replayed"));
        } else {
            cut.check_synced(&found);
        }
    }
    finish(&mut world, &path);
}

/// Unmounts: everything must be there, and clean.
fn finish(world: &mut World<'_>, path: &std::path::Path) {
    world.open.clear();
    world.fs.unmount().unwrap();
    fs::write(path, world.device.snapshot()).unwrap();
    e2fsck(path.to_str().unwrap(), "-fn", &[0], "unmounted");
    let end = world.states.len() - 1;
    world.synced.push((world.device.position(), end));
    let kind = Kind { ..EXT4 };
    let found = tree(&mount_copy(world.device.snapshot(), &MountOptions::default()), false);
    Cut::new(world, &kind, usize::MAX).check_exact(&found);
}

/// Mounts an image for reading.
fn mount_copy(image: Vec<u8>, options: &MountOptions) -> Arc<Filesystem> {
    let options = MountOptions { read_only: true, ..options.clone() };
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(image));
    Filesystem::mount(device, &options, Arc::new(Messages)).unwrap()
}

#[test]
fn ext2() {
    cut_power(&EXT2);
}

#[test]
fn ext3() {
    cut_power(&EXT3);
}

#[test]
fn ext4() {
    cut_power(&EXT4);
}

#[test]
fn ext4_with_small_blocks() {
    cut_power(&Kind { mke2fs: "-t ext4 -b 1024 -J size=1", size: 12288, ..EXT4 });
}

#[test]
fn ext4_without_checksums() {
    cut_power(&Kind { mke2fs: "-t ext4 -b 1024 -O ^metadata_csum,^64bit -J size=1", size: 12288, ..EXT4 });
}

#[test]
fn ext4_with_orphan_file() {
    cut_power(&Kind { mke2fs: "-t ext4 -b 1024 -O orphan_file,inline_data -J size=1", size: 12288, ..EXT4 });
}

#[test]
fn ext4_journaling_data() {
    cut_power(&Kind { data: DataMode::Journal, ..EXT4 });
}

#[test]
fn ext3_journaling_data() {
    cut_power(&Kind { data: DataMode::Journal, ..EXT3 });
}

#[test]
fn ext4_writeback() {
    cut_power(&Kind { data: DataMode::Writeback, ..EXT4 });
}

#[test]
fn ext3_writeback() {
    cut_power(&Kind { data: DataMode::Writeback, ..EXT3 });
}
