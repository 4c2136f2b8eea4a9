//! inotify(7).
//!
//! - `queue.rs`: events that wait to be read. `calls.rs`: the syscalls.
//!
//! A watch hangs on its inode ([`Inode::add_watch`]) and keeps it in memory; `vfs::notify` calls it. A group holds its
//! watches by number.
//!
//! Locks: the table of watches (INOTIFY), then the inode's own; INOTIFY_QUEUE for events.

mod calls;
mod queue;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EEXIST, EINVAL, ENOSPC, ENOTTY};
use abi::inotify::{
    IN_ALL_EVENTS, IN_DELETE_SELF, IN_EXCL_UNLINK, IN_IGNORED, IN_ISDIR, IN_MASK_ADD, IN_MASK_CREATE,
    IN_MOVE_SELF, IN_ONESHOT, IN_UNMOUNT,
};

pub use calls::{inotify_add_watch, inotify_init, inotify_init1, inotify_rm_watch};

use self::queue::{Event, Queue};
use crate::mm::kmem::Kmem;
use crate::sync::{Mutex, PollTable, SpinLock, rank};
use crate::task::user_count::{Counted, UserCount};
use crate::uaccess::UserPtr;
use crate::vfs::fasync::FasyncList;
use crate::vfs::{File, FileOps, Inode, InodeWatch, IovDest, PollEvents};

/// Bounds as /proc/sys/fs/inotify shows them: queued events, instances and watches of a user.
pub fn limits() -> [usize; 3] {
    [queue::MAX_QUEUED, INSTANCES.limit(), WATCHES.limit()]
}

/// What a watch takes, with the inode that it keeps.
const SIZE: usize = 1536;

/// /proc/sys/fs/inotify/max_user_watches.
static WATCHES: UserCount = UserCount::new(65_536);
/// /proc/sys/fs/inotify/max_user_instances.
static INSTANCES: UserCount = UserCount::new(128);

/// An inotify instance.
pub struct Group {
    me: Weak<Group>,
    queue: Queue,
    watches: SpinLock<Watches>,
    /// Serialises inotify_add_watch, so that an inode gets one watch.
    adding: Mutex<()>,
    _counted: Counted,
}

#[derive(Default)]
struct Watches {
    by_wd: HashMap<i32, Arc<Watch>>,
    last: i32,
}

