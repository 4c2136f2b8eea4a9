//! The cgroup2 file system: `crate::cgroup`'s groups as directories. Every mount shows the same one.

use std::sync::{Arc, OnceLock};

use abi::Result;
use abi::errno::{EINVAL, ENOTDIR, EOPNOTSUPP, ESRCH};
use abi::inotify::IN_MODIFY;

use super::kernfs::{self, Attr, Entry, KernSuper, Node};
use crate::cgroup::{self, Cgroup};
use crate::sync::Mutex;
use crate::task::{current, pid};
use crate::vfs::{FileType, FsType, SetAttr, SuperBlock, notify};

/// cgroup2
pub static CGROUP2: FsType = FsType { name: "cgroup2", nodev: true, cache_negative: false, mount };

static THE_ONE: OnceLock<Arc<SuperBlock>> = OnceLock::new();

fn mount(fs_type: &'static FsType, source: &[u8], _: u32, data: &[u8]) -> Result<Arc<SuperBlock>> {
    let known = ["nsdelegate", "memory_recursiveprot", "memory_localevents", "favordynmods"];
    let text = core::str::from_utf8(data).map_err(|_| EINVAL)?;
    if text.split(',').any(|word| !word.is_empty() && !known.contains(&word)) {
        return Err(EINVAL);
    }
    static MAKING: std::sync::LazyLock<Mutex<()>> = std::sync::LazyLock::new(|| Mutex::new(()));
    let _guard = MAKING.lock();
    if let Some(sb) = THE_ONE.get() {
        return Ok(sb.clone());
    }
    let root = Box::new(Dir(cgroup::root()));
    let sb = kernfs::new_super(
        fs_type,
        source,
        Box::new(KernSuper { magic: abi::stat::CGROUP2_SUPER_MAGIC }),
        root,
    );
    Ok(THE_ONE.get_or_init(|| sb).clone())
}

/// Tells who watches a group's `cgroup.events` that they have changed. Sleeps.
pub fn events_changed(group: &Cgroup) {
    // Nobody watches what nobody has looked up.
    let Some(Ok(root)) = THE_ONE.get().map(|sb| sb.root()) else { return };
    let mut at = root;
    for name in group.names().into_iter().chain(["cgroup.events"]) {
        match at.lookup(name.as_bytes(), true) {
            Ok(Some(next)) => at = next,
            _ => return,
        }
    }
    if let Some(inode) = at.inode() {
        notify::on_inode(&inode, IN_MODIFY);
    }
}

/// A file of a group.
struct File {
    name: &'static str,
    mode: u32,
    /// The root has it, too.
    in_root: bool,
    show: fn(&Arc<Cgroup>) -> String,
    store: fn(&Arc<Cgroup>, &[u8]) -> Result<()>,
}

fn refuse(_: &Arc<Cgroup>, _: &[u8]) -> Result<()> {
    Err(EINVAL)
}

static FILES: [File; 10] = [
    File { name: "cgroup.controllers", mode: 0o444, in_root: true, show: |_| "\n".to_owned(), store: refuse },
    File {
        name: "cgroup.events",
        mode: 0o444,
        in_root: false,
        show: |g| format!("populated {}\nfrozen 0\n", u8::from(g.is_populated())),
        store: refuse,
    },
    File { name: "cgroup.kill", mode: 0o200, in_root: false, show: |_| String::new(), store: kill },
    File {
        name: "cgroup.max.depth",
        mode: 0o644,
        in_root: true,
        show: |_| "max\n".to_owned(),
        store: only_max,
    },
    File {
        name: "cgroup.max.descendants",
        mode: 0o644,
        in_root: true,
        show: |_| "max\n".to_owned(),
        store: only_max,
    },
    File { name: "cgroup.procs", mode: 0o644, in_root: true, show: procs, store: attach },
    File {
        name: "cgroup.stat",
        mode: 0o444,
        in_root: true,
        show: |g| format!("nr_descendants {}\nnr_dying_descendants 0\n", descendants(g)),
        store: refuse,
    },
    File {
        name: "cgroup.subtree_control",
        mode: 0o644,
        in_root: true,
        show: |_| "\n".to_owned(),
        store: control,
    },
    File { name: "cgroup.threads", mode: 0o644, in_root: true, show: threads, store: |_, _| Err(EOPNOTSUPP) },
    File { name: "cgroup.type", mode: 0o644, in_root: false, show: |_| "domain\n".to_owned(), store: kind },
];

fn descendants(group: &Arc<Cgroup>) -> usize {
    group.children().iter().map(|c| 1 + descendants(c)).sum()
}

fn procs(group: &Arc<Cgroup>) -> String {
    group.processes().iter().map(|p| format!("{}\n", p.tgid)).collect()
}

