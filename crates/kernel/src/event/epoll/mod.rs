//! epoll(7).
//!
//! - `item.rs`: one watched descriptor. `calls.rs`: the syscalls. `nest.rs`: epolls that watch epolls.
//!
//! An item stands on the wait queues of its file for as long as it is watched; a wake-up puts it on the ready list. A
//! wait takes items off that list, asks each file what it is ready for, and puts level-triggered ones back: so it costs
//! what is ready, not what is watched.
//!
//! Locks: `mtx` (sleeping) serialises epoll_ctl and the delivery of events; then EPOLL (table of items); EPOLL_WAKE
//! (ready list), which wakers take with locks of their own held.

mod calls;
mod item;
mod nest;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EEXIST, ENOENT};
use abi::poll::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLONESHOT, EPOLLWAKEUP, EpollEvent};

pub use calls::{epoll_create, epoll_create1, epoll_ctl, epoll_pwait, epoll_pwait2, epoll_wait};
pub use item::max_user_watches;

use self::item::Item;
use crate::sync::{Mutex, PollTable, SpinLock, WaitQueue, rank};
use crate::vfs::{EpollWatch, File, FileOps, PollEvents};

/// Bits of an item's events that are no events.
const PRIVATE_BITS: u32 = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;

/// A watched descriptor: the same file under another number is another item. The file is named by its address.
type Key = (usize, i32);

/// An epoll instance.
pub struct Eventpoll {
    me: Weak<Eventpoll>,
    mtx: Mutex<()>,
    items: SpinLock<HashMap<Key, Arc<Item>>>,
    ready: SpinLock<VecDeque<Arc<Item>>>,
    /// Tasks in epoll_wait(2).
    waiters: WaitQueue,
    /// Those who poll the epoll's own descriptor.
    pollers: WaitQueue,
    /// Epolls that watch this one, once for each of their items.
    parents: SpinLock<Vec<Weak<Eventpoll>>>,
}

impl Eventpoll {
    fn new() -> Arc<Eventpoll> {
        Arc::new_cyclic(|me| Eventpoll {
            me: me.clone(),
            mtx: Mutex::new(()),
            items: SpinLock::new(rank::EPOLL, HashMap::new()),
            ready: SpinLock::new(rank::EPOLL_WAKE, VecDeque::new()),
            waiters: WaitQueue::new(),
            pollers: WaitQueue::new(),
            parents: SpinLock::new(rank::LEAF, Vec::new()),
        })
    }

    /// EPOLL_CTL_ADD. EEXIST, ENOSPC, ELOOP; EINVAL for too many ways that a wake-up would take.
    fn add(&self, file: &Arc<File>, fd: i32, event: EpollEvent) -> Result<()> {
        let target = EpollFile::of(file);
        let nested = target.is_some() || !self.parents.lock().is_empty();
        let _nesting = if nested { Some(nest::lock()) } else { None };
        if let Some(target) = target {
            nest::check_depth(self, target)?;
        }
        let _serial = self.mtx.lock();
        let key = key(file, fd);
        if self.items.lock().contains_key(&key) {
            return Err(EEXIST);
        }
        let item = Item::new(self.me.clone(), file, fd, event)?;
        self.items.lock().insert(key, item.clone());
        {
            let mut epolls = file.epolls.lock();
            epolls.retain(|e| e.strong_count() > 0);
            let me: Weak<dyn EpollWatch> = self.me.clone();
            if !epolls.iter().any(|e| Weak::ptr_eq(e, &me)) {
                epolls.push(me);
            }
        }
        if let Some(target) = target {
            let mut parents = target.parents.lock();
            parents.retain(|p| p.strong_count() > 0);
            parents.push(self.me.clone());
        }
        if nested && let Err(errno) = nest::check_paths(file) {
            self.items.lock().remove(&key);
            self.forget_parent(target);
            return Err(errno);
        }
        if item.register(file).bits() & item.events() != 0 {
            self.queue(&item);
        }
        Ok(())
    }

