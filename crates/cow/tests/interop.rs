//! COW files shared with uml-utilities, in both directions.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use cow::{Cow, Open, SECTOR, Version};

const SIZE: u64 = (3 << 20) + 512 * 3;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("ruml-cow-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a folder for the test");
        Dir(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A backing file whose sectors tell their numbers.
    fn backing(&self) -> PathBuf {
        let path = self.path("backing");
        fs::write(&path, disk(|_| None)).expect("the backing file is written");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The disk: each sector filled with a byte of its number, or what `changed` says.
fn disk(changed: impl Fn(u64) -> Option<u8>) -> Vec<u8> {
    (0..SIZE / SECTOR).flat_map(|n| [changed(n).unwrap_or(n as u8); SECTOR as usize]).collect()
}

fn changed(sector: u64) -> Option<u8> {
    matches!(sector, 0 | 7..=9 | 4000 | 6146).then_some(0xee)
}

fn change(cow: &Cow) {
    for (first, count) in [(0, 1), (7, 3), (4000, 1), (6146, 1)] {
        cow.write_at(&vec![0xee; (count * SECTOR) as usize], first * SECTOR).expect("sectors are written");
    }
    cow.flush().expect("a flush");
}

fn contents(cow: &Cow) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    cow.read_at(&mut bytes, 0).expect("the disk is read");
    bytes
}

fn run(program: &str, args: &[&Path]) -> std::process::Output {
    Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program} cannot be run ({e}): install Debian's uml-utilities"))
}

/// Nobody else uses the files of a test.
fn unlocked(_: &File, _: &Path, _: bool) -> cow::Result<()> {
    Ok(())
}

fn open(path: &Path) -> Cow {
    Cow::open(path, None, Open::default()).expect("the COW file is opened")
}

#[test]
fn theirs_is_read_and_ours_is_the_same() {
    let dir = Dir::new("mkcow");
    let backing = dir.backing();
    let (theirs, ours) = (dir.path("theirs"), dir.path("ours"));
    assert!(run("uml_mkcow", &[&theirs, &backing]).status.success());
    cow::create(&ours, &backing, false).expect("a COW file");
    let head = |path: &Path| {
        let mut bytes = vec![0; 12288];
        File::open(path).and_then(|f| f.read_exact_at(&mut bytes, 0)).expect("the header is read");
        bytes
    };
    assert!(head(&theirs) == head(&ours), "uml_mkcow makes another header and bitmap");
    assert!(cow::create(&ours, &backing, false).is_err());
    let cow = open(&theirs);
    assert_eq!(cow.header().version, Version::V3);
    assert_eq!(cow.extent(0..SIZE), cow::Extent { cow: false, offset: 0, len: SIZE });
    change(&cow);
    assert!(contents(&cow) == disk(changed));
    drop(cow);
    let cow = open(&theirs);
    assert_eq!(cow.sectors_here(), 6);
    assert!(contents(&cow) == disk(changed));
}

#[test]
fn uml_moo_merges_what_was_written_here() {
    let dir = Dir::new("moo");
    let backing = dir.backing();
    let path = dir.path("cow");
    cow::create(&path, &backing, false).expect("a COW file");
    change(&open(&path));
    let (theirs, ours) = (dir.path("theirs"), dir.path("ours"));
    let out = run("uml_moo", &[&path, &theirs]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    cow::merge_to(&path, None, &ours, unlocked, &mut |_, _| {}).expect("merged");
    assert!(fs::read(&theirs).expect("their file") == disk(changed));
    assert!(fs::read(&ours).expect("our file") == disk(changed));
    let mut last = 0;
    cow::merge_in_place(&path, None, unlocked, &mut |done, _| last = done).expect("merged in place");
    assert_eq!(last, SIZE);
    assert!(fs::read(&backing).expect("the backing file") == disk(changed));
}

/// Versions that nobody writes any more: made by hand, read here and by uml_moo.
#[test]
fn old_versions_are_read_and_written() {
    for version in [Version::V1, Version::V2, Version::V3Broken] {
        let dir = Dir::new(&format!("{version:?}"));
        let backing = dir.backing();
        let path = dir.path("cow");
        cow::create(&path, &backing, false).expect("a COW file");
        let meta = fs::metadata(&backing).expect("metadata");
        let header = cow::Header::new(version, &backing, meta.mtime() as u32, SIZE);
        let bytes = header.and_then(|h| h.encode()).expect("the name fits");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, bytes).expect("the header is written");
        let file = File::options().read(true).write(true).open(&path).expect("opened");
        file.set_len(1 << 20).expect("room for the bitmap");
        drop(file);
        let cow = open(&path);
        assert_eq!(cow.header().version, version);
        assert!(contents(&cow) == disk(|_| None));
        for (first, count) in [(0, 1), (7, 3), (4000, 1)] {
            cow.write_at(&vec![0xee; (count * SECTOR) as usize], first * SECTOR)
                .expect("sectors are written");
        }
        drop(cow);
        let expected = disk(|n| changed(n).filter(|_| n != 6146));
        assert!(contents(&open(&path)) == expected);
        if version == Version::V3Broken {
            // uml_moo of today reads it only if it was built for 64 bits in 2005.
            continue;
        }
        let theirs = dir.path("theirs");
        let out = run("uml_moo", &[&path, &theirs]);
        assert!(out.status.success(), "{version:?}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(fs::read(&theirs).expect("their file") == expected, "{version:?}");
    }
}

#[test]
fn a_changed_backing_file_is_refused() {
    let dir = Dir::new("backing");
    let backing = dir.backing();
    let path = dir.path("cow");
    cow::create(&path, &backing, false).expect("a COW file");
    let mtime = fs::metadata(&backing).expect("metadata").mtime();
    let file = File::options().write(true).open(&backing).expect("opened");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000))
        .expect("dated");
    let message = Cow::open(&path, None, Open::default()).err().expect("refused");
    assert!(message.contains(&format!("touch -d @{mtime}")), "{message}");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(mtime as u64))
        .expect("dated");
    assert!(Cow::open(&path, None, Open::default()).is_ok());
    // A copy with the same date may take its place, and is named from then on.
    let copy = dir.path("copy");
    fs::copy(&backing, &copy).expect("copied");
    let copied = File::options().write(true).open(&copy).expect("opened");
    copied
        .set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(mtime as u64))
        .expect("dated");
    drop(Cow::open(&path, Some(&copy), Open::default()).expect("the copy is taken"));
    assert_eq!(open(&path).header().backing, copy.canonicalize().expect("a name"));
    assert_eq!(open(&path).header().version, Version::V3);
    copied.set_len(SIZE - 512).expect("cut");
    let message = Cow::open(&path, None, Open::default()).err().expect("refused");
    assert!(message.contains("bytes"), "{message}");
}

#[test]
fn bits_reach_the_file_after_the_sectors() {
    let dir = Dir::new("order");
    let backing = dir.backing();
    let path = dir.path("cow");
    cow::create(&path, &backing, false).expect("a COW file");
    let cow = open(&path);
    cow.write_at(&[0xee; 4096], 64 * SECTOR).expect("sectors are written");
    let bitmap = |at: u64| {
        let mut byte = [0];
        File::open(&path).and_then(|f| f.read_exact_at(&mut byte, 8192 + at)).expect("the bitmap is read");
        byte[0]
    };
    assert_eq!(bitmap(8), 0);
    cow.flush().expect("a flush");
    assert_eq!((bitmap(7), bitmap(8), bitmap(9)), (0, 0xff, 0));
}
