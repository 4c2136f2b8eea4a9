//! The page cache over a device that counts, fails and waits on demand.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use abi::Result;
use abi::errno::{EFAULT, EIO, ENOSPC};

use super::reclaim::drop_all;
use super::{AddressSpaceOps, Kind, PAGE, PageCache, ReadAhead, writeback};
use crate::mm::overcommit;
use crate::vfs::{IovDest, IovSource, Mapping, MmapRequest};

#[derive(Default)]
struct Disk {
    data: Mutex<Vec<u8>>,
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    synced: AtomicU64,
    fail_reads: AtomicBool,
    fail_writes: AtomicBool,
    full: AtomicBool,
    /// While true, writes wait.
    hold: (Mutex<bool>, Condvar),
}

impl Disk {
    fn new(data: Vec<u8>) -> Arc<Disk> {
        Arc::new(Disk { data: Mutex::new(data), ..Disk::default() })
    }

    fn data(&self) -> MutexGuard<'_, Vec<u8>> {
        self.data.lock().unwrap()
    }

    /// What the file system does for truncate(2).
    fn resize(&self, size: usize) -> Result<()> {
        self.data().resize(size, 0);
        Ok(())
    }

    fn hold(&self, on: bool) {
        *self.hold.0.lock().unwrap() = on;
        self.hold.1.notify_all();
    }

    fn count(&self, counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

impl AddressSpaceOps for Disk {
    fn read_pages(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        assert!(offset.is_multiple_of(PAGE) && (buf.len() as u64).is_multiple_of(PAGE));
        if self.fail_reads.load(Ordering::SeqCst) {
            return Err(EIO);
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.read_bytes.fetch_add(buf.len() as u64, Ordering::SeqCst);
        let data = self.data();
        let from = (offset as usize).min(data.len());
        let n = buf.len().min(data.len() - from);
        buf[..n].copy_from_slice(&data[from..from + n]);
        buf[n..].fill(0);
        Ok(())
    }

    fn write_pages(&self, offset: u64, bufs: &[&[u8]], size: u64) -> Result<()> {
        assert!(offset.is_multiple_of(PAGE));
        let mut held = self.hold.0.lock().unwrap();
        while *held {
            held = self.hold.1.wait(held).unwrap();
        }
        drop(held);
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.fail_writes.load(Ordering::SeqCst) {
            return Err(EIO);
        }
        let mut data = self.data();
        let mut at = offset as usize;
        for (i, buf) in bufs.iter().enumerate() {
            let end = at + buf.len();
            assert!((end as u64).is_multiple_of(PAGE) || i + 1 == bufs.len() && end as u64 == size);
            if end > data.len() {
                data.resize(end, 0);
            }
            data[at..end].copy_from_slice(buf);
            at = end;
        }
        Ok(())
    }

    fn reserve(&self, _: u64, _: u64) -> Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(ENOSPC) } else { Ok(()) }
    }

    fn sync(&self, _: bool) -> Result<()> {
        self.synced.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn describe(&self) -> String {
        "disk".to_owned()
    }
}

/// Tests run one after the other: what they count is common to all caches.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    let guard = LOCK.lock().unwrap_or_else(|e| e.into_inner());
    overcommit::set_total(256 << 20);
    guard
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7 % 251) as u8).collect()
}

fn cache(disk: &Arc<Disk>) -> Arc<PageCache> {
    let size = disk.data().len() as u64;
    PageCache::new(disk.clone(), size, 1, Kind::File)
}

fn read(cache: &Arc<PageCache>, pos: u64, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0xee; len];
    let n = cache.read(&mut IovDest::kernel(&mut buf), &mut { pos }, &ReadAhead::default())?;
    buf.truncate(n);
    Ok(buf)
}

fn write(cache: &Arc<PageCache>, pos: u64, data: &[u8]) -> Result<usize> {
    cache.write(&mut IovSource::kernel(data), &mut { pos }, u64::MAX)
}

fn map(cache: &Arc<PageCache>, may_write: bool) -> Mapping {
    cache.mmap(MmapRequest { shared: true, write: may_write, may_write, offset: 0, len: 1 << 20 }).unwrap()
}

