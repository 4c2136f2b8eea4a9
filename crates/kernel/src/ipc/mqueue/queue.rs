//! [`Queue`]: the messages of one queue, who waits for them, and who is told of them.
//!
//! A message that meets a waiting receiver is handed to it, and room that a receiver makes goes to the sender who has
//! waited longest; so nobody overtakes those who wait.
//!
//! Lock: IPC, then LEAF for a waiter's slot. Wake-ups and signals are sent after both are released.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use abi::Result;
use abi::errno::{EAGAIN, EBUSY, ETIMEDOUT};
use abi::ipc::MqAttr;
use abi::signal::{SI_MESGQ, SigInfo};
use abi::time::Timespec;

use crate::mm::kmem::Kmem;
use crate::signal;
use crate::sync::{PollTable, Sleep, SpinLock, WaitQueue, rank, wait_event};
use crate::task::user_count::Counted;
use crate::task::{Process, current};
use crate::time::Clock;
use crate::time::sleep::wait_event_until;
use crate::vfs::PollEvents;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Higher ones are received first.
    pub priority: u32,
    /// Contents.
    pub data: Vec<u8>,
    /// What it takes.
    pub memory: Kmem,
}

/// How long a call may block.
#[derive(Clone, Copy, Debug)]
pub enum Block {
    /// Not at all: EAGAIN.
    No,
    /// Until CLOCK_REALTIME shows that, ns.
    Until(u64),
    /// For ever.
    Forever,
}

/// A message queue.
pub struct Queue {
    state: SpinLock<State>,
    /// Those who poll it.
    pollers: WaitQueue,
    max_messages: usize,
    max_size: usize,
    /// Whose memory it uses.
    _counted: Counted,
}

#[derive(Default)]
struct State {
    messages: BTreeMap<u32, VecDeque<(Vec<u8>, Kmem)>>,
    count: usize,
    bytes: usize,
    receivers: VecDeque<Arc<Waiter>>,
    senders: VecDeque<Arc<Waiter>>,
    notify: Option<Notify>,
}

/// A blocked call. A receiver's slot is filled, a sender's emptied, by whoever serves it.
struct Waiter {
    slot: SpinLock<Option<Message>>,
    served: WaitQueue,
}

/// mq_notify(2).
struct Notify {
    owner: Weak<Process>,
    /// Signal and value; none for SIGEV_NONE.
    signal: Option<(u32, u64)>,
}

impl State {
    fn push(&mut self, message: Message) {
        self.count += 1;
        self.bytes += message.data.len();
        self.messages.entry(message.priority).or_default().push_back((message.data, message.memory));
    }

    /// The oldest of the highest priority.
    fn pop(&mut self) -> Option<Message> {
        let mut entry = self.messages.last_entry()?;
        let priority = *entry.key();
        let (data, memory) = entry.get_mut().pop_front()?;
        if entry.get().is_empty() {
            entry.remove();
        }
        self.count -= 1;
        self.bytes -= data.len();
        Some(Message { priority, data, memory })
    }
}

impl Waiter {
    fn new(message: Option<Message>) -> Arc<Waiter> {
        Arc::new(Waiter { slot: SpinLock::new(rank::LEAF, message), served: WaitQueue::new() })
    }
}

impl Queue {
    /// An empty queue for `max_messages` messages of up to `max_size` bytes.
    pub fn new(max_messages: usize, max_size: usize, counted: Counted) -> Queue {
        Queue {
            state: SpinLock::new(rank::IPC, State::default()),
            pollers: WaitQueue::new(),
            max_messages,
            max_size,
            _counted: counted,
        }
    }

    /// Bytes that a message may have.
    pub fn max_size(&self) -> usize {
        self.max_size
    }

    /// All but the flags.
    pub fn attributes(&self) -> MqAttr {
        MqAttr {
            mq_maxmsg: self.max_messages as i64,
            mq_msgsize: self.max_size as i64,
            mq_curmsgs: self.state.lock().count as i64,
            ..MqAttr::default()
        }
    }

    /// Adds a message. EAGAIN, ETIMEDOUT, ERESTARTSYS.
    pub fn send(&self, message: Message, block: Block) -> Result<()> {
        let mut state = self.state.lock();
        if state.count < self.max_messages {
            if let Some(receiver) = state.receivers.pop_front() {
                *receiver.slot.lock() = Some(message);
                drop(state);
                receiver.served.wake_all();
                return Ok(());
            }
            state.push(message);
            let told = if state.count == 1 { state.notify.take() } else { None };
            drop(state);
            self.pollers.wake(PollEvents::READABLE);
            if let Some(notify) = told {
                notify.tell();
            }
            return Ok(());
        }
        if let Block::No = block {
            return Err(EAGAIN);
        }
        let waiter = Waiter::new(Some(message));
        state.senders.push_back(waiter.clone());
        drop(state);
        let outcome = wait(block, &waiter.served, || waiter.slot.lock().is_none().then_some(()));
        let Err(errno) = outcome else { return Ok(()) };
        let mut state = self.state.lock();
        state.senders.retain(|w| !Arc::ptr_eq(w, &waiter));
        if waiter.slot.lock().is_none() { Ok(()) } else { Err(errno) }
    }

