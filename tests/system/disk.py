"""Disks: what the guest writes is in the image, and what is in the image the guest reads."""
import hashlib, os, random, subprocess, sys, tempfile

ruml, words = sys.argv[1], sys.argv[2:]
work = tempfile.mkdtemp()
os.chdir(work)


def fail(why):
    sys.exit(f"{why}")


def run(script, *disks, uml=None, before=()):
    if uml is not None:
        script = "mount -t proc proc /proc; mount -t sysfs sysfs /sys; " + script
    if uml is None:
        command = [ruml, "run", *words, *[w for d in disks for w in ("--disk", d)], "--", "/bin/bash", "-ec", script]
    else:
        command = [ruml, *uml, "rootfstype=hostfs", "rootflags=/", "mem=256M", "con0=null,fd:1", "init=/bin/bash",
                   "loglevel=4", "--", "-ec", script]
    done = subprocess.run([*before, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    if uml is None and done.returncode != 0:
        fail(f"status {done.returncode} of {script}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def image(name, size, data=b""):
    with open(name, "wb") as f:
        f.write(data)
        f.truncate(size)
    return name


def has(text, *parts):
    for part in parts:
        if part not in text:
            fail(f"no {part!r} in:\n{text}")


def read():
    data = random.Random(1).randbytes(24 << 20)
    image("r.img", len(data), data)
    want = hashlib.sha256(data).hexdigest()
    out = run("for f in '' iflag=direct; do for bs in 4096 300k 7M; do dd if=/dev/ubda bs=$bs $f status=none | sha256sum; done; done;"
              "dd if=/dev/ubda bs=777 status=none | sha256sum", "r.img")
    if out.count(want) != 7:
        fail("reading: " + out)
    out = run("dd if=/dev/ubda bs=512 skip=3 count=1 iflag=direct status=none | sha256sum; cat /sys/block/ubda/ro;"
              "! dd if=/dev/zero of=/dev/ubda count=1 status=none", "r.img:ro")
    has(out, hashlib.sha256(data[1536:2048]).hexdigest(), "1\n", "not permitted")
    if hashlib.sha256(open("r.img", "rb").read()).hexdigest() != want:
        fail("a read-only image has changed")


def write():
    image("w.img", 8 << 20)
    run("yes one | head -c 1000000 | dd of=/dev/ubda bs=3333 seek=1 status=none;"
        "yes two | head -c 65536 | dd of=/dev/ubda bs=4096 seek=1000 oflag=direct status=none;"
        "printf x | dd of=/dev/ubda bs=1 seek=4096001 status=none;"
        "! dd if=/dev/zero of=/dev/ubda bs=4096 seek=2048 count=1 2>/dev/null", "w.img")
    want = bytearray(8 << 20)
    want[3333:1003333] = (b"one\n" * 250001)[:1000000]
    want[4096000:4096000 + 65536] = b"two\n" * 16384
    want[4096001:4096002] = b"x"
    if open("w.img", "rb").read() != want:
        fail("the image is not what was written")


def sparse():
    """Holes read as zeros and take no space; what is written to one is there at once."""
    rng, size = random.Random(3), 96 << 20
    image("s.img", size)
    with open("s.img", "r+b") as f:
        for _ in range(40):
            f.seek(rng.randrange(size >> 12) << 12)
            f.write(rng.randbytes(rng.choice([4096, 65536, 1 << 20])))
        f.truncate(size)
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    want, blocks = hashlib.sha256(open("s.img", "rb").read()).hexdigest(), os.stat("s.img").st_blocks
    out = run("for f in '' iflag=direct; do for bs in 4096 1M 7M; do dd if=/dev/ubda bs=$bs $f status=none | sha256sum; done; done", "s.img")
    if out.count(want) != 6:
        fail("sparse: " + out)
    if os.stat("s.img").st_blocks != blocks:
        fail("reading has filled holes")
    image("h.img", 64 << 20)
    out = run("""cat > /tmp/holes.py <<'END'
import mmap, os, random
M, r = 1 << 20, random.Random(4)
fds = [os.open('/dev/ubda', os.O_RDWR | flags) for flags in (0, os.O_DIRECT)]
buf, want = mmap.mmap(-1, M), bytearray(64 * M)
for n in range(400):
    at, size = r.randrange(63 * 256) * 4096, r.choice([4096, 65536, M])
    fd = r.choice(fds)
    if n % 2:
        buf[:size] = want[at:at + size] = r.randbytes(size)
        assert os.pwritev(fd, [memoryview(buf)[:size]], at) == size
    else:
        assert os.preadv(fd, [memoryview(buf)[:size]], at) == size
        assert buf[:size] == want[at:at + size], (n, at, size)
    if n % 20 == 0: os.fsync(fds[0])
END
        python3 -I /tmp/holes.py; echo fine""", "h.img")
    has(out, "fine")


def tables():
    for label in ("gpt", "dos"):
        image("t.img", 64 << 20)
        out = run(f"printf 'label: {label}\\n,10M\\n,20M\\n' | /sbin/sfdisk -q /dev/ubda; cat /proc/partitions; ls -l /dev/ubda*;"
                  "/sbin/mkfs.ext4 -q /dev/ubda2; lsblk -rno NAME,TYPE,SIZE; (exec 3</dev/ubda1; ! /sbin/blockdev --rereadpt /dev/ubda)", "t.img")
        has(out, "98        2      20480 ubda2", "98, 2", "ubda1 part 10M", "ubda2 part 20M")
        has(subprocess.run(["/sbin/sfdisk", "-d", "t.img"], capture_output=True, text=True).stdout, "size=       40960")
        out = run("cat /proc/partitions; /sbin/e2fsck -fn /dev/ubda2; /sbin/blkid -p /dev/ubda2", "t.img")
        has(out, "ubda2", 'TYPE="ext4"')


def file_systems():
    image("f.img", 48 << 20)
    run("/sbin/mkfs.ext4 -q -b 4096 -d /bin /dev/ubda 2>/dev/null || /sbin/mkfs.ext4 -q -b 4096 /dev/ubda;"
        "truncate -s 20M /tmp/l; L=$(/sbin/losetup -f --show /tmp/l); /sbin/mkfs.ext4 -q $L; /sbin/losetup -d $L;"
        "/sbin/e2fsck -fn /tmp/l; ! /sbin/losetup $L 2>/dev/null", "f.img")
    check = subprocess.run(["/sbin/e2fsck", "-fn", "f.img"], capture_output=True, text=True)
    if check.returncode != 0:
        fail("e2fsck: " + check.stdout + check.stderr)


def loops():
    out = run("""truncate -s 30M l; printf 'label: gpt\\n,10M\\n,10M\\n' | /sbin/sfdisk -q l
        L=$(/sbin/losetup -fP --show l); cat /proc/partitions; echo data > ${L}p2; /sbin/losetup -d $L; ! ls ${L}p1 2>/dev/null
        tail -c +11534337 l | head -c 4
        L=$(/sbin/losetup -r -o 1M --sizelimit 2M -f --show l); /sbin/blockdev --getro --getsize64 $L; cat /sys/block/${L#/dev/}/loop/offset
        ! cp /dev/zero $L 2>/dev/null; exec 3<$L; /sbin/losetup -d $L; /sbin/losetup -l; exec 3<&-; /sbin/losetup -l | wc -l
        L=$(/sbin/losetup -f --show l); ! /sbin/losetup $L $L 2>/dev/null; M=$(/sbin/losetup -f --show $L); cmp $M l && echo nested""")
    has(out, "259        1      10240 loop0p2", "data1\n2097152\n1048576\n", "1  1 /", "\n0\nnested")


def locks():
    image("k.img", 1 << 20)
    with subprocess.Popen([ruml, "run", "--disk", "k.img", "--", "sh", "-c", "echo up; cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        out = run("true", uml=["ubd0=k.img"])
        has(out, "k.img", f"process {holder.pid}")
        out = run("cat /proc/partitions; kill -9 $$", uml=["ubd0c=k.img"])
        has(out, "ubda")
        holder.stdin.close()


def options():
    image("o.img", 1 << 20)
    out = run("cat /proc/partitions /sys/block/ubdc/serial /sys/block/ubdc/ro /proc/devices", uml=["ubdcr=o.img,,S-1"])
    has(out, "98       32       1024 ubdc", "S-1\n1\n", " 98 ubd")
    for wrong in ("ubd16=x", "ubd0y=x", "ubd0=", "ubd0=/no/such", "udb0=x", "ubd0=o.img ubda=o.img"):
        done = subprocess.run([ruml, *wrong.split(), "rootfstype=hostfs", "rootflags=/"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=30)
        if done.returncode != 125 or wrong.split()[-1] not in done.stderr and "no/such" not in done.stderr:
            fail(f"{wrong}: {done.returncode} {done.stderr}")


def mounted():
    """A file system's own writes are seen by who opens the device after it, and O_EXCL keeps off what is mounted."""
    image("m.img", 32 << 20)
    run("""/sbin/mkfs.ext4 -q /dev/ubda; mkdir m; mount -t ext4 /dev/ubda m; seq 1 100000 > m/file; ! /sbin/mkfs.ext4 -q /dev/ubda 2>/dev/null
        sync; umount m; /sbin/e2fsck -fn /dev/ubda; /sbin/debugfs -R 'cat file' /dev/ubda 2>/dev/null | cmp - <(seq 1 100000)""", "m.img")
    got = subprocess.run(["/sbin/debugfs", "-R", "cat file", "m.img"], capture_output=True, text=True).stdout
    if got != "".join(f"{i}\n" for i in range(1, 100001)):
        fail("the host does not see the guest's file")


def durable():
    """Every fsync of the guest is one of the host's on the image; so is every write of a synchronous disk."""
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-e", "trace=fdatasync", "-o", "trace"]
    image("d.img", 1 << 20)
    script = "for i in 1 2 3 4 5; do dd if=/dev/zero of=/dev/ubda bs=4096 count=1 seek=$i conv=fsync,notrunc status=none; done"
    run(script, uml=["ubd0=d.img", "ubd.engine=threads"], before=strace)
    count = sum("d.img" in line and "fdatasync" in line for line in open("trace"))
    if count < 5:
        fail(f"5 fsyncs of the guest were {count} of the host")


cases = {f.__name__: f for f in (read, write, sparse, tables, file_systems, mounted, loops, locks, options, durable)}
cases[words.pop()]() if words and words[-1] in cases else [case() for case in cases.values()]
print("PASS")
