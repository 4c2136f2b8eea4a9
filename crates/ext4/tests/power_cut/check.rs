//! What must be in an image after a power cut.

use crate::Kind;
use crate::model::{Node, State, World, Write, split};
use ext4::{DataMode, Filesystem, Inode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was found in an image.
#[derive(Debug)]
pub enum Found {
    File { content: Vec<u8>, mode: u16, links: usize, attrs: BTreeMap<String, Vec<u8>> },
    Directory,
    Symlink(Vec<u8>),
}

fn attributes(inode: &Inode) -> BTreeMap<String, Vec<u8>> {
    let names = inode.xattr_list().unwrap();
    let value = |name: Vec<u8>| (String::from_utf8(name.clone()).unwrap(), inode.xattr_get(&name).unwrap());
    names.into_iter().map(value).collect()
}

/// Reads a whole tree.
pub fn tree(fs: &Arc<Filesystem>, with_lost: bool) -> BTreeMap<String, Found> {
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
                    Found::File {
                        content,
                        mode: stat.mode & 0o7777,
                        links: stat.links as usize,
                        attrs: attributes(&inode),
                    }
                }
            };
            found.insert(path, node);
        }
    }
    found
}

/// What happened up to a cut.
pub struct Cut<'a> {
    world: &'a World,
    kind: &'a Kind,
    position: usize,
    /// The last operation that must be there.
    synced: usize,
    /// The last operation that had begun.
    last: usize,
}

impl Cut<'_> {
    pub fn new<'a>(world: &'a World, kind: &'a Kind, position: usize) -> Cut<'a> {
        let synced =
            world.synced.iter().filter(|(at, _)| *at <= position).map(|(_, op)| *op).max().unwrap_or(0);
        // `started[n]` is where operation n + 1 began.
        let last = world.started.partition_point(|at| *at <= position);
        Cut { world, kind, position, synced: synced.min(last), last }
    }

    /// Whether every byte of `file` is as after operation `op`, but for those that may have changed since in place.
    fn same_content(&self, file: usize, op: usize, content: &[u8]) -> Result<(), String> {
        let state = &self.world.states[op].files[&file];
        let writes = || self.world.writes.iter().filter(|write| write.file == file);
        // A data operation may take more than one transaction.
        if op < self.last && writes().any(|write| write.op == op + 1 && !write.shifts) {
            return Ok(());
        }
        if state.content.len() != content.len() {
            return Err(format!("size {} instead of {}", content.len(), state.content.len()));
        }
        let wrong = |n: &usize| state.content[*n] != content[*n];
        for n in (0..content.len()).filter(wrong) {
            // Without order, the data of what isn't synced may be anything.
            let from = if self.kind.options().data == DataMode::Writeback { self.synced } else { op };
            let later = || writes().filter(|write| (from + 1..=self.last).contains(&write.op));
            // What is written after a shift is in the same blocks at other offsets before it.
            let shifted = later().find(|write| write.shifts).map_or(usize::MAX, |write| write.op);
            let rewritten = later()
                .any(|write| (write.start..write.end).contains(&n) || write.op > shifted && !write.shifts);
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
            (Node::File(file), Found::File { content, mode, links, attrs }) => {
                // Without a journal e2fsck counts links anew, and another name of the file may be gone.
                let same_links = !self.kind.has_journal() || *links == state.links(*file);
                if *mode != state.files[file].mode || !same_links || *attrs != state.files[file].attrs {
                    return Err(format!("mode {mode:o}, links {links}, attributes {:?}", attrs.keys()));
                }
                self.same_content(*file, op, content)
            }
            _ => Err(format!("expected {node:?}")),
        }
    }

    /// With a journal: the image is as after some operation that isn't before the last synced one.
    pub fn check_exact(&self, found: &BTreeMap<String, Found>) {
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
    pub fn check_synced(&self, found: &BTreeMap<String, Found>) {
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
                                && state.files[file].attrs == states[0].files[file].attrs
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
    /// Whether a name may be gone, as a directory block on the way to it was torn, and e2fsck has found the file. Those
    /// without a block it clears: empty ones, and those that are one hole.
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
        torn && (wanted.iter().all(|byte| *byte == 0) || found.values().any(same))
    }
}
