//! One guest address space: a stub process, its control socket and its thread slots.

use super::TASK_SIZE;
use super::abi::{DATA_LEN, SLOT_COUNT, command, turn};
use super::process::{self, Process, copy_from, copy_to};
use super::progress::answered;
use super::window::Mapping;
use abi::Result;
use abi::errno::*;
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::*;
use std::sync::{Arc, OnceLock};

/// What an address space has used, as the host counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Faults that needed no reading.
    pub minor_faults: u64,
    /// Faults that waited for a disk of the host.
    pub major_faults: u64,
    /// Bytes in memory.
    pub resident: u64,
}

/// A resident set so small that it hardly matters how small, bytes.
const SMALL: u64 = 4 << 20;

/// What a process of the host takes of its memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Resident pages that are neither of files nor of shared objects.
    pub anonymous: u64,
    /// Resident pages of all kinds.
    pub resident: u64,
    /// Page tables.
    pub tables: u64,
}

impl Footprint {
    /// Of this program itself: the guest kernel's heap, above all.
    pub fn own() -> Footprint {
        Footprint::of("self")
    }

    fn of(pid: &str) -> Footprint {
        Footprint::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
    }

    fn parse(status: &str) -> Footprint {
        let mut found = Footprint::default();
        for (name, value) in status.lines().filter_map(|line| line.split_once(':')) {
            let field = match name {
                "VmRSS" => &mut found.resident,
                "RssAnon" => &mut found.anonymous,
                "VmPTE" => &mut found.tables,
                _ => continue,
            };
            let kilobytes: u64 = value.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            *field = kilobytes.saturating_mul(1024);
        }
        found
    }
}

/// One guest address space: a stub process. Killed when dropped.
pub struct AddressSpace {
    pub(super) process: Arc<Process>,
    pub(super) socket: OwnedFd,
    slots: Mutex<Slots>,
    /// What earlier programs in this stub have used. A leaf lock.
    baseline: Mutex<Usage>,
    /// Set only where the host refuses process_vm_readv.
    copier: OnceLock<Copier>,
}

/// A thread of the stub that runs no guest code and copies through its window.
struct Copier {
    mapping: Arc<Mapping>,
    tid: i32,
    /// Held for one copy.
    turn: Mutex<()>,
}

/// Which thread slots are taken. `slots` is a leaf lock.
struct Slots {
    /// The first thread's slot, the one it was forked in.
    first: u32,
    next: u32,
    /// Slots whose threads have exited or are about to: reusable once they have left their stacks.
    free: Vec<(u32, Arc<Mapping>)>,
    /// Slots that were used, and whose memory is to be mapped anew: children have none of it.
    vacant: Vec<u32>,
    /// Host threads that sleep, ready to serve other guest threads.
    idle: Vec<Parked>,
    /// The window of the first thread after its guest thread has gone: the host thread stays for the process id's sake.
    parked: Option<Arc<Mapping>>,
    threads: usize,
}

/// How many host threads without guest threads a process keeps.
const IDLE: usize = 4;

/// A host thread that sleeps.
pub(super) struct Parked {
    pub(super) slot: u32,
    pub(super) mapping: Arc<Mapping>,
    pub(super) tid: i32,
    pub(super) core: Option<usize>,
    /// Where its signal frame's vector state is.
    pub(super) fpstate: u64,
}

/// What becomes of a host thread whose guest thread has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadEnd {
    /// It exits.
    Exits,
    /// It stays, for others, or because the process id is its own.
    Parks,
    /// It was the last: its process ends.
    Process,
}

impl AddressSpace {
    pub(super) fn new(process: Arc<Process>, socket: OwnedFd, first: u32) -> Arc<AddressSpace> {
        let slots = Slots {
            first,
            next: 0,
            free: Vec::new(),
            vacant: Vec::new(),
            idle: Vec::new(),
            parked: None,
            threads: 1,
        };
        Arc::new(AddressSpace {
            process,
            socket,
            slots: Mutex::new(slots),
            baseline: Mutex::default(),
            copier: OnceLock::new(),
        })
    }

    /// Whether no second thread was ever made in it.
    pub(super) fn one_thread_ever(&self) -> bool {
        self.slots.lock().next == 0 && self.copier.get().is_none()
    }

