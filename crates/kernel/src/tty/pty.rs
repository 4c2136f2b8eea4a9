//! Pseudo-terminals, pty(7), pts(4): a terminal whose device is a program that holds the master.
//!
//! Locks: TTY_BUFFER over the master's side; taken alone or under TTY (the slave's output).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use abi::Result;
use abi::errno::{EAGAIN, EIO, ENOSPC, ENOTTY, ENXIO};
use abi::fcntl::OpenFlags;
use abi::ioctl::FIONREAD;
use abi::tty::*;

use super::{Tty, TtyDriver, file, ioctl};
use crate::sync::{PollTable, SpinLock, WaitQueue, rank};
use crate::task::current;
use crate::uaccess::UserPtr;
use crate::vfs::fasync::{Band, FasyncList};
use crate::vfs::{File, FileOps, Inode, IovDest, IovSource, PollEvents};

/// Most pseudo-terminals: /proc/sys/kernel/pty/max.
pub const MAX: usize = 4096;
/// Output of the slave kept for the master, bytes.
const BUFFER: usize = 16 * 1024;
/// Bytes of the master's write handed over at a time.
const CHUNK: usize = 2048;

/// All pairs by number.
static PAIRS: SpinLock<BTreeMap<usize, Arc<Pair>>> = SpinLock::new(rank::TTY_TABLE, BTreeMap::new());

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// What devpts shows of a pair.
#[derive(Clone)]
pub struct PtyNode {
    /// Number.
    pub index: usize,
    /// User and group of whoever opened the master.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Never used twice, as numbers are.
    pub serial: u64,
}

/// A master and its slave.
pub struct Pair {
    index: usize,
    node: PtyNode,
    master: Arc<Master>,
    slave: Arc<Tty>,
}

/// The master's side.
struct Master {
    buffer: SpinLock<Buffer>,
    /// Whoever has the master open waits here.
    queue: WaitQueue,
    /// Master files with O_ASYNC.
    fasync: FasyncList,
    /// unlockpt(3) not called yet.
    locked: AtomicBool,
    /// Files of the slave.
    slave_opens: AtomicUsize,
    /// The slave has been opened since its last close, or never yet: reads wait instead of ending.
    closed: AtomicBool,
}

#[derive(Default)]
struct Buffer {
    output: VecDeque<u8>,
    /// TIOCPKT, and its pending status bits.
    packet: bool,
    status: u8,
    /// A write of the master was refused for lack of room.
    wants_room: bool,
}

/// The slave's driver: output goes to the master's buffer.
struct SlaveDriver(Arc<Master>);

impl TtyDriver for SlaveDriver {
    fn write(&self, data: &[u8]) -> usize {
        let taken = {
            let mut buffer = self.0.buffer.lock();
            let n = data.len().min(BUFFER - buffer.output.len());
            buffer.output.extend(&data[..n]);
            n
        };
        if taken > 0 {
            self.0.queue.wake(PollEvents::READABLE);
            self.0.fasync.kill(Band::In);
        }
        taken
    }

    fn flush(&self) {
        self.0.buffer.lock().output.clear();
    }

    fn input_room(&self) {
        if core::mem::take(&mut self.0.buffer.lock().wants_room) {
            self.0.queue.wake(PollEvents::WRITABLE);
        }
    }

    fn packet(&self, bits: u8) {
        let mut buffer = self.0.buffer.lock();
        if buffer.packet {
            buffer.status |= bits;
            drop(buffer);
            self.0.queue.wake(PollEvents::PRI | PollEvents::READABLE);
        }
    }

    fn opened(&self, open: bool) {
        if open {
            self.0.slave_opens.fetch_add(1, Ordering::SeqCst);
            self.0.closed.store(false, Ordering::SeqCst);
        } else {
            self.0.slave_opens.store(0, Ordering::SeqCst);
            self.0.closed.store(true, Ordering::SeqCst);
            self.0.queue.wake_all();
        }
    }
}

/// An open master: /dev/ptmx.
struct MasterFile(Arc<Pair>);

/// Opens a new pair: /dev/ptmx, and ptmx in a devpts. ENOSPC when all are in use.
pub fn open_ptmx(_: &Arc<Inode>, _: OpenFlags) -> Result<Box<dyn FileOps>> {
    let cred = current().cred();
    let mut pairs = PAIRS.lock();
    let index = (0..MAX).find(|i| !pairs.contains_key(i)).ok_or(ENOSPC)?;
    let master = Arc::new(Master {
        buffer: SpinLock::new(rank::TTY_BUFFER, Buffer::default()),
        queue: WaitQueue::new(),
        fasync: FasyncList::new(),
        locked: AtomicBool::new(true),
        slave_opens: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
    });
    let slave = Tty::new((136, index as u32), format!("pts/{index}"), Box::new(SlaveDriver(master.clone())));
    let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
    slave.set_cflag(B38400 | CS8 | CREAD);
    let node = PtyNode { index, uid: cred.fsuid, gid: cred.fsgid, serial };
    let pair = Arc::new(Pair { index, node, master, slave });
    pairs.insert(index, pair.clone());
    drop(pairs);
    Ok(Box::new(MasterFile(pair)))
}