#[test]
fn a_second_read_asks_nothing_of_the_disk() {
    let _alone = alone();
    let disk = Disk::new(pattern(1_000_000));
    let cache = cache(&disk);
    assert_eq!(read(&cache, 123_456, 700_000).unwrap(), disk.data()[123_456..823_456]);
    let reads = disk.count(&disk.reads);
    assert_eq!(read(&cache, 200_000, 600_000).unwrap(), disk.data()[200_000..800_000]);
    assert_eq!(read(&cache, 200_001, 5).unwrap(), disk.data()[200_001..200_006]);
    assert_eq!(disk.count(&disk.reads), reads);
    assert_eq!(read(&cache, 999_990, 100).unwrap(), disk.data()[999_990..]);
    assert_eq!(read(&cache, 1_000_000, 100).unwrap(), []);
    assert_eq!(read(&cache, u64::MAX - 10, 5).unwrap(), []);
}

#[test]
fn sequential_reads_are_read_ahead_and_random_ones_are_not() {
    let _alone = alone();
    let disk = Disk::new(pattern(8 << 20));
    let sequential = cache(&disk);
    let ahead = ReadAhead::default();
    let mut pos = 0;
    for _ in 0..1024 {
        let mut buf = [0; 4096];
        sequential.read(&mut IovDest::kernel(&mut buf), &mut pos, &ahead).unwrap();
    }
    let reads = disk.count(&disk.reads);
    assert!(reads <= 30, "{reads} reads for 4 MiB");
    let random = cache(&disk);
    let ahead = ReadAhead::default();
    let before = disk.count(&disk.read_bytes);
    for i in 1..100u64 {
        let mut buf = [0; 4096];
        random.read(&mut IovDest::kernel(&mut buf), &mut (i * 37 % 101 * 65536 + 8192), &ahead).unwrap();
    }
    assert_eq!(disk.count(&disk.read_bytes) - before, 99 * 4096);
}

#[test]
fn writes_reach_the_disk_when_they_are_synced() {
    let _alone = alone();
    let disk = Disk::new(pattern(10_000));
    let cache = cache(&disk);
    write(&cache, 5000, b"hello").unwrap();
    write(&cache, 9_998, b"longer").unwrap();
    assert_eq!(cache.size(), 10_004);
    assert_eq!(disk.count(&disk.writes), 0);
    assert_eq!(&read(&cache, 4998, 9).unwrap()[2..7], b"hello");
    let dirty = writeback::dirty_bytes();
    assert!(dirty >= 2 * PAGE);
    cache.fsync(0, u64::MAX, true).unwrap();
    assert_eq!((disk.count(&disk.writes), disk.count(&disk.synced)), (1, 1));
    assert!(!cache.is_dirty());
    assert_eq!(writeback::dirty_bytes(), dirty - 2 * PAGE);
    let mut expected = pattern(10_000);
    expected[5000..5005].copy_from_slice(b"hello");
    expected.resize(10_004, 0);
    expected[9_998..].copy_from_slice(b"longer");
    assert_eq!(*disk.data(), expected);
    cache.fsync(0, u64::MAX, true).unwrap();
    assert_eq!(disk.count(&disk.writes), 1, "nothing to write");
}

#[test]
fn whole_pages_are_written_without_being_read() {
    let _alone = alone();
    let disk = Disk::new(pattern(1 << 20));
    let cache = cache(&disk);
    write(&cache, 8192, &[7; 65536]).unwrap();
    assert_eq!(disk.count(&disk.reads), 0);
    write(&cache, 1 << 20, b"behind the end").unwrap();
    assert_eq!(disk.count(&disk.reads), 0);
    write(&cache, 100, b"x").unwrap();
    assert_eq!(disk.count(&disk.read_bytes), PAGE);
}

