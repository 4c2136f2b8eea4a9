//! [`Tree`]: entries that are always there, as /proc/sys and /sys have them. A directory may get more of them later.
//!
//! Lock: INODE, over the entries of one directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use abi::errno::{EINVAL, EIO, ENOENT, ENOTDIR};

use super::{Attr, Entry, Node};
use crate::sync::{SpinLock, rank};
use crate::vfs::FileType;

type Show = Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;
type Store = Box<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;

/// A file, link or directory, with its name.
pub struct Tree {
    name: String,
    mode: u32,
    /// Bytes that stat(2) shows.
    size: u64,
    body: Body,
    /// Its name is gone.
    removed: AtomicBool,
}

enum Body {
    Dir(SpinLock<Vec<Arc<Tree>>>),
    File(Option<Show>, Option<Store>),
    Link(Show),
    Node(Box<dyn Fn() -> Box<dyn Node> + Send + Sync>),
}

impl Tree {
    fn new(name: &str, mode: u32, body: Body) -> Arc<Tree> {
        Arc::new(Tree { name: name.to_owned(), mode, size: 0, body, removed: AtomicBool::new(false) })
    }

    /// Adds an entry to a directory; one of the same name goes. ENOTDIR.
    pub fn add(&self, child: Arc<Tree>) -> Result<()> {
        let Body::Dir(children) = &self.body else { return Err(ENOTDIR) };
        let mut children = children.lock();
        let old = children.iter().position(|c| c.name == child.name).map(|i| children.remove(i));
        children.push(child);
        drop(children);
        drop(old);
        Ok(())
    }

    /// Takes an entry out of a directory. ENOENT; ENOTDIR.
    pub fn remove(&self, name: &str) -> Result<()> {
        let Body::Dir(children) = &self.body else { return Err(ENOTDIR) };
        let mut children = children.lock();
        let at = children.iter().position(|c| c.name == name).ok_or(ENOENT)?;
        let gone = children.remove(at);
        drop(children);
        gone.removed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The directory at `path` below it, made with `mode` where it is missing. ENOTDIR.
    pub fn dir_at(self: &Arc<Self>, path: &str, mode: u32) -> Result<Arc<Tree>> {
        let mut at = self.clone();
        for name in path.split('/').filter(|n| !n.is_empty()) {
            let next = match at.child(name.as_bytes()) {
                Ok(found) => found,
                Err(ENOENT) => {
                    let made = dir_with(name, mode, []);
                    at.add(made.clone())?;
                    made
                }
                Err(errno) => return Err(errno),
            };
            at = next;
        }
        Ok(at)
    }

    /// A directory's entry by name. ENOENT; ENOTDIR.
    pub fn child(&self, name: &[u8]) -> Result<Arc<Tree>> {
        let Body::Dir(children) = &self.body else { return Err(ENOTDIR) };
        children.lock().iter().find(|c| c.name.as_bytes() == name).cloned().ok_or(ENOENT)
    }

    /// Number of entries of a directory.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Dir(children) => children.lock().len(),
            _ => 0,
        }
    }

    /// Whether it is a directory without entries, or none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of directories in a directory.
    pub fn subdirs(&self) -> usize {
        match &self.body {
            Body::Dir(children) => children.lock().iter().filter(|c| matches!(c.body, Body::Dir(_))).count(),
            _ => 0,
        }
    }

    /// The entry that is `index`th in a directory, at position `index + 2`.
    pub fn entry(&self, index: u64) -> Option<Entry> {
        let Body::Dir(children) = &self.body else { return None };
        let child = children.lock().get(usize::try_from(index).ok()?)?.clone();
        Some(Entry {
            pos: index + 2,
            name: child.name.clone().into_bytes(),
            kind: child.file_type(),
            ino: None,
        })
    }

    /// What is behind its inode.
    pub fn into_node(self: Arc<Self>) -> Box<dyn Node> {
        match &self.body {
            Body::Node(make) => make(),
            _ => Box::new(TreeNode(self)),
        }
    }

    fn file_type(&self) -> FileType {
        match &self.body {
            Body::Dir(_) => FileType::Dir,
            Body::File(..) => FileType::Regular,
            Body::Link(_) => FileType::Symlink,
            Body::Node(make) => make().kind(),
        }
    }
}

