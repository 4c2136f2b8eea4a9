//! Message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Result;
use abi::cred::CAP_SYS_RESOURCE;
use abi::errno::{E2BIG, EAGAIN, EIDRM, EINVAL, ENOMSG, EPERM, ERESTARTNOHAND, ERESTARTSYS};
use abi::ipc::*;

use super::{Ids, Object, Perm, now};
use crate::mm::kmem::Kmem;
use crate::sync::{Sleep, SpinLock, WaitQueue, rank, wait_event};
use crate::task::current;
use crate::uaccess::{UserPtr, copy_from_user, copy_to_user};

struct Message {
    kind: i64,
    data: Vec<u8>,
    _memory: Kmem,
}

/// What a message takes besides its text.
const MESSAGE_HEAD: usize = 64;

/// A queue.
struct MsgQueue {
    state: SpinLock<State>,
    senders: WaitQueue,
    receivers: WaitQueue,
}

struct State {
    perm: Perm,
    messages: VecDeque<Message>,
    bytes: u64,
    max_bytes: u64,
    stime: i64,
    rtime: i64,
    ctime: i64,
    lspid: i32,
    lrpid: i32,
    removed: bool,
}

impl Object for MsgQueue {
    fn perm(&self) -> Perm {
        self.state.lock().perm.clone()
    }
    fn fits(&self, _: usize) -> Result<()> {
        Ok(())
    }
}

static QUEUES: SpinLock<Ids<MsgQueue>> = SpinLock::new(rank::IPC_TABLE, Ids::new(MSGMNI as i32));

/// msgget(2)
pub fn msgget(key: i32, flags: u32) -> Result<i32> {
    let cred = current().cred();
    QUEUES.lock().find_or_make(key, flags, 0, &cred, |perm| {
        let state = State {
            perm,
            messages: VecDeque::new(),
            bytes: 0,
            max_bytes: MSGMNB,
            stime: 0,
            rtime: 0,
            ctime: now(),
            lspid: 0,
            lrpid: 0,
            removed: false,
        };
        Ok(MsgQueue {
            state: SpinLock::new(rank::IPC, state),
            senders: WaitQueue::new(),
            receivers: WaitQueue::new(),
        })
    })
}

fn get(id: i32) -> Result<Arc<MsgQueue>> {
    QUEUES.lock().get(id)
}

/// Waits on `queue` until `attempt` answers; it is tried once if `nonblock`. Not restarted after a handler.
fn wait<R>(
    queue: &WaitQueue,
    nonblock: bool,
    mut attempt: impl FnMut() -> Option<Result<R>>,
) -> Result<Option<R>> {
    if nonblock {
        return attempt().transpose();
    }
    match wait_event(queue, Sleep::INTERRUPTIBLE, attempt) {
        Ok(outcome) => outcome.map(Some),
        Err(ERESTARTSYS) => Err(ERESTARTNOHAND),
        Err(errno) => Err(errno),
    }
}

/// msgsnd(2): the type stands before the text.
pub fn msgsnd(id: i32, msg: u64, size: usize, flags: u32) -> Result<()> {
    if size > MSGMAX as usize {
        return Err(EINVAL);
    }
    let kind = UserPtr::<i64>::new(msg).read()?;
    if kind < 1 {
        return Err(EINVAL);
    }
    let memory = Kmem::charge_lasting(MESSAGE_HEAD + size)?;
    let mut data = vec![0; size];
    copy_from_user(msg.wrapping_add(8), &mut data)?;
    let queue = get(id)?;
    let task = current();
    let cred = task.cred();
    let mut message = Some(Message { kind, data, _memory: memory });
    let sent = wait(&queue.senders, flags & IPC_NOWAIT != 0, || {
        let mut state = queue.state.lock();
        if state.removed {
            return Some(Err(EIDRM));
        }
        if let Err(errno) = state.perm.check(&cred, 0o222) {
            return Some(Err(errno));
        }
        let fits =
            state.bytes + size as u64 <= state.max_bytes && (state.messages.len() as u64) < state.max_bytes;
        if !fits {
            return None;
        }
        state.messages.extend(message.take());
        state.bytes += size as u64;
        (state.stime, state.lspid) = (now(), task.tgid());
        Some(Ok(()))
    })?;
    sent.ok_or(EAGAIN)?;
    queue.receivers.wake_all();
    Ok(())
}