#[test]
fn errors_of_the_disk_arrive() {
    let _alone = alone();
    let disk = Disk::new(pattern(100_000));
    let cache = cache(&disk);
    let (early, other) = (cache.errors().sample(), cache.errors().sample());
    disk.fail_reads.store(true, Ordering::SeqCst);
    assert_eq!(read(&cache, 0, 10), Err(EIO));
    assert_eq!(write(&cache, 1, b"part of a page"), Err(EIO));
    disk.fail_reads.store(false, Ordering::SeqCst);
    write(&cache, 4096, &[1; 4096]).unwrap();
    disk.fail_writes.store(true, Ordering::SeqCst);
    assert_eq!(cache.write_back(0, u64::MAX), Err(EIO));
    assert!(!cache.is_dirty(), "as on Linux");
    disk.fail_writes.store(false, Ordering::SeqCst);
    assert_eq!(cache.errors().check(&early), Err(EIO));
    assert_eq!(cache.errors().check(&early), Ok(()));
    assert_eq!(cache.errors().check(&other), Err(EIO));
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(write(&cache, 0, &[1; 4096]), Err(ENOSPC));
    let mut buf = IovSource::kernel(&[1; 100]);
    assert_eq!(cache.write(&mut buf, &mut 50, 50), Err(abi::errno::EFBIG));
}

#[test]
fn memory_is_bounded_and_dirty_pages_stay() {
    let _alone = alone();
    overcommit::set_total(64 << 20);
    let disk = Disk::new(vec![3; 200 << 20]);
    let cache = cache(&disk);
    write(&cache, 0, b"dirty").unwrap();
    let ahead = ReadAhead::default();
    let mut pos = 0;
    let mut buf = vec![0; 1 << 20];
    let before = super::reclaim::held();
    while cache.read(&mut IovDest::kernel(&mut buf), &mut pos, &ahead).unwrap() > 0 {
        let held = super::reclaim::held() - before;
        assert!(held <= 64 << 20, "{held} bytes cached");
    }
    assert_eq!(pos, 200 << 20);
    let reads = disk.count(&disk.reads);
    assert_eq!(&read(&cache, 0, 5).unwrap(), b"dirty");
    assert_eq!(disk.count(&disk.reads), reads);
    assert!(drop_all() > 0);
    assert_eq!(&read(&cache, 0, 5).unwrap(), b"dirty");
    cache.write_back(0, u64::MAX).unwrap();
    drop_all();
    assert_eq!(&read(&cache, 0, 5).unwrap(), b"dirty");
    assert!(disk.count(&disk.reads) > reads);
}

#[test]
fn a_write_does_not_wait_for_writeback_nor_change_it() {
    let _alone = alone();
    let disk = Disk::new(Vec::new());
    let cache = cache(&disk);
    write(&cache, 0, &[1; 8192]).unwrap();
    disk.hold(true);
    let flusher = std::thread::spawn({
        let cache = cache.clone();
        move || cache.write_back(0, u64::MAX)
    });
    while writeback::writeback_bytes() == 0 {
        std::thread::yield_now();
    }
    write(&cache, 0, &[2; 4096]).unwrap();
    assert_eq!(read(&cache, 0, 4096).unwrap(), [2; 4096]);
    disk.hold(false);
    flusher.join().unwrap().unwrap();
    assert_eq!(*disk.data(), [1; 8192]);
    assert!(cache.is_dirty());
    cache.write_back(0, u64::MAX).unwrap();
    assert_eq!(disk.data()[..4096], [2; 4096]);
}

