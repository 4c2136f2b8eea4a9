//! Semaphores: semget(2), semop(2), semtimedop(2), semctl(2).
//!
//! The operations of one call happen together or not at all. What SEM_UNDO remembers of a process is kept in the set
//! and given back when the process ends ([`exit_process`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use abi::errno::{E2BIG, EAGAIN, EFBIG, EIDRM, EINTR, EINVAL, ENOSPC, ERANGE, ERESTARTSYS, ETIMEDOUT};
use abi::ipc::*;
use abi::time::Timespec;
use abi::{Errno, Result};

use super::{Ids, Object, Perm, now};
use crate::event::Timeout;
use crate::sync::{Sleep, SpinLock, WaitQueue, rank, wait_event};
use crate::task::current;
use crate::uaccess::{UserPtr, copy_to_user};
use zerocopy::IntoBytes;

#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: i32,
    /// The last process that changed it.
    pid: i32,
}

/// A set.
struct SemSet {
    state: SpinLock<State>,
    queue: WaitQueue,
}

struct State {
    perm: Perm,
    sems: Vec<Semaphore>,
    /// What SEM_UNDO adds at the end of a process, by process: an entry a semaphore.
    undo: BTreeMap<i32, Vec<i32>>,
    /// Who sleeps: which semaphore, and whether for it to become zero.
    waiting: Vec<(usize, bool)>,
    otime: i64,
    ctime: i64,
    removed: bool,
}

impl Object for SemSet {
    fn perm(&self) -> Perm {
        self.state.lock().perm.clone()
    }
    fn fits(&self, nsems: usize) -> Result<()> {
        if nsems > self.state.lock().sems.len() { Err(EINVAL) } else { Ok(()) }
    }
}

static SETS: SpinLock<Ids<SemSet>> = SpinLock::new(rank::IPC_TABLE, Ids::new(SEMMNI as i32));
/// Processes that some set remembers an undo of.
static UNDOERS: SpinLock<BTreeSet<i32>> = SpinLock::new(rank::LEAF, BTreeSet::new());

/// Semaphores in all sets together that this kernel keeps memory for.
const MAX_SEMAPHORES: usize = 4 << 20;

/// semget(2)
pub fn semget(key: i32, nsems: i32, flags: u32) -> Result<i32> {
    let nsems = usize::try_from(nsems).ok().filter(|&n| n <= SEMMSL as usize).ok_or(EINVAL)?;
    let cred = current().cred();
    let mut sets = SETS.lock();
    let in_use: usize = sets.list().iter().map(|s| s.state.lock().sems.len()).sum();
    sets.find_or_make(key, flags, nsems, &cred, |perm| {
        if nsems == 0 {
            return Err(EINVAL);
        }
        if in_use + nsems > MAX_SEMAPHORES {
            return Err(ENOSPC);
        }
        let state = State {
            perm,
            sems: vec![Semaphore::default(); nsems],
            undo: BTreeMap::new(),
            waiting: Vec::new(),
            otime: 0,
            ctime: now(),
            removed: false,
        };
        Ok(SemSet { state: SpinLock::new(rank::IPC, state), queue: WaitQueue::new() })
    })
}

fn get(id: i32) -> Result<Arc<SemSet>> {
    SETS.lock().get(id)
}

/// Why the operations of a call can't happen now.
enum Blocked {
    /// They never can.
    Error(Errno),
    /// The n-th has to wait.
    At(usize),
}

impl State {
    /// Does all operations, or none.
    fn attempt(&mut self, ops: &[Sembuf], pid: i32) -> core::result::Result<(), Blocked> {
        for (nth, op) in ops.iter().enumerate() {
            if let Err(blocked) = self.apply(op, nth, pid) {
                for done in ops[..nth].iter().rev() {
                    self.revert(done, pid);
                }
                return Err(blocked);
            }
        }
        for op in ops {
            self.sems[usize::from(op.sem_num)].pid = pid;
        }
        self.otime = now();
        Ok(())
    }