/// Which message msgrcv(2) wants.
fn find(messages: &VecDeque<Message>, kind: i64, flags: u32) -> Option<usize> {
    match kind {
        0 => (!messages.is_empty()).then_some(0),
        1.. => messages.iter().position(|m| (m.kind == kind) != (flags & MSG_EXCEPT != 0)),
        _ => {
            let most = kind.checked_neg().unwrap_or(i64::MAX);
            let wanted = messages.iter().enumerate().filter(|(_, m)| m.kind <= most);
            wanted.min_by_key(|(_, m)| m.kind).map(|(at, _)| at)
        }
    }
}

/// msgrcv(2): the bytes of text.
pub fn msgrcv(id: i32, msg: u64, size: usize, kind: i64, flags: u32) -> Result<usize> {
    if size > i64::MAX as usize || id < 0 {
        return Err(EINVAL);
    }
    if flags & MSG_COPY != 0 {
        return copy(id, msg, size, kind, flags);
    }
    let queue = get(id)?;
    let task = current();
    let cred = task.cred();
    let received = wait(&queue.receivers, flags & IPC_NOWAIT != 0, || {
        let mut state = queue.state.lock();
        if state.removed {
            return Some(Err(EIDRM));
        }
        if let Err(errno) = state.perm.check(&cred, 0o444) {
            return Some(Err(errno));
        }
        let at = find(&state.messages, kind, flags)?;
        if state.messages[at].data.len() > size && flags & MSG_NOERROR == 0 {
            return Some(Err(E2BIG));
        }
        let message = state.messages.remove(at)?;
        state.bytes -= message.data.len() as u64;
        (state.rtime, state.lrpid) = (now(), task.tgid());
        Some(Ok(message))
    })?;
    let message = received.ok_or(ENOMSG)?;
    queue.senders.wake_all();
    give(&message, msg, size)
}

/// MSG_COPY: the message at place `nth`, which stays in the queue. It never waits.
fn copy(id: i32, msg: u64, size: usize, nth: i64, flags: u32) -> Result<usize> {
    if flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0 {
        return Err(EINVAL);
    }
    let queue = get(id)?;
    let cred = current().cred();
    let message = {
        let state = queue.state.lock();
        state.perm.check(&cred, 0o444)?;
        let message = usize::try_from(nth).ok().and_then(|n| state.messages.get(n)).ok_or(ENOMSG)?;
        if message.data.len() > size {
            return Err(if flags & MSG_NOERROR != 0 { EINVAL } else { E2BIG });
        }
        Message { kind: message.kind, data: message.data.clone(), _memory: Kmem::default() }
    };
    give(&message, msg, size)
}

/// Writes a message to the guest, cut to `size`.
fn give(message: &Message, msg: u64, size: usize) -> Result<usize> {
    let len = message.data.len().min(size);
    UserPtr::new(msg).write(&message.kind)?;
    copy_to_user(msg.wrapping_add(8), &message.data[..len])?;
    Ok(len)
}

/// msgctl(2)
pub fn msgctl(id: i32, cmd: u32, buf: u64) -> Result<i32> {
    if id < 0 {
        return Err(EINVAL);
    }
    match cmd {
        IPC_INFO | MSG_INFO => info(cmd, buf),
        MSG_STAT | MSG_STAT_ANY => {
            let queue = QUEUES.lock().at(id)?;
            stat(&queue, cmd == MSG_STAT_ANY, buf)?;
            Ok(queue.perm().id)
        }
        IPC_STAT => {
            let queue = get(id)?;
            stat(&queue, false, buf).map(|()| 0)
        }
        IPC_SET => {
            let ds = UserPtr::<Msqid64Ds>::new(buf).read()?;
            let queue = get(id)?;
            set(&queue, &ds).map(|()| 0)
        }
        IPC_RMID => remove(id).map(|()| 0),
        _ => Err(EINVAL),
    }
}