/// A directory.
pub fn dir(name: &str, children: impl IntoIterator<Item = Arc<Tree>>) -> Arc<Tree> {
    dir_with(name, 0o555, children)
}

/// A directory with its permission bits.
pub fn dir_with(name: &str, mode: u32, children: impl IntoIterator<Item = Arc<Tree>>) -> Arc<Tree> {
    let children = SpinLock::new(rank::INODE, children.into_iter().collect());
    Tree::new(name, mode, Body::Dir(children))
}

/// The same file with a size for stat(2). `tree` is not in a directory yet.
pub fn sized(mut tree: Arc<Tree>, size: u64) -> Arc<Tree> {
    if let Some(tree) = Arc::get_mut(&mut tree) {
        tree.size = size;
    }
    tree
}

/// A file that can be read.
pub fn text<T: Into<Vec<u8>>>(name: &str, show: impl Fn() -> T + Send + Sync + 'static) -> Arc<Tree> {
    try_text(name, 0o444, move || Ok(show()))
}

/// The same with its permission bits, and a text that may fail.
pub fn try_text<T: Into<Vec<u8>>>(
    name: &str,
    mode: u32,
    show: impl Fn() -> Result<T> + Send + Sync + 'static,
) -> Arc<Tree> {
    Tree::new(name, mode, Body::File(Some(Box::new(move || show().map(Into::into))), None))
}

/// A file that can be read, and written by root.
pub fn var<T: Into<Vec<u8>>>(
    name: &str,
    mode: u32,
    show: impl Fn() -> T + Send + Sync + 'static,
    store: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
) -> Arc<Tree> {
    let show: Show = Box::new(move || Ok(show().into()));
    let show = (mode & 0o444 != 0).then_some(show);
    Tree::new(name, mode, Body::File(show, Some(Box::new(store))))
}

/// A symbolic link.
pub fn link<T: Into<Vec<u8>>>(
    name: &str,
    target: impl Fn() -> Result<T> + Send + Sync + 'static,
) -> Arc<Tree> {
    Tree::new(name, 0o777, Body::Link(Box::new(move || target().map(Into::into))))
}

/// Something with a node of its own.
pub fn node(name: &str, make: impl Fn() -> Box<dyn Node> + Send + Sync + 'static) -> Arc<Tree> {
    Tree::new(name, 0, Body::Node(Box::new(make)))
}

struct TreeNode(Arc<Tree>);

impl Node for TreeNode {
    fn kind(&self) -> FileType {
        self.0.file_type()
    }

    fn is_current(&self) -> bool {
        !self.0.removed.load(Ordering::Relaxed)
    }

    fn attr(&self) -> Result<Attr> {
        let mut attr = Attr { size: self.0.size, ..Attr::root(self.0.mode) };
        if self.kind() == FileType::Dir {
            attr.nlink = 2 + self.0.subdirs() as u32;
        }
        Ok(attr)
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        Ok(self.0.child(name)?.into_node())
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        Ok(self.0.entry(from.saturating_sub(2)))
    }

    fn show(&self) -> Result<Vec<u8>> {
        match &self.0.body {
            Body::File(Some(show), _) => show(),
            _ => Err(EIO),
        }
    }

    fn store(&self, data: &[u8]) -> Result<()> {
        match &self.0.body {
            Body::File(_, Some(store)) => store(data),
            _ => Err(EIO),
        }
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        match &self.0.body {
            Body::Link(target) => target(),
            _ => Err(EINVAL),
        }
    }
}