    /// What is used from here on is the next program's. `so_far` is what the host counts, if it is known.
    pub(super) fn set_baseline(&self, so_far: Option<Usage>) {
        *self.baseline.lock() = so_far.unwrap_or_else(|| self.whole_usage());
    }

    /// What the present program has used of `whole`.
    pub(super) fn since_baseline(&self, whole: Usage) -> Usage {
        let before = *self.baseline.lock();
        // The host keeps the largest resident set of all programs: unless it has grown, the present one's is not known.
        // Where all were small it is not worth to ask.
        let resident = if before.resident > SMALL && whole.resident <= before.resident {
            self.resident_bytes().min(whole.resident)
        } else {
            whole.resident
        };
        Usage {
            minor_faults: whole.minor_faults.saturating_sub(before.minor_faults),
            major_faults: whole.major_faults.saturating_sub(before.major_faults),
            resident,
        }
    }

    /// A slot for a new thread; its window if an earlier thread has left one.
    pub(super) fn take_slot(&self) -> Result<(u32, Option<Arc<Mapping>>)> {
        let mut slots = self.slots.lock();
        let gone = |mapping: &Arc<Mapping>| mapping.get().turn.load(Acquire) & turn::GONE != 0;
        if let Some(i) = slots.free.iter().position(|(_, mapping)| gone(mapping)) {
            let (slot, mapping) = slots.free.swap_remove(i);
            slots.threads += 1;
            return Ok((slot, Some(mapping)));
        }
        if let Some(slot) = slots.vacant.pop() {
            slots.threads += 1;
            return Ok((slot, None));
        }
        if slots.next == slots.first {
            slots.next += 1;
        }
        if u64::from(slots.next) >= SLOT_COUNT {
            return Err(EAGAIN);
        }
        slots.next += 1;
        slots.threads += 1;
        Ok((slots.next - 1, None))
    }

    /// A host thread that sleeps, for a new guest thread.
    pub(super) fn take_parked(&self) -> Option<Parked> {
        let mut slots = self.slots.lock();
        let parked = slots.idle.pop();
        slots.threads += usize::from(parked.is_some());
        parked
    }

    /// The slots of threads that have left their stacks, if there are more than `few`: nobody else gets them before
    /// [`give_vacant`](AddressSpace::give_vacant).
    pub(super) fn take_vacant(&self, few: usize) -> Vec<u32> {
        let mut slots = self.slots.lock();
        if slots.free.len() <= few {
            return Vec::new();
        }
        let gone =
            |(_, mapping): &mut (u32, Arc<Mapping>)| mapping.get().turn.load(Acquire) & turn::GONE != 0;
        slots.free.extract_if(.., gone).map(|(slot, _)| slot).collect()
    }

    /// Slots whose memory children do not have.
    pub(super) fn give_vacant(&self, slots: Vec<u32>) {
        self.slots.lock().vacant.extend(slots);
    }

    /// Undoes [`take_slot`](AddressSpace::take_slot)'s count of guest threads; the slot stays taken.
    pub(super) fn forget_thread(&self) {
        self.slots.lock().threads -= 1;
    }

    /// Has copies made by a thread that [`take_slot`](AddressSpace::take_slot) was called for. It is no guest thread.
    pub(super) fn set_copier(&self, mapping: Arc<Mapping>, tid: i32) {
        self.forget_thread();
        self.copier.get_or_init(|| Copier { mapping, tid, turn: Mutex::new(()) });
    }

    /// A thread ends: what becomes of its host thread.
    pub(super) fn end_thread(
        &self,
        slot: u32,
        mapping: &Arc<Mapping>,
        leader: bool,
        parked: Option<Parked>,
    ) -> ThreadEnd {
        let mut slots = self.slots.lock();
        slots.threads -= 1;
        if slots.threads == 0 {
            return ThreadEnd::Process;
        }
        if leader {
            slots.parked = Some(mapping.clone());
            return ThreadEnd::Parks;
        }
        if let Some(parked) = parked
            && slots.idle.len() < IDLE
        {
            slots.idle.push(parked);
            return ThreadEnd::Parks;
        }
        slots.free.push((slot, mapping.clone()));
        ThreadEnd::Exits
    }