    /// Takes the first message. EAGAIN, ETIMEDOUT, ERESTARTSYS.
    pub fn receive(&self, block: Block) -> Result<Message> {
        let mut state = self.state.lock();
        if let Some(message) = state.pop() {
            let sender = state.senders.pop_front();
            if let Some(sender) = &sender {
                let sent = sender.slot.lock().take();
                if let Some(sent) = sent {
                    state.push(sent);
                }
            }
            drop(state);
            match sender {
                Some(sender) => sender.served.wake_all(),
                None => self.pollers.wake(PollEvents::WRITABLE),
            }
            return Ok(message);
        }
        if let Block::No = block {
            return Err(EAGAIN);
        }
        let waiter = Waiter::new(None);
        state.receivers.push_back(waiter.clone());
        drop(state);
        let outcome = wait(block, &waiter.served, || waiter.slot.lock().take());
        let Err(errno) = outcome else { return outcome };
        let mut state = self.state.lock();
        state.receivers.retain(|w| !Arc::ptr_eq(w, &waiter));
        // Served at the last moment.
        waiter.slot.lock().take().ok_or(errno)
    }

    /// What it is ready for.
    pub fn poll(&self, table: &mut PollTable) -> PollEvents {
        table.register(&self.pollers);
        let count = self.state.lock().count;
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, count > 0);
        events.set(PollEvents::WRITABLE, count < self.max_messages);
        events
    }

    /// Tells `process` by `signal` when a message comes into the empty queue, once. EBUSY.
    pub fn set_notify(&self, process: &Arc<Process>, signal: Option<(u32, u64)>) -> Result<()> {
        let mut state = self.state.lock();
        if state.notify.is_some() {
            return Err(EBUSY);
        }
        state.notify = Some(Notify { owner: Arc::downgrade(process), signal });
        Ok(())
    }

    /// Ends the registration of `process`; whether there was one.
    pub fn end_notify(&self, process: &Arc<Process>) -> bool {
        let mut state = self.state.lock();
        let ours = state.notify.as_ref().is_some_and(|n| n.is_of(process));
        let ended = if ours { state.notify.take() } else { None };
        drop(state);
        ended.is_some()
    }

    /// What read(2) shows.
    pub fn status(&self) -> String {
        let state = self.state.lock();
        let (pid, signal) = match &state.notify {
            Some(notify) => (notify.owner.upgrade().map_or(0, |p| p.tgid), notify.signal),
            None => (0, None),
        };
        let how = match state.notify {
            Some(Notify { signal: None, .. }) => abi::signal::SIGEV_NONE,
            _ => abi::signal::SIGEV_SIGNAL,
        };
        let signo = signal.map_or(0, |(signo, _)| signo);
        format!("QSIZE:{:<10} NOTIFY:{how:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n", state.bytes)
    }
}

impl Notify {
    fn is_of(&self, process: &Arc<Process>) -> bool {
        core::ptr::eq(self.owner.as_ptr(), Arc::as_ptr(process))
    }

    fn tell(self) {
        let (Some(owner), Some((signo, value))) = (self.owner.upgrade(), self.signal) else { return };
        if signo != 0 {
            let sender = current();
            let info = SigInfo::rt(signo, SI_MESGQ, sender.tgid(), sender.cred().uid, value);
            signal::send_process(&owner, info);
        }
    }
}

/// Waits until the call has been served.
fn wait<R>(block: Block, served: &WaitQueue, condition: impl FnMut() -> Option<R>) -> Result<R> {
    match block {
        Block::No => Err(EAGAIN),
        Block::Forever => wait_event(served, Sleep::INTERRUPTIBLE, condition),
        Block::Until(at) if at <= Clock::Realtime.now() => Err(ETIMEDOUT),
        Block::Until(at) => wait_event_until(&Clock::Realtime, at, Some(served), condition),
    }
}

/// A deadline of mq_timedsend(2).
pub fn deadline(at: Timespec) -> Option<Block> {
    at.to_ns().map(Block::Until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(priority: u32, text: &[u8]) -> Message {
        Message { priority, data: text.to_vec(), memory: Kmem::default() }
    }

    #[test]
    fn oldest_of_the_highest_priority_first() {
        let mut state = State::default();
        for (priority, text) in [(1, b"a"), (9, b"b"), (1, b"c"), (9, b"d")] {
            state.push(message(priority, text));
        }
        assert_eq!((state.count, state.bytes), (4, 4));
        let order: Vec<_> = core::iter::from_fn(|| state.pop()).collect();
        assert_eq!(order, [message(9, b"b"), message(9, b"d"), message(1, b"a"), message(1, b"c")]);
        assert_eq!((state.count, state.bytes), (0, 0));
    }

    #[test]
    fn full_and_empty_do_not_block_when_told_so() {
        static COUNT: crate::task::user_count::UserCount = crate::task::user_count::UserCount::new(1);
        let queue = Queue::new(2, 8, COUNT.charge_user(1, 1, 1).unwrap());
        assert_eq!(queue.receive(Block::No), Err(EAGAIN));
        assert_eq!(queue.send(message(0, b"1"), Block::No), Ok(()));
        assert_eq!(queue.send(message(5, b"2"), Block::No), Ok(()));
        assert_eq!(queue.send(message(9, b"3"), Block::No), Err(EAGAIN));
        assert_eq!(queue.poll(&mut PollTable::none()), PollEvents::READABLE);
        assert_eq!(queue.receive(Block::No), Ok(message(5, b"2")));
        assert_eq!(queue.attributes().mq_curmsgs, 1);
    }
}