#[test]
fn a_mapped_file_shows_only_what_is_in_memory() {
    let _alone = alone();
    let disk = Disk::new(pattern(6 << 20));
    let cache = cache(&disk);
    write(&cache, 1 << 20, b"dirty before").unwrap();
    let Mapping::Paged(fd, pager) = map(&cache, true) else { panic!("not paged") };
    let object = std::fs::File::from(fd.try_clone().unwrap());
    let at = |pos: u64| {
        let mut buf = [0; 12];
        object.read_exact_at(&mut buf, pos).unwrap();
        buf
    };
    assert_eq!(pager.present(0, 6 << 20, false), [(1 << 20, (1 << 20) + PAGE)]);
    assert_eq!(&at(1 << 20), b"dirty before");
    let (start, end) = pager.page_in(3 << 20, false).unwrap();
    assert!(start <= 3 << 20 && end > 3 << 20);
    assert_eq!(at(3 << 20), disk.data()[3 << 20..][..12]);
    assert_eq!(pager.present(0, 6 << 20, true), []);
    assert_eq!(pager.page_in(6 << 20, false), Err(EFAULT));
    // A write of the guest's is noticed once, and reaches the disk with each sync.
    let range = pager.page_in(3 << 20, true).unwrap();
    assert_eq!(pager.present(0, 6 << 20, true), [range]);
    object.write_all_at(b"by the guest", 3 << 20).unwrap();
    assert_eq!(&read(&cache, 3 << 20, 12).unwrap(), b"by the guest");
    drop_all();
    cache.write_back(0, u64::MAX).unwrap();
    drop_all();
    assert_eq!(&disk.data()[3 << 20..][..12], b"by the guest");
    object.write_all_at(b"once again..", 3 << 20).unwrap();
    cache.write_back(0, u64::MAX).unwrap();
    assert_eq!(&disk.data()[3 << 20..][..12], b"once again..");
    // Shorter and longer again: zeros, and what the guest then writes there counts.
    cache.truncate(1 << 20, || disk.resize(1 << 20)).unwrap();
    cache.truncate(6 << 20, || disk.resize(6 << 20)).unwrap();
    assert_eq!(at(3 << 20), [0; 12]);
    object.write_all_at(b"third time..", 3 << 20).unwrap();
    assert_eq!(&read(&cache, 3 << 20, 12).unwrap(), b"third time..");
    object.write_all_at(b"fourth time.", 3 << 20).unwrap();
    drop(pager);
    assert!(cache.is_dirty());
    cache.write_back(0, u64::MAX).unwrap();
    assert_eq!(&disk.data()[3 << 20..][..12], b"fourth time.");
    drop_all();
    assert_eq!(&read(&cache, 3 << 20, 12).unwrap(), b"fourth time.");
}