    fn apply(&mut self, op: &Sembuf, nth: usize, pid: i32) -> core::result::Result<(), Blocked> {
        let num = usize::from(op.sem_num);
        let value = self.sems[num].value;
        let change = i32::from(op.sem_op);
        if (change == 0 && value != 0) || value + change < 0 {
            let nowait = u32::from(op.sem_flg) & IPC_NOWAIT != 0;
            return Err(if nowait { Blocked::Error(EAGAIN) } else { Blocked::At(nth) });
        }
        if value + change > SEMVMX as i32 {
            return Err(Blocked::Error(ERANGE));
        }
        if u32::from(op.sem_flg) & SEM_UNDO != 0 && change != 0 {
            let count = self.sems.len();
            let undo = &mut self.undo.entry(pid).or_insert_with(|| vec![0; count])[num];
            let new = *undo - change;
            if new.abs() > SEMAEM as i32 {
                return Err(Blocked::Error(ERANGE));
            }
            *undo = new;
        }
        self.sems[num].value = value + change;
        Ok(())
    }

    fn revert(&mut self, op: &Sembuf, pid: i32) {
        let num = usize::from(op.sem_num);
        let change = i32::from(op.sem_op);
        self.sems[num].value -= change;
        if u32::from(op.sem_flg) & SEM_UNDO != 0
            && let Some(undo) = self.undo.get_mut(&pid)
        {
            undo[num] += change;
        }
    }
}

/// semop(2)
pub fn semop(id: i32, ops: UserPtr<Sembuf>, count: usize) -> Result<()> {
    operate(id, ops, count, Timeout::Never)
}

/// semtimedop(2)
pub fn semtimedop(id: i32, ops: UserPtr<Sembuf>, count: usize, timeout: UserPtr<Timespec>) -> Result<()> {
    operate(id, ops, count, Timeout::from_user(timeout)?)
}

fn operate(id: i32, ops: UserPtr<Sembuf>, count: usize, timeout: Timeout) -> Result<()> {
    if count < 1 || id < 0 {
        return Err(EINVAL);
    }
    if count > SEMOPM as usize {
        return Err(E2BIG);
    }
    let ops = ops.read_array(count)?;
    let set = get(id)?;
    let task = current();
    let pid = task.tgid();
    let cred = task.cred();
    {
        let state = set.state.lock();
        if ops.iter().any(|op| usize::from(op.sem_num) >= state.sems.len()) {
            return Err(EFBIG);
        }
        let alters = ops.iter().any(|op| op.sem_op != 0);
        state.perm.check(&cred, if alters { 0o222 } else { 0o444 })?;
    }
    if ops.iter().any(|op| u32::from(op.sem_flg) & SEM_UNDO != 0 && op.sem_op != 0) {
        UNDOERS.lock().insert(pid);
    }
    let deadline = match timeout {
        Timeout::Never => None,
        Timeout::At(at) => Some(at),
        Timeout::Zero => Some(0),
    };
    let mut noted: Option<(usize, bool)> = None;
    let outcome = wait_event(&set.queue, Sleep::until(deadline), || {
        let mut state = set.state.lock();
        if let Some(note) = noted.take() {
            forget(&mut state.waiting, note);
        }
        if state.removed {
            return Some(Err(EIDRM));
        }
        match state.attempt(&ops, pid) {
            Ok(()) => Some(Ok(())),
            Err(Blocked::Error(errno)) => Some(Err(errno)),
            Err(Blocked::At(nth)) => {
                let note = (usize::from(ops[nth].sem_num), ops[nth].sem_op == 0);
                state.waiting.push(note);
                noted = Some(note);
                None
            }
        }
    });
    if let Some(note) = noted {
        forget(&mut set.state.lock().waiting, note);
    }
    match outcome {
        Ok(Ok(())) => {
            set.queue.wake_all();
            Ok(())
        }
        Ok(Err(errno)) => Err(errno),
        Err(ETIMEDOUT) => Err(EAGAIN),
        // Never restarted, signal(7).
        Err(ERESTARTSYS) => Err(EINTR),
        Err(errno) => Err(errno),
    }
}

fn forget(waiting: &mut Vec<(usize, bool)>, note: (usize, bool)) {
    if let Some(at) = waiting.iter().position(|w| *w == note) {
        waiting.swap_remove(at);
    }
}

