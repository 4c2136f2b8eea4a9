use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;

/// A temporary image, gone with the value.
struct Image(PathBuf);

impl Image {
    fn new(len: u64) -> Image {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("ruml-disk-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::File::create(&path).unwrap().set_len(len).unwrap();
        Image(path)
    }

    fn open(&self, engine: Engine) -> Arc<dyn Disk> {
        open(&self.0, OpenOptions::default(), engine).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

type Outcome = (Result<()>, Vec<u8>);

fn submit(disk: &dyn Disk, op: Op, offset: u64, len: u64, data: Vec<u8>) -> Receiver<Outcome> {
    let (tell, told) = channel();
    let done: Done = Box::new(move |outcome, data| drop(tell.send((outcome, data))));
    disk.submit(Request { op, offset, len, data, done });
    told
}

fn wait(told: Receiver<Outcome>) -> Outcome {
    told.recv_timeout(Duration::from_secs(20)).expect("a completion")
}

fn read(disk: &dyn Disk, offset: u64, len: usize) -> Vec<u8> {
    let (outcome, data) = wait(submit(disk, Op::Read, offset, len as u64, vec![0xee; len]));
    outcome.unwrap();
    data
}

fn write(disk: &dyn Disk, offset: u64, data: Vec<u8>, fua: bool) -> Result<()> {
    wait(submit(disk, Op::Write { fua }, offset, data.len() as u64, data)).0
}

/// The engines of this host: it may have no io_uring.
fn engines() -> Vec<Engine> {
    let mut all = vec![Engine::Threads];
    all.extend(uring::ring().is_ok().then_some(Engine::Uring));
    all
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7) ^ (i >> 8) ^ (seed * 131)) as u8).collect()
}

#[test]
fn many_requests_in_flight_give_every_byte_back() {
    const PIECE: usize = 12 << 10;
    for engine in engines() {
        let image = Image::new(600 * PIECE as u64);
        let disk = image.open(engine);
        // More than the ring holds.
        let writes: Vec<_> = (0..600)
            .map(|i| {
                let (at, data) = ((i * PIECE) as u64, pattern(i, PIECE));
                submit(&*disk, Op::Write { fua: i % 100 == 0 }, at, PIECE as u64, data)
            })
            .collect();
        assert!(writes.into_iter().all(|told| wait(told).0.is_ok()), "{engine:?}");
        assert_eq!(wait(submit(&*disk, Op::Flush, 0, 0, Vec::new())).0, Ok(()));
        let reads: Vec<_> = (0..600)
            .map(|i| submit(&*disk, Op::Read, (i * PIECE) as u64, PIECE as u64, vec![0; PIECE]))
            .collect();
        for (i, told) in reads.into_iter().enumerate() {
            assert!(wait(told).1 == pattern(i, PIECE), "{engine:?}: piece {i}");
        }
        assert_eq!(std::fs::read(&image.0).unwrap()[PIECE..2 * PIECE], pattern(1, PIECE));
    }
}

#[test]
fn discards_and_zeroes() {
    for engine in engines() {
        let image = Image::new(1 << 20);
        let disk = image.open(engine);
        write(&*disk, 0, pattern(3, 1 << 20), false).unwrap();
        for (op, at) in [
            (Op::Discard, 0),
            (Op::WriteZeroes { unmap: true }, 128 << 10),
            (Op::WriteZeroes { unmap: false }, 256 << 10),
        ] {
            assert_eq!(wait(submit(&*disk, op, at, 64 << 10, Vec::new())).0, Ok(()), "{engine:?} {op:?}");
            assert!(read(&*disk, at, 64 << 10).iter().all(|&b| b == 0), "{engine:?} {op:?}");
        }
        assert!(read(&*disk, 64 << 10, 64 << 10) == pattern(3, 1 << 20)[64 << 10..128 << 10]);
    }
}