#[test]
fn pages_of_a_mapped_file_are_taken_back_oldest_first_and_none_that_was_written() {
    let _alone = alone();
    let disk = Disk::new(pattern(8 << 20));
    let cache = cache(&disk);
    let Mapping::Paged(fd, pager) = map(&cache, true) else { panic!("not paged") };
    let object = std::fs::File::from(fd.try_clone().unwrap());
    pager.populate(4 << 20, 8 << 20).unwrap();
    pager.populate(0, 1 << 20).unwrap();
    pager.page_in(4 << 20, true).unwrap();
    object.write_all_at(b"by the guest", 4 << 20).unwrap();
    // What came last stays.
    let cold = pager.cold(1 << 20);
    assert_eq!(cold, [(4 << 20, 5 << 20)]);
    let held = super::reclaim::held();
    let freed = pager.evict(&cold);
    assert_eq!(held - super::reclaim::held(), freed);
    let kept = pager.present(4 << 20, 5 << 20, false);
    assert!(kept.len() == 1 && kept[0].0 == 4 << 20 && freed == (1 << 20) - (kept[0].1 - kept[0].0));
    assert_eq!(pager.present(0, 8 << 20, true), [], "the next write must be noticed");
    assert!(cache.is_dirty());
    pager.write_back(&cold);
    assert_eq!(&disk.data()[4 << 20..][..12], b"by the guest");
    assert_eq!(pager.evict(&cold), kept[0].1 - kept[0].0);
    // It is there again when it is wanted.
    pager.page_in(4 << 20, false).unwrap();
    let mut buf = [0; 12];
    object.read_exact_at(&mut buf, 4 << 20).unwrap();
    assert_eq!(&buf, b"by the guest");
    // A mapping has no more than its newest pages left to lose.
    while pager.evict(&pager.cold(8 << 20)) > 0 {}
    assert!(!pager.present(0, 8 << 20, false).is_empty());
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Any order of operations shows the same file as a plain buffer does, and leaves it on the disk.
#[test]
fn random_operations_agree_with_a_model() {
    let _alone = alone();
    for seed in 0..40 {
        let mut random = Random(seed);
        let most = [30_000, 1_200_000][seed as usize % 2];
        let disk = Disk::new(pattern(random.below(most) as usize));
        let mut model = disk.data().clone();
        let cache = cache(&disk);
        let mut mapping = None;
        for step in 0..300 {
            let mut pos = random.below(most);
            if random.below(4) == 0 {
                pos = pos / super::chunk::CHUNK * super::chunk::CHUNK;
            }
            let scale = random.below(21);
            let len = random.below(1 << scale) as usize;
            let byte = step as u8;
            match random.below(12) {
                0..=2 => {
                    write(&cache, pos, &vec![byte; len]).unwrap();
                    grow(&mut model, pos, len, byte);
                }
                3 => {
                    let (pos, len) = (pos / 512 * 512, len.next_multiple_of(512));
                    let data = vec![byte; len];
                    cache.write_direct(&mut IovSource::kernel(&data), &mut { pos }, u64::MAX).unwrap();
                    grow(&mut model, pos, len, byte);
                }
                4 => {
                    let mut buf = vec![0; len];
                    let n = cache.read_direct(&mut IovDest::kernel(&mut buf), &mut { pos }).unwrap();
                    assert_eq!(buf[..n], *part(&model, pos, len), "seed {seed} step {step}");
                }
                5 => {
                    let size = random.below(most);
                    cache.truncate(size, || disk.resize(size as usize)).unwrap();
                    model.resize(size as usize, 0);
                }
                6 => cache.write_back(pos, pos + len as u64).unwrap(),
                7 => {
                    drop_all();
                }
                8 => {
                    let end = (pos + len as u64).min(cache.size());
                    let hole = pos.min(end) as usize..end as usize;
                    cache
                        .change_range(hole.start as u64, end, None, || {
                            let mut data = disk.data();
                            let end = hole.end.min(data.len());
                            data[hole.start.min(end)..end].fill(0);
                            Ok(())
                        })
                        .unwrap();
                    model[hole].fill(0);
                }
                9 => mapping = random.below(2).eq(&0).then(|| map(&cache, random.below(2) == 0)),
                10 => cache.invalidate(pos, pos + len as u64),
                _ => {}
            }
            let read = read(&cache, pos, len).unwrap();
            assert!(read == *part(&model, pos, len), "seed {seed} step {step} at {pos} of {}", model.len());
            assert_eq!(cache.size(), model.len() as u64);
        }
        drop(mapping);
        cache.write_back(0, u64::MAX).unwrap();
        let mut stored = disk.data().clone();
        assert!(stored.len() <= model.len());
        stored.resize(model.len(), 0);
        assert!(stored == model, "seed {seed}");
    }
}

fn part(model: &[u8], pos: u64, len: usize) -> &[u8] {
    let from = (pos as usize).min(model.len());
    &model[from..(from + len).min(model.len())]
}

fn grow(model: &mut Vec<u8>, pos: u64, len: usize, byte: u8) {
    let end = pos as usize + len;
    if len > 0 {
        model.resize(model.len().max(end), 0);
        model[pos as usize..end].fill(byte);
    }
}

#[test]
fn many_threads_see_whole_writes() {
    let _alone = alone();
    let disk = Disk::new(vec![0; 1 << 20]);
    let cache = cache(&disk);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for who in 1..4u8 {
            let cache = &cache;
            let stop = &stop;
            scope.spawn(move || {
                // Each has pages of its own among the others'.
                let mut round = 0u8;
                while !stop.load(Ordering::Relaxed) {
                    round = round.wrapping_add(1);
                    for page in 0..80 {
                        let at = (page * 3 + u64::from(who) - 1) * PAGE;
                        write(cache, at, &[round; 4096]).unwrap();
                        assert_eq!(read(cache, at, 4096).unwrap(), [round; 4096], "page of {who}");
                    }
                }
            });
        }
        let cache = &cache;
        scope.spawn({
            let stop = &stop;
            move || {
                while !stop.load(Ordering::Relaxed) {
                    cache.write_back(0, u64::MAX).unwrap();
                    drop_all();
                }
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
    });
    cache.write_back(0, u64::MAX).unwrap();
    let held = read(&cache, 0, 1 << 20).unwrap();
    assert!(held == *disk.data());
}