/// A process has ended: what its SEM_UNDO operations did is undone, as far as the values allow.
pub fn exit_process(pid: i32) {
    if !UNDOERS.lock().remove(&pid) {
        return;
    }
    let sets = SETS.lock().list();
    for set in sets {
        let undone = {
            let mut state = set.state.lock();
            let undo = state.undo.remove(&pid);
            for (sem, change) in state.sems.iter_mut().zip(undo.iter().flatten()) {
                if *change != 0 {
                    sem.value = (sem.value + change).clamp(0, SEMVMX as i32);
                    sem.pid = pid;
                }
            }
            undo.is_some()
        };
        if undone {
            set.queue.wake_all();
        }
    }
}

/// semctl(2)
pub fn semctl(id: i32, num: i32, cmd: u32, arg: u64) -> Result<i32> {
    if id < 0 {
        return Err(EINVAL);
    }
    match cmd {
        IPC_INFO | SEM_INFO => info(cmd, arg),
        SEM_STAT | SEM_STAT_ANY => {
            let set = SETS.lock().at(id)?;
            stat(&set, cmd == SEM_STAT_ANY, arg)?;
            Ok(set.perm().id)
        }
        IPC_STAT => {
            let set = get(id)?;
            stat(&set, false, arg).map(|()| 0)
        }
        IPC_SET => {
            let ds = UserPtr::<Semid64Ds>::new(arg).read()?;
            let set = get(id)?;
            let cred = current().cred();
            let mut state = set.state.lock();
            state.perm.owned_by(&cred)?;
            state.perm.set(&ds.sem_perm)?;
            state.ctime = now();
            Ok(0)
        }
        IPC_RMID => remove(id).map(|()| 0),
        GETALL => get_all(id, arg).map(|()| 0),
        SETALL => set_all(id, UserPtr::new(arg)).map(|()| 0),
        SETVAL => set_value(id, num, arg as i32).map(|()| 0),
        GETVAL | GETPID | GETNCNT | GETZCNT => get_one(id, num, cmd),
        _ => Err(EINVAL),
    }
}

fn get_one(id: i32, num: i32, cmd: u32) -> Result<i32> {
    let set = get(id)?;
    let cred = current().cred();
    let state = set.state.lock();
    state.perm.check(&cred, 0o444)?;
    let num = usize::try_from(num).map_err(|_| EINVAL)?;
    let sem = state.sems.get(num).ok_or(EINVAL)?;
    let waiting = |zero| state.waiting.iter().filter(|w| **w == (num, zero)).count() as i32;
    Ok(match cmd {
        GETVAL => sem.value,
        GETPID => sem.pid,
        GETNCNT => waiting(false),
        _ => waiting(true),
    })
}

fn get_all(id: i32, array: u64) -> Result<()> {
    let set = get(id)?;
    let cred = current().cred();
    let values: Vec<u16> = {
        let state = set.state.lock();
        state.perm.check(&cred, 0o444)?;
        state.sems.iter().map(|s| s.value as u16).collect()
    };
    copy_to_user(array, values.as_slice().as_bytes())
}

fn set_value(id: i32, num: i32, value: i32) -> Result<()> {
    if !(0..=SEMVMX as i32).contains(&value) {
        return Err(ERANGE);
    }
    let set = get(id)?;
    let task = current();
    let (cred, pid) = (task.cred(), task.tgid());
    {
        let mut state = set.state.lock();
        state.perm.check(&cred, 0o222)?;
        let num = usize::try_from(num).ok().filter(|&n| n < state.sems.len()).ok_or(EINVAL)?;
        state.undo.values_mut().for_each(|undo| undo[num] = 0);
        state.sems[num] = Semaphore { value, pid };
        state.ctime = now();
    }
    set.queue.wake_all();
    Ok(())
}

fn set_all(id: i32, array: UserPtr<u16>) -> Result<()> {
    let set = get(id)?;
    let cred = current().cred();
    let count = {
        let state = set.state.lock();
        state.perm.check(&cred, 0o222)?;
        state.sems.len()
    };
    let values = array.read_array(count)?;
    if values.iter().any(|&v| u64::from(v) > SEMVMX) {
        return Err(ERANGE);
    }
    {
        let mut state = set.state.lock();
        if state.removed {
            return Err(EIDRM);
        }
        let pid = current().tgid();
        for (sem, value) in state.sems.iter_mut().zip(values) {
            *sem = Semaphore { value: value.into(), pid };
        }
        state.undo.values_mut().for_each(|undo| undo.fill(0));
        state.ctime = now();
    }
    set.queue.wake_all();
    Ok(())
}

