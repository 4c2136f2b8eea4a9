//! Times the library itself, without a kernel: creating files of 4 KiB, looking them up, reading, deleting.
//!
//! `cargo run --release -p ext4 --example bench -- [FILES] [THREADS] [MKE2FS-ARGS…]`

use abi::time::Timespec;
use ext4::{FileDevice, Filesystem, MountOptions, NewInode, NoLog};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let files: u32 = args.next().map_or(Ok(50_000), |arg| arg.parse())?;
    let threads: u32 = args.next().map_or(Ok(1), |arg| arg.parse())?;
    let mut mke2fs: Vec<String> = args.collect();
    if mke2fs.is_empty() {
        mke2fs = vec!["-t".into(), "ext4".into()];
    }
    let path = std::env::temp_dir().join(format!("ext4-bench-{}", std::process::id()));
    let status = std::process::Command::new("/sbin/mke2fs")
        .args(["-q", "-F"])
        .args(&mke2fs)
        .arg(&path)
        .arg("2G")
        .status()?;
    if !status.success() {
        return Err("mke2fs failed".into());
    }
    let file = std::fs::File::options().read(true).write(true).open(&path)?;
    let device = Arc::new(FileDevice::new(file, false)?);
    let fs = Filesystem::mount(device, &MountOptions::default(), Arc::new(NoLog))?;
    let now = Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };
    let new = NewInode { mode: 0o100644, uid: 0, gid: 0, rdev: (0, 0), now };
    let dir_new = NewInode { mode: 0o040755, ..new };
    let root = fs.root()?;
    let dirs: Vec<_> = (0..threads * 10)
        .map(|i| root.mkdir(format!("d{i}").as_bytes(), &dir_new))
        .collect::<Result<_, _>>()?;
    let data = vec![0x5A; 4096];
    let measure = |what: &str, work: &(dyn Fn(u32, u32) + Sync)| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    for i in 0..files / threads {
                        work(thread, i);
                    }
                });
            }
        });
        let time = start.elapsed();
        println!(
            "{what:<8} {:8.2} µs each, {:9.0}/s",
            time.as_micros() as f64 / f64::from(files),
            f64::from(files) / time.as_secs_f64()
        );
    };
    let place =
        |thread: u32, i: u32| (&dirs[(thread * 10 + i % 10) as usize], format!("some-file-{i}").into_bytes());
    measure("create", &|thread, i| {
        let (dir, name) = place(thread, i);
        let inode = dir.create(&name, &new).expect("create");
        inode.reserve(0, 4096).expect("reserve");
        inode.write_back(0, &[&data], 4096).expect("write");
    });
    let start = Instant::now();
    fs.sync()?;
    println!("sync     {:8.2} ms", start.elapsed().as_secs_f64() * 1e3);
    measure("lookup", &|thread, i| {
        let (dir, name) = place(thread, i);
        dir.lookup(&name).expect("lookup");
    });
    measure("read", &|thread, i| {
        let (dir, name) = place(thread, i);
        let mut buf = [0; 4096];
        dir.lookup(&name).expect("lookup").read_at(0, &mut buf).expect("read");
    });
    let start = Instant::now();
    let mut count = 0;
    for dir in &dirs {
        dir.read_dir(0, &mut |_| {
            count += 1;
            true
        })?;
    }
    println!("readdir  {:8.2} µs each", start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    measure("unlink", &|thread, i| {
        let (dir, name) = place(thread, i);
        dir.unlink(&name, now).expect("unlink");
    });
    let start = Instant::now();
    drop(dirs);
    drop(root);
    fs.unmount()?;
    println!("unmount  {:8.2} ms", start.elapsed().as_secs_f64() * 1e3);
    std::fs::remove_file(&path)?;
    Ok(())
}