/// One watched inode.
struct Watch {
    group: Weak<Group>,
    wd: i32,
    id: u64,
    inode: Arc<Inode>,
    /// Wanted events, IN_ONESHOT, IN_EXCL_UNLINK.
    mask: AtomicU32,
    /// Removed: events on their way are not told any more.
    dead: AtomicBool,
    _counted: Counted,
    _memory: Kmem,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Group {
    fn new(counted: Counted) -> Arc<Group> {
        Arc::new_cyclic(|me| Group {
            me: me.clone(),
            queue: Queue::new(),
            watches: SpinLock::new(rank::INOTIFY, Watches::default()),
            adding: Mutex::new(()),
            _counted: counted,
        })
    }

    /// Watches `inode` for `mask`; the watch descriptor. EEXIST, ENOSPC.
    fn watch(&self, inode: &Arc<Inode>, mask: u32) -> Result<i32> {
        let _serial = self.adding.lock();
        let wanted = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
        let known = self.watches.lock().by_wd.values().find(|w| Arc::ptr_eq(&w.inode, inode)).cloned();
        if let Some(watch) = known {
            if mask & IN_MASK_CREATE != 0 {
                return Err(EEXIST);
            }
            if mask & IN_MASK_ADD != 0 {
                watch.mask.fetch_or(wanted, Ordering::SeqCst);
            } else {
                watch.mask.store(wanted, Ordering::SeqCst);
            }
            return Ok(watch.wd);
        }
        let counted = WATCHES.charge().ok_or(ENOSPC)?;
        let memory = Kmem::charge(SIZE)?;
        let watch = {
            let mut watches = self.watches.lock();
            let wd = watches.free_wd().ok_or(ENOSPC)?;
            let watch = Arc::new(Watch {
                group: self.me.clone(),
                wd,
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                inode: inode.clone(),
                mask: AtomicU32::new(wanted),
                dead: AtomicBool::new(false),
                _counted: counted,
                _memory: memory,
            });
            watches.by_wd.insert(wd, watch.clone());
            watch
        };
        inode.add_watch(watch.clone());
        Ok(watch.wd)
    }

    /// Ends a watch and says so. EINVAL.
    fn unwatch(&self, wd: i32) -> Result<()> {
        let watch = self.watches.lock().by_wd.remove(&wd).ok_or(EINVAL)?;
        watch.detach();
        self.queue.push(Event { wd, mask: IN_IGNORED, cookie: 0, name: None });
        Ok(())
    }
}

impl Watches {
    /// The next number that isn't in use; they are used up in turn before one comes back.
    fn free_wd(&mut self) -> Option<i32> {
        for _ in 0..=self.by_wd.len() {
            self.last = if self.last == i32::MAX { 1 } else { self.last + 1 };
            if !self.by_wd.contains_key(&self.last) {
                return Some(self.last);
            }
        }
        None
    }
}

impl Watch {
    fn detach(&self) {
        self.dead.store(true, Ordering::SeqCst);
        let hung = self.inode.remove_watch(self.id);
        drop(hung);
    }
}

impl InodeWatch for Watch {
    fn event(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let Some(group) = self.group.upgrade() else { return };
        if self.dead.load(Ordering::SeqCst) {
            return;
        }
        let wanted = self.mask.load(Ordering::SeqCst);
        let about_self = mask & (IN_DELETE_SELF | IN_MOVE_SELF) != 0;
        let told = mask & (wanted | IN_UNMOUNT) & (IN_ALL_EVENTS | IN_UNMOUNT);
        if told != 0 {
            let is_dir = if about_self { 0 } else { mask & IN_ISDIR };
            group.queue.push(Event { wd: self.wd, mask: told | is_dir, cookie, name: name.map(Box::from) });
        }
        let once = wanted & IN_ONESHOT != 0 && told != 0;
        if once || (mask & (IN_DELETE_SELF | IN_UNMOUNT) != 0 && name.is_none()) {
            // Somebody else may have removed it at the same time.
            let _ = group.unwatch(self.wd);
        }
    }

    fn id(&self) -> u64 {
        self.id
    }
}

/// The open file of a group.
struct InotifyFile(Arc<Group>);

impl FileOps for InotifyFile {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        self.0.queue.read(dest)
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(self.0.queue.waiters());
        if self.0.queue.is_empty() { PollEvents::empty() } else { PollEvents::READABLE }
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        if cmd != abi::ioctl::FIONREAD {
            return Err(ENOTTY);
        }
        UserPtr::<i32>::new(arg).write(&i32::try_from(self.0.queue.bytes()).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn fasync(&self, _: &File, _: bool, set: &mut dyn FnMut(&FasyncList)) {
        set(&self.0.queue.fasync);
    }

    fn release(&self, _: &File) {
        let watches = core::mem::take(&mut self.0.watches.lock().by_wd);
        for watch in watches.values() {
            watch.detach();
        }
    }

    fn fdinfo(&self, _: &File) -> String {
        let watches: Vec<_> = self.0.watches.lock().by_wd.values().cloned().collect();
        let line = |w: &Arc<Watch>| {
            let mask = w.mask.load(Ordering::SeqCst);
            format!(
                "inotify wd:{:x} ino:{:x} sdev:{:x} mask:{mask:x} ignored_mask:0 \n",
                w.wd, w.inode.ino, w.inode.sb.dev
            )
        };
        watches.iter().map(line).collect()
    }
}