fn stat(set: &SemSet, any: bool, buf: u64) -> Result<()> {
    let cred = current().cred();
    let ds = {
        let state = set.state.lock();
        if !any {
            state.perm.check(&cred, 0o444)?;
        }
        Semid64Ds {
            sem_perm: state.perm.to_abi(),
            sem_otime: state.otime,
            sem_ctime: state.ctime,
            sem_nsems: state.sems.len() as u64,
            ..Semid64Ds::default()
        }
    };
    UserPtr::new(buf).write(&ds)
}

fn remove(id: i32) -> Result<()> {
    let cred = current().cred();
    let set = {
        let mut sets = SETS.lock();
        let set = sets.get(id)?;
        {
            let mut state = set.state.lock();
            state.perm.owned_by(&cred)?;
            state.removed = true;
        }
        sets.remove(id);
        set
    };
    set.queue.wake_all();
    Ok(())
}

fn info(cmd: u32, buf: u64) -> Result<i32> {
    let (all, highest) = {
        let sets = SETS.lock();
        (sets.list(), sets.highest())
    };
    let mut info = Seminfo {
        semmap: SEMMNS as i32,
        semmni: SEMMNI as i32,
        semmns: SEMMNS as i32,
        semmnu: SEMMNS as i32,
        semmsl: SEMMSL as i32,
        semopm: SEMOPM as i32,
        semume: SEMOPM as i32,
        semusz: 20,
        semvmx: SEMVMX as i32,
        semaem: SEMAEM as i32,
    };
    if cmd == SEM_INFO {
        info.semusz = all.len() as i32;
        info.semaem = all.iter().map(|s| s.state.lock().sems.len() as i32).fold(0, i32::saturating_add);
    }
    UserPtr::new(buf).write(&info)?;
    Ok(highest)
}

/// Lines of /proc/sysvipc/sem below its heading.
pub fn proc_lines() -> String {
    let all = SETS.lock().list();
    let line = |set: &Arc<SemSet>| {
        let s = set.state.lock();
        let p = &s.perm;
        format!(
            "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}\n",
            p.key,
            p.id,
            p.mode,
            s.sems.len(),
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            s.otime,
            s.ctime
        )
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(values: &[i32]) -> State {
        State {
            perm: Perm { id: 0, key: 0, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 0o600 },
            sems: values.iter().map(|&value| Semaphore { value, pid: 0 }).collect(),
            undo: BTreeMap::new(),
            waiting: Vec::new(),
            otime: 0,
            ctime: 0,
            removed: false,
        }
    }

    fn op(num: u16, change: i16, flags: u32) -> Sembuf {
        Sembuf { sem_num: num, sem_op: change, sem_flg: flags as u16 }
    }

    fn values(state: &State) -> Vec<i32> {
        state.sems.iter().map(|s| s.value).collect()
    }

    #[test]
    fn all_or_nothing() {
        let mut set = state(&[1, 0]);
        let ops = [op(0, -1, SEM_UNDO), op(0, 5, 0), op(1, -1, 0)];
        assert!(matches!(set.attempt(&ops, 7), Err(Blocked::At(2))));
        assert_eq!(values(&set), [1, 0]);
        assert_eq!(set.undo[&7], [0, 0]);
        assert!(set.attempt(&ops[..2], 7).is_ok());
        assert_eq!(values(&set), [5, 0]);
        assert_eq!(set.undo[&7], [1, 0]);
    }

    #[test]
    fn limits_and_nowait() {
        let mut set = state(&[32767]);
        assert!(matches!(set.attempt(&[op(0, 1, 0)], 1), Err(Blocked::Error(ERANGE))));
        assert!(matches!(set.attempt(&[op(0, 0, IPC_NOWAIT)], 1), Err(Blocked::Error(EAGAIN))));
    }
}