fn threads(group: &Arc<Cgroup>) -> String {
    group.processes().iter().flat_map(|p| p.threads()).map(|t| format!("{}\n", t.tid())).collect()
}

fn kill(group: &Arc<Cgroup>, data: &[u8]) -> Result<()> {
    if kernfs::number(data)? != 1 {
        return Err(abi::errno::ERANGE);
    }
    group.kill();
    Ok(())
}

fn only_max(_: &Arc<Cgroup>, data: &[u8]) -> Result<()> {
    if kernfs::word(data)? == "max" { Ok(()) } else { Err(EINVAL) }
}

/// There are no controllers that could be enabled.
fn control(_: &Arc<Cgroup>, data: &[u8]) -> Result<()> {
    if kernfs::word(data)?.is_empty() { Ok(()) } else { Err(EINVAL) }
}

fn kind(_: &Arc<Cgroup>, data: &[u8]) -> Result<()> {
    if kernfs::word(data)? == "threaded" { Err(EOPNOTSUPP) } else { Err(EINVAL) }
}

fn attach(group: &Arc<Cgroup>, data: &[u8]) -> Result<()> {
    let number = i32::try_from(kernfs::number(data)?).map_err(|_| ESRCH)?;
    let process = match number {
        0 => current().process.clone(),
        1.. => pid::find_task(number)?.process.clone(),
        _ => return Err(EINVAL),
    };
    if process.kthread.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(EINVAL);
    }
    cgroup::attach(group, &process, &current().cred())
}

fn applied(group: &Cgroup, file: &'static str, attr: Attr) -> Attr {
    let set = group.attr(file);
    Attr {
        mode: set.mode.map_or(attr.mode, |m| m & 0o7777),
        uid: set.uid.unwrap_or(0),
        gid: set.gid.unwrap_or(0),
        ..attr
    }
}

struct Dir(Arc<Cgroup>);

impl Dir {
    fn files(&self) -> impl Iterator<Item = &'static File> {
        let root = self.0.is_root();
        FILES.iter().filter(move |f| f.in_root || !root)
    }
}

impl Node for Dir {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn is_current(&self) -> bool {
        !self.0.is_removed()
    }

    fn attr(&self) -> Result<Attr> {
        let nlink = 2 + self.0.children().len() as u32;
        Ok(applied(&self.0, "", Attr { nlink, ..Attr::root(0o755) }))
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        if let Some(file) = self.files().find(|f| f.name.as_bytes() == name) {
            return Ok(Box::new(Leaf(self.0.clone(), file)));
        }
        Ok(Box::new(Dir(self.0.child(name)?)))
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        let index = usize::try_from(from.saturating_sub(2)).map_err(|_| EINVAL)?;
        let count = self.files().count();
        let (name, kind) = match self.files().nth(index) {
            Some(file) => (file.name.to_owned(), FileType::Regular),
            None => match self.0.children().get(index - count) {
                Some(child) => (child.name.clone(), FileType::Dir),
                None => return Ok(None),
            },
        };
        Ok(Some(Entry { pos: index as u64 + 2, name: name.into_bytes(), kind, ino: None }))
    }

    fn mkdir(&self, name: &[u8]) -> Result<()> {
        let text = core::str::from_utf8(name).map_err(|_| EINVAL)?;
        if text.contains('\n') {
            return Err(EINVAL);
        }
        self.0.make(text)?;
        // Whoever may make groups here owns them.
        let (child, cred) = (self.0.child(name)?, current().cred());
        if cred.fsuid != 0 {
            let own = SetAttr { uid: Some(cred.fsuid), gid: Some(cred.fsgid), ..SetAttr::default() };
            for file in [""].into_iter().chain(FILES.iter().map(|f| f.name)) {
                child.set_attr(file, &own);
            }
        }
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        if self.files().any(|f| f.name.as_bytes() == name) {
            return Err(ENOTDIR);
        }
        self.0.remove(name)
    }

    fn setattr(&self, set: &SetAttr) -> Result<()> {
        self.0.set_attr("", set);
        Ok(())
    }
}

struct Leaf(Arc<Cgroup>, &'static File);

impl Node for Leaf {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn is_current(&self) -> bool {
        !self.0.is_removed()
    }

    fn attr(&self) -> Result<Attr> {
        Ok(applied(&self.0, self.1.name, Attr::root(self.1.mode)))
    }

    fn show(&self) -> Result<Vec<u8>> {
        if self.0.is_removed() {
            return Err(abi::errno::ENODEV);
        }
        Ok((self.1.show)(&self.0).into_bytes())
    }

    fn store(&self, data: &[u8]) -> Result<()> {
        if self.0.is_removed() {
            return Err(abi::errno::ENODEV);
        }
        (self.1.store)(&self.0, data)
    }

    fn setattr(&self, set: &SetAttr) -> Result<()> {
        self.0.set_attr(self.1.name, set);
        Ok(())
    }
}