/// Opens the slave that a device node names. EIO while it is locked or its master has gone.
pub fn open_slave(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let index = abi::stat::minor(inode.getattr()?.rdev) as usize;
    let pair = PAIRS.lock().get(&index).cloned().ok_or(ENXIO)?;
    if pair.master.locked.load(Ordering::SeqCst) {
        return Err(EIO);
    }
    pair.slave.revive();
    file::open(pair.slave.clone(), flags)
}

/// Pairs that have a master, for devpts.
pub fn nodes() -> Vec<PtyNode> {
    PAIRS.lock().values().map(|p| p.node.clone()).collect()
}

/// The pair of that number, for devpts.
pub fn node(index: usize) -> Option<PtyNode> {
    PAIRS.lock().get(&index).map(|p| p.node.clone())
}

impl FileOps for MasterFile {
    fn is_stream(&self) -> bool {
        true
    }

    fn fasync(&self, _: &File, _: bool, set: &mut dyn FnMut(&FasyncList)) {
        set(&self.0.master.fasync);
    }

    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        if dest.remaining() == 0 {
            return Ok(0);
        }
        let master = &self.0.master;
        let data: Vec<u8> = {
            let mut buffer = master.buffer.lock();
            if buffer.packet && buffer.status != 0 {
                vec![core::mem::take(&mut buffer.status)]
            } else if buffer.output.is_empty() {
                return Err(if master.closed.load(Ordering::SeqCst) { EIO } else { EAGAIN });
            } else {
                let header = usize::from(buffer.packet);
                let n = (dest.remaining() - header).min(buffer.output.len());
                let mut data = vec![TIOCPKT_DATA; header];
                data.extend(buffer.output.drain(..n));
                data
            }
        };
        let n = dest.write(&data)?;
        self.0.slave.output_ready();
        Ok(n)
    }

    fn write(&self, _: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        let mut buf = [0; CHUNK];
        let mut done = 0;
        while src.remaining() > 0 {
            // Said before the try: room that appears in between is not missed.
            self.0.master.buffer.lock().wants_room = true;
            let got = src.peek(&mut buf)?;
            let taken = self.0.slave.receive(&buf[..got]);
            src.advance(taken);
            done += taken;
            if taken < got {
                break;
            }
        }
        if done == 0 && src.remaining() > 0 { Err(EAGAIN) } else { Ok(done) }
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        let master = &self.0.master;
        table.register(&master.queue);
        let mut events = PollEvents::empty();
        {
            let mut buffer = master.buffer.lock();
            let status = buffer.packet && buffer.status != 0;
            events.set(PollEvents::READABLE, !buffer.output.is_empty() || status);
            events.set(PollEvents::PRI, status);
            buffer.wants_room = true;
        }
        events.set(PollEvents::WRITABLE, self.0.slave.input_room() > 0);
        events.set(PollEvents::HUP, master.closed.load(Ordering::SeqCst));
        events
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        let master = &self.0.master;
        match cmd {
            TIOCGPTN => UserPtr::new(arg).write(&(self.0.index as u32))?,
            TIOCSPTLCK => {
                let lock = UserPtr::<i32>::new(arg).read()? != 0;
                master.locked.store(lock, Ordering::SeqCst);
            }
            TIOCGPTLCK => UserPtr::new(arg).write(&i32::from(master.locked.load(Ordering::SeqCst)))?,
            TIOCGPTPEER => return open_peer(&self.0, arg as u32),
            TIOCPKT => {
                let on = UserPtr::<i32>::new(arg).read()? != 0;
                let mut buffer = master.buffer.lock();
                buffer.packet = on;
                buffer.status = 0;
            }
            TIOCGPKT => UserPtr::new(arg).write(&i32::from(master.buffer.lock().packet))?,
            TIOCSIG => {
                if arg == 0 || arg > 64 {
                    return Err(abi::errno::EINVAL);
                }
                let (_, foreground) = self.0.slave.session_and_foreground();
                super::jobctl::signal_group(foreground, arg as u32);
            }
            FIONREAD => UserPtr::new(arg).write(&(master.buffer.lock().output.len() as i32))?,
            // The group in the slave's foreground, whoever asks.
            TIOCGPGRP => UserPtr::new(arg).write(&self.0.slave.session_and_foreground().1)?,
            TIOCGSID => match self.0.slave.session_and_foreground().0 {
                0 => return Err(ENOTTY),
                session => UserPtr::new(arg).write(&session)?,
            },
            TIOCSCTTY | TIOCNOTTY => return Err(ENOTTY),
            _ => return ioctl::tty_ioctl(&self.0.slave, file, cmd, arg),
        }
        Ok(0)
    }

    fn release(&self, _: &File) {
        let removed = PAIRS.lock().remove(&self.0.index);
        drop(removed);
        self.0.slave.hang_up();
    }
}

/// TIOCGPTPEER: the slave, without a path name.
fn open_peer(pair: &Arc<Pair>, flags: u32) -> Result<u64> {
    let flags = OpenFlags::from_bits_retain(flags);
    let name = format!("/dev/pts/{}", pair.index);
    let file = crate::vfs::open::filp_open(name.as_bytes(), flags, 0)?;
    let fd = current().files()?.install(file, flags.contains(OpenFlags::CLOEXEC))?;
    Ok(fd.0 as u64)
}