    /// EPOLL_CTL_MOD. ENOENT.
    fn modify(&self, file: &Arc<File>, fd: i32, event: EpollEvent) -> Result<()> {
        let _serial = self.mtx.lock();
        let item = self.items.lock().get(&key(file, fd)).cloned().ok_or(ENOENT)?;
        if item.events() & EPOLLEXCLUSIVE != 0 {
            return Err(abi::errno::EINVAL);
        }
        item.set(event);
        if item.poll(file).bits() & item.events() != 0 {
            self.queue(&item);
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL. ENOENT.
    fn delete(&self, file: &Arc<File>, fd: i32) -> Result<()> {
        let _serial = self.mtx.lock();
        let item = self.items.lock().remove(&key(file, fd)).ok_or(ENOENT)?;
        self.retire(&item);
        self.forget_parent(EpollFile::of(file));
        Ok(())
    }

    /// One item less of this epoll watches `target`.
    fn forget_parent(&self, target: Option<&Arc<Eventpoll>>) {
        let Some(target) = target else { return };
        let mut parents = target.parents.lock();
        if let Some(at) = parents.iter().position(|p| Weak::ptr_eq(p, &self.me)) {
            parents.swap_remove(at);
        }
    }

    /// Takes an item that is no longer in the table off its queues and off the ready list.
    fn retire(&self, item: &Arc<Item>) {
        item.unregister();
        let mut ready = self.ready.lock();
        if item.queued.swap(true, Ordering::SeqCst) {
            ready.retain(|i| !Arc::ptr_eq(i, item));
        }
    }

    /// Puts an item on the ready list and wakes those who wait. Answers whether somebody waited in epoll_wait(2).
    fn queue(&self, item: &Arc<Item>) -> bool {
        {
            let mut ready = self.ready.lock();
            if !item.queued.swap(true, Ordering::SeqCst) {
                ready.push_back(item.clone());
            }
        }
        let waited = !self.waiters.is_empty();
        self.waiters.wake(PollEvents::READABLE);
        self.pollers.wake(PollEvents::READABLE);
        waited
    }

    fn has_ready(&self) -> bool {
        !self.ready.lock().is_empty()
    }

    /// Hands up to `max` events to `deliver`. If it fails nothing is lost: the items are ready again.
    fn deliver(&self, max: usize, deliver: impl FnOnce(&[EpollEvent]) -> Result<()>) -> Result<usize> {
        let _serial = self.mtx.lock();
        let mut rounds = self.ready.lock().len();
        let mut items = Vec::new();
        let mut events = Vec::new();
        while rounds > 0 && events.len() < max {
            rounds -= 1;
            let next = {
                let mut ready = self.ready.lock();
                let next = ready.pop_front();
                if let Some(item) = &next {
                    // From here on a wake-up queues it again, so that none is lost between the question and the answer.
                    item.queued.store(false, Ordering::SeqCst);
                }
                next
            };
            let Some(item) = next else { break };
            let Some(file) = item.file.upgrade() else { continue };
            let found = item.poll(&file).bits() & item.events() & !PRIVATE_BITS;
            if found != 0 {
                events.push(EpollEvent { events: found, data: item.data() });
                items.push(item);
            }
        }
        if events.is_empty() {
            return Ok(0);
        }
        let delivered = deliver(&events);
        for item in &items {
            let wanted = item.events();
            if delivered.is_ok() && wanted & EPOLLONESHOT != 0 {
                item.disarm();
            } else if delivered.is_err() || wanted & EPOLLET == 0 {
                let mut ready = self.ready.lock();
                if !item.queued.swap(true, Ordering::SeqCst) {
                    ready.push_back(item.clone());
                }
            }
        }
        // A wake-up reaches one waiter: what is left is the next one's.
        if self.has_ready() {
            self.waiters.wake(PollEvents::READABLE);
        }
        delivered.map(|()| events.len())
    }
}

impl EpollWatch for Eventpoll {
    fn file_closed(&self, file: &File) {
        let address = core::ptr::from_ref(file).addr();
        let gone: Vec<_> =
            self.items.lock().extract_if(|k, _| k.0 == address).map(|(_, item)| item).collect();
        for item in &gone {
            self.retire(item);
        }
    }
}

fn key(file: &Arc<File>, fd: i32) -> Key {
    (Arc::as_ptr(file).addr(), fd)
}

/// The open file of an epoll.
struct EpollFile(Arc<Eventpoll>);

impl EpollFile {
    fn of(file: &File) -> Option<&Arc<Eventpoll>> {
        file.ops_as::<EpollFile>().map(|f| &f.0)
    }
}

impl FileOps for EpollFile {
    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(&self.0.pollers);
        let ready: Vec<_> = self.0.ready.lock().iter().cloned().collect();
        let is_ready = |item: &Arc<Item>| {
            let file = item.file.upgrade();
            file.is_some_and(|file| item.poll(&file).bits() & item.events() & !PRIVATE_BITS != 0)
        };
        if ready.iter().any(is_ready) { PollEvents::READABLE } else { PollEvents::empty() }
    }

    fn release(&self, _: &File) {
        let items = core::mem::take(&mut *self.0.items.lock());
        for item in items.values() {
            self.0.retire(item);
        }
    }

    fn fdinfo(&self, _: &File) -> String {
        let items: Vec<_> = self.0.items.lock().values().cloned().collect();
        items.iter().map(|item| item.fdinfo()).collect()
    }
}

/// Events that are reported whether asked for or not.
const ALWAYS: u32 = EPOLLERR | EPOLLHUP;