fn stat(queue: &MsgQueue, any: bool, buf: u64) -> Result<()> {
    let cred = current().cred();
    let ds = {
        let state = queue.state.lock();
        if !any {
            state.perm.check(&cred, 0o444)?;
        }
        Msqid64Ds {
            msg_perm: state.perm.to_abi(),
            msg_stime: state.stime,
            msg_rtime: state.rtime,
            msg_ctime: state.ctime,
            msg_cbytes: state.bytes,
            msg_qnum: state.messages.len() as u64,
            msg_qbytes: state.max_bytes,
            msg_lspid: state.lspid,
            msg_lrpid: state.lrpid,
            ..Msqid64Ds::default()
        }
    };
    UserPtr::new(buf).write(&ds)
}

fn set(queue: &MsgQueue, ds: &Msqid64Ds) -> Result<()> {
    let cred = current().cred();
    {
        let mut state = queue.state.lock();
        state.perm.owned_by(&cred)?;
        if ds.msg_qbytes > MSGMNB && !cred.capable(CAP_SYS_RESOURCE) {
            return Err(EPERM);
        }
        state.perm.set(&ds.msg_perm)?;
        state.max_bytes = ds.msg_qbytes;
        state.ctime = now();
    }
    // Limits and permissions may have changed for either side.
    queue.senders.wake_all();
    queue.receivers.wake_all();
    Ok(())
}

fn remove(id: i32) -> Result<()> {
    let cred = current().cred();
    let (queue, messages) = {
        let mut queues = QUEUES.lock();
        let queue = queues.get(id)?;
        let messages = {
            let mut state = queue.state.lock();
            state.perm.owned_by(&cred)?;
            state.removed = true;
            core::mem::take(&mut state.messages)
        };
        queues.remove(id);
        (queue, messages)
    };
    drop(messages);
    queue.senders.wake_all();
    queue.receivers.wake_all();
    Ok(())
}

fn info(cmd: u32, buf: u64) -> Result<i32> {
    let (all, highest) = {
        let queues = QUEUES.lock();
        (queues.list(), queues.highest())
    };
    let mut info = Msginfo {
        msgpool: (MSGMNI * MSGMNB / 1024) as i32,
        msgmap: MSGMNB as i32,
        msgmax: MSGMAX as i32,
        msgmnb: MSGMNB as i32,
        msgmni: MSGMNI as i32,
        msgssz: 16,
        msgtql: MSGMNB as i32,
        msgseg: 0xffff,
        _pad: 0,
    };
    if cmd == MSG_INFO {
        let sums = all.iter().map(|q| {
            let state = q.state.lock();
            (state.messages.len() as i32, state.bytes as i32)
        });
        let (count, bytes) =
            sums.fold((0i32, 0i32), |a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)));
        (info.msgpool, info.msgmap, info.msgtql) = (all.len() as i32, count, bytes);
    }
    UserPtr::new(buf).write(&info)?;
    Ok(highest)
}

/// Lines of /proc/sysvipc/msg below its heading.
pub fn proc_lines() -> String {
    let all = QUEUES.lock().list();
    let line = |queue: &Arc<MsgQueue>| {
        let s = queue.state.lock();
        let p = &s.perm;
        format!(
            "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}\n",
            p.key,
            p.id,
            p.mode,
            s.bytes,
            s.messages.len(),
            s.lspid,
            s.lrpid,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            s.stime,
            s.rtime,
            s.ctime
        )
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_message_is_found() {
        let kinds = [5, 3, 9, 3];
        let queue: VecDeque<_> =
            kinds.iter().map(|&kind| Message { kind, data: Vec::new(), _memory: Kmem::default() }).collect();
        assert_eq!(find(&queue, 0, 0), Some(0));
        assert_eq!(find(&queue, 3, 0), Some(1));
        assert_eq!(find(&queue, 5, MSG_EXCEPT), Some(1));
        assert_eq!(find(&queue, -4, 0), Some(1));
        assert_eq!(find(&queue, -2, 0), None);
        assert_eq!(find(&queue, i64::MIN, 0), Some(1));
        assert_eq!(find(&queue, 7, 0), None);
    }
}