#[test]
fn a_size_between_sectors_is_rounded_up_and_reads_as_zeros() {
    for engine in engines() {
        let image = Image::new(1000);
        let disk = image.open(engine);
        write(&*disk, 0, vec![7; 512], false).unwrap();
        assert_eq!(disk.len(), 1024);
        let mut expected = vec![7; 512];
        expected.resize(1024, 0);
        assert_eq!(read(&*disk, 0, 1024), expected, "{engine:?}");
        write(&*disk, 512, vec![9; 512], false).unwrap();
        assert_eq!(read(&*disk, 512, 512), vec![9; 512]);
        assert_eq!(disk.read_now(0, &mut [0; 1024]), disk.read_now(0, &mut [0; 1024]));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let image = Image::new(4096);
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let disk = open(&image.0, options, Engine::Threads).unwrap();
    assert_eq!(write(&*disk, 0, vec![1; 512], false), Err(EROFS));
    assert_eq!(wait(submit(&*disk, Op::Read, 4096, 512, vec![0; 512])).0, Err(EIO));
    assert_eq!(wait(submit(&*disk, Op::Read, u64::MAX - 100, 512, vec![0; 512])).0, Err(EIO));
    assert_eq!(wait(submit(&*disk, Op::Read, 0, 1024, vec![0; 512])).0, Err(EINVAL));
    assert_eq!(disk.read_now(u64::MAX, &mut [0; 16]), 0);
    assert_eq!(disk.write_now(0, &[&[0; 16]]), 0);
    let missing = open(std::path::Path::new("/nonexistent/x"), OpenOptions::default(), Engine::Auto);
    assert!(missing.err().unwrap().contains("ENOENT"));
    let folder = open(std::path::Path::new("/tmp"), options, Engine::Auto).err().unwrap();
    assert!(folder.contains("neither"), "{folder}");
}

#[test]
fn a_locked_image_names_its_holder() {
    let image = Image::new(4096);
    let held = image.open(Engine::Threads);
    let refused = open(&image.0, OpenOptions::default(), Engine::Threads).err().unwrap();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    let readers = OpenOptions { read_only: true, ..OpenOptions::default() };
    assert!(open(&image.0, readers, Engine::Threads).is_err());
    let shared = OpenOptions { shared: true, ..OpenOptions::default() };
    assert!(open(&image.0, shared, Engine::Threads).is_ok());
    // Another descriptor's close must not let go of the lock.
    drop(std::fs::File::open(&image.0).unwrap());
    assert!(open(&image.0, OpenOptions::default(), Engine::Threads).is_err());
    drop(held);
    let first = open(&image.0, readers, Engine::Threads).unwrap();
    let second = open(&image.0, readers, Engine::Threads).unwrap();
    assert!(open(&image.0, OpenOptions::default(), Engine::Threads).is_err());
    drop((first, second));
}

/// A disk whose writes take their time, and which knows what a flush has made durable.
struct Slow {
    state: Mutex<(HashMap<u64, u8>, HashMap<u64, u8>)>,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

impl Blocking for Slow {
    fn len(&self) -> u64 {
        1 << 20
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn limits(&self) -> Limits {
        Limits { physical_block: 512, discard: false }
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.fill(self.state.lock().0.get(&offset).copied().unwrap_or(0));
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8], _: bool) -> Result<()> {
        self.most.fetch_max(self.in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5 + offset / 512 % 7 * 5));
        self.state.lock().0.insert(offset, data[0]);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
    fn flush(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.1 = state.0.clone();
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> Result<()> {
        Err(EOPNOTSUPP)
    }
    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> Result<()> {
        Err(EOPNOTSUPP)
    }
}

#[test]
fn a_flush_waits_for_every_write_before_it() {
    let slow =
        Arc::new(Slow { state: Mutex::default(), in_flight: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    let disk = threaded(slow.clone());
    let put = |sector: u64, value: u8| {
        submit(&*disk, Op::Write { fua: false }, sector * 512, 512, vec![value; 512])
    };
    let flush = || submit(&*disk, Op::Flush, 0, 0, Vec::new());
    let first: Vec<_> = (0..20).map(|i| put(i, 1)).collect();
    let flush_1 = flush();
    let second: Vec<_> = (20..40).map(|i| put(i, 2)).collect();
    let (flush_2, flush_3) = (flush(), flush());
    assert_eq!(wait(flush_1).0, Ok(()));
    let durable = slow.state.lock().1.clone();
    assert!((0..20).all(|i| durable.get(&(i * 512)) == Some(&1)));
    // Every write before it has been answered as well.
    assert!(first.into_iter().all(|told| matches!(told.try_recv(), Ok((Ok(()), _)))));
    assert_eq!(wait(flush_2).0, Ok(()));
    let durable = slow.state.lock().1.clone();
    assert!((20..40).all(|i| durable.get(&(i * 512)) == Some(&2)));
    assert_eq!(wait(flush_3).0, Ok(()));
    assert!(second.into_iter().all(|told| wait(told).0.is_ok()));
    assert!(slow.most.load(Ordering::SeqCst) > 1, "writes must not wait for each other");
    assert_eq!(wait(submit(&*disk, Op::Discard, 0, 512, Vec::new())).0, Err(EOPNOTSUPP));
}

#[test]
fn what_is_in_memory_is_read_and_written_at_once() {
    let image = Image::new(1 << 20);
    let disk = image.open(Engine::Auto);
    write(&*disk, 0, pattern(5, 1 << 20), false).unwrap();
    let mut buf = vec![0; 64 << 10];
    let done = disk.read_now(4096, &mut buf);
    // A host may have no such call; but what it has done is right.
    assert!(buf[..done] == pattern(5, 1 << 20)[4096..4096 + done]);
    let done = disk.write_now(8192, &[&[0x55; 4096]]);
    assert!(read(&*disk, 8192, 4096)[..done].iter().all(|&b| b == 0x55));
}

#[test]
fn several_buffers_are_written_one_after_another() {
    let image = Image::new(1 << 20);
    let disk = image.open(Engine::Auto);
    let parts: Vec<Vec<u8>> = (1..=5u8).map(|n| vec![n; usize::from(n) * 512]).collect();
    let bufs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let done = disk.write_now(4096, &bufs);
    assert_eq!(read(&*disk, 4096, 15 * 512)[..done], parts.concat()[..done]);
}

#[test]
fn a_read_on_the_callers_thread_is_whole() {
    let image = Image::new((1 << 20) - 300);
    for engine in [Engine::Auto, Engine::Threads] {
        let disk = image.open(engine);
        write(&*disk, 0, pattern(9, 1 << 20), false).unwrap();
        let mut buf = vec![1; 256 << 10];
        // The host may be slow once, but not at every attempt.
        assert!((0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(2));
            disk.read_here(4096, &mut buf) == Some(Ok(()))
        }));
        assert!(buf == pattern(9, 1 << 20)[4096..4096 + buf.len()]);
        assert_eq!(disk.read_here(1 << 20, &mut buf), None, "beyond the end");
        assert_eq!(disk.read_here(u64::MAX, &mut buf), None);
    }
}

#[test]
fn a_flush_on_the_callers_thread_does_not_overtake_a_write() {
    let image = Image::new(1 << 20);
    let disk = image.open(Engine::Auto);
    write(&*disk, 0, pattern(5, 4096), false).unwrap();
    // The host may be slow once, but not at every attempt.
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(2));
        disk.flush_now() == Some(Ok(()))
    }));
    let order = Order::new(Box::new(drop));
    assert!(!order.has_writes_under_way());
    let order = Arc::new(order);
    let done = Box::new(|_, _| ());
    order.submit(Request { op: Op::Write { fua: false }, offset: 0, len: 0, data: Vec::new(), done });
    assert!(order.has_writes_under_way());
}