    /// Copies guest memory out; bytes copied, short at the first page the guest could not read.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let len = clip(addr, buf.len());
        self.read_any(addr, &mut buf[..len])
    }

    /// Copies into guest memory; bytes copied, short at the first page the guest could not write.
    pub fn write(&self, addr: u64, buf: &[u8]) -> usize {
        self.write_any(addr, &buf[..clip(addr, buf.len())])
    }

    /// [`read`](AddressSpace::read), of the stub's own memory too.
    pub(super) fn read_any(&self, addr: u64, buf: &mut [u8]) -> usize {
        if buf.is_empty() {
            return 0;
        }
        let Some(copier) = self.copier.get() else {
            let copy = |pid| copy_from(pid, &[(addr, buf.len())], buf).unwrap_or(0);
            return self.process.with_pid(copy).unwrap_or(0);
        };
        let mut done = 0;
        for chunk in buf.chunks_mut(DATA_LEN as usize) {
            let _turn = copier.turn.lock();
            let n = copier.copy(&self.process, command::COPY_OUT, addr + done as u64, chunk.len());
            copier.mapping.read_data(0, &mut chunk[..n]);
            done += n;
            if n < chunk.len() {
                break;
            }
        }
        done
    }

    /// [`write`](AddressSpace::write), to the stub's own memory too.
    pub(super) fn write_any(&self, addr: u64, buf: &[u8]) -> usize {
        if buf.is_empty() {
            return 0;
        }
        let Some(copier) = self.copier.get() else {
            let copy = |pid| copy_to(pid, &[(addr, buf.len())], buf).unwrap_or(0);
            return self.process.with_pid(copy).unwrap_or(0);
        };
        let mut done = 0;
        for chunk in buf.chunks(DATA_LEN as usize) {
            let _turn = copier.turn.lock();
            copier.mapping.write_data(0, chunk);
            let n = copier.copy(&self.process, command::COPY_IN, addr + done as u64, chunk.len());
            done += n;
            if n < chunk.len() {
                break;
            }
        }
        done
    }

    /// Copies several ranges out, one after the other, into `buf`; bytes copied, short at the first inaccessible page.
    pub fn read_vectored(&self, ranges: &[(u64, usize)], buf: &mut [u8]) -> usize {
        let mut done = 0;
        for &(addr, len) in ranges {
            let len = len.min(buf.len() - done);
            let n = self.read(addr, &mut buf[done..done + len]);
            done += n;
            if n < len {
                break;
            }
        }
        done
    }

    /// Copies `buf` into several ranges, one after the other; bytes copied, short at the first inaccessible page.
    pub fn write_vectored(&self, ranges: &[(u64, usize)], buf: &[u8]) -> usize {
        let within = |&(addr, len): &(u64, usize)| clip(addr, len) == len;
        if self.copier.get().is_none() && ranges.len() <= process::RANGES && ranges.iter().all(within) {
            return self.process.with_pid(|pid| copy_to(pid, ranges, buf).unwrap_or(0)).unwrap_or(0);
        }
        let mut done = 0;
        for &(addr, len) in ranges {
            let len = len.min(buf.len() - done);
            let n = self.write(addr, &buf[done..done + len]);
            done += n;
            if n < len {
                break;
            }
        }
        done
    }

    /// Resident bytes of the process, guest memory and a few pages of the stub's own.
    pub fn resident_bytes(&self) -> u64 {
        self.statm().0
    }

    /// What the process takes of the host's memory.
    pub fn footprint(&self) -> Footprint {
        self.process.with_pid(|pid| Footprint::of(&pid.to_string())).unwrap_or_default()
    }

    /// Anonymous memory, each page divided by the number of processes that share it after a fork. The host walks all
    /// page tables for it. None where it doesn't tell, or the process is gone.
    pub fn proportional_anonymous_bytes(&self) -> Option<u64> {
        let text = self.process.with_pid(|pid| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")));
        let text = text?.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// Resident bytes of files and shared memory, a part of [`resident_bytes`](AddressSpace::resident_bytes).
    pub fn shared_bytes(&self) -> u64 {
        self.statm().1
    }

    /// Resident and shared bytes, from /proc/PID/statm.
    fn statm(&self) -> (u64, u64) {
        let statm = self.process.with_pid(|pid| std::fs::read_to_string(format!("/proc/{pid}/statm")));
        let Some(Ok(statm)) = statm else { return (0, 0) };
        let mut pages = statm.split(' ').skip(1).map(|word| word.parse::<u64>().unwrap_or(0));
        let mut bytes = || pages.next().unwrap_or(0).saturating_mul(4096);
        (bytes(), bytes())
    }

    /// The host's own account of every mapping, in the format of /proc/PID/smaps. None when the process is gone.
    pub fn host_smaps(&self) -> Option<String> {
        let text = self.process.with_pid(|pid| std::fs::read(format!("/proc/{pid}/smaps")));
        Some(String::from_utf8_lossy(&text?.ok()?).into_owned())
    }

    /// Which of `count` pages from `addr` on are in memory: a byte each, 1 for those that are. None when the process
    /// is gone.
    pub fn present_pages(&self, addr: u64, count: usize) -> Option<Vec<u8>> {
        let mut entries = vec![0; count.checked_mul(8)?];
        let read = self.process.with_pid(|pid| {
            let pagemap = std::fs::File::open(format!("/proc/{pid}/pagemap"))?;
            pagemap.read_exact_at(&mut entries, addr / 4096 * 8)
        });
        read?.ok()?;
        // Bit 63 of an entry: present.
        Some(entries.chunks_exact(8).map(|entry| entry[7] >> 7).collect())
    }

    /// Page faults and resident memory of the process so far; zero once it is dead.
    pub fn usage(&self) -> Usage {
        let before = *self.baseline.lock();
        let whole = self.whole_usage();
        Usage {
            minor_faults: whole.minor_faults.saturating_sub(before.minor_faults),
            major_faults: whole.major_faults.saturating_sub(before.major_faults),
            resident: whole.resident,
        }
    }

    /// The same of all programs that have run in it.
    fn whole_usage(&self) -> Usage {
        let stat = self.process.with_pid(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")));
        let Some(Ok(stat)) = stat else { return Usage::default() };
        // minflt is the eighth word, then cminflt, majflt; rss is the 22nd.
        let words: Vec<&str> = process::after_name(&stat).collect();
        let word = |i: usize| words.get(i).and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
        Usage { minor_faults: word(7), major_faults: word(9), resident: word(21).saturating_mul(4096) }
    }

    /// Kills the host process. Every thread in it reports `Event::Dead`.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Whether the host process has died.
    pub fn is_dead(&self) -> bool {
        self.process.is_dead()
    }

    /// Why the host process was given up, if the kernel did that.
    pub fn obituary(&self) -> Option<&str> {
        self.process.obituary()
    }

    /// The host process id.
    pub fn host_pid(&self) -> i32 {
        self.process.pid
    }
}

impl Copier {
    fn copy(&self, process: &Process, command: u32, addr: u64, len: usize) -> usize {
        let window = self.mapping.get();
        window.op_count.store(0, Relaxed);
        window.fd_count.store(0, Relaxed);
        window.addr.store(addr, Relaxed);
        window.len.store(len as u64, Relaxed);
        window.command.store(command, Relaxed);
        if process.is_dead() {
            return 0;
        }
        self.mapping.release(false);
        if !answered(process, &self.mapping, self.tid, false) {
            return 0;
        }
        window.ret.load(Relaxed).min(len as u64) as usize
    }
}

/// How much of a range is guest memory.
fn clip(addr: u64, len: usize) -> usize {
    TASK_SIZE.saturating_sub(addr).min(len as u64) as usize
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::Footprint;

    #[test]
    fn footprints_are_read() {
        let status = "Name:\tx: y\nVmRSS:\t  12 kB\nRssAnon:\t 8 kB\nVmPTE:\t     44 kB\nThreads:\t1\n";
        let found = Footprint::parse(status);
        assert_eq!((found.resident, found.anonymous, found.tables), (12 << 10, 8 << 10, 44 << 10));
        assert!(Footprint::own().anonymous > 0);
    }
}
