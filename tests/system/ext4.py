"""ext2, ext3 and ext4: as the root, mounted, and what is left on the image."""
import hashlib, os, re, shutil, subprocess, sys, tempfile

ruml, words = sys.argv[1], sys.argv[2:]
work = tempfile.mkdtemp()
os.chdir(work)


def fail(why):
    sys.exit(f"{why}")


def call(command, data=None, seconds=100):
    done = subprocess.run(command, input=data, capture_output=True, text=True, timeout=seconds)
    return done.returncode, done.stdout + done.stderr


def tool(*command):
    status, text = call(list(command))
    if status != 0:
        fail(f"{command}: status {status}: {text}")
    return text


def image(name, size, kind="ext4", *options):
    tool("/sbin/mke2fs", "-q", "-F", "-t", kind, *options, name, size)
    return name


def check(name):
    status, text = call(["/sbin/e2fsck", "-fn", name])
    if status != 0:
        fail(f"e2fsck {name}: status {status}: {text}")


def guest(script, *disks, mem="512M"):
    """Runs a script under the host's own tree."""
    status, text = call([ruml, "run", "--mem", mem, *[w for d in disks for w in ("--disk", d)], "--", "/bin/bash", "-ec", script])
    if status != 0:
        fail(f"status {status} of {script}:\n{text}")
    return text


def has(text, *parts):
    for part in parts:
        if part not in text:
            fail(f"no {part!r} in:\n{text}")


def tree():
    """A root file system of bash, its libraries and busybox."""
    busybox = shutil.which("busybox")
    for folder in ("bin", "proc", "dev", "tmp"):
        os.makedirs(f"tree/{folder}", exist_ok=True)
    shutil.copy(busybox, "tree/bin/busybox")
    shutil.copy("/bin/bash", "tree/bin/bash")
    for library in re.findall(r"(/\S+)", tool("ldd", "/bin/bash").replace(")", " ")):
        target = "tree" + library
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.realpath(library), target)


def boot(commands, *params, ro=False):
    command = [ruml, "mem=256M", "ubd0=root.img", *params, "ro" if ro else "rw", "init=/bin/bash", "con0=fd:0,fd:1", "loglevel=4"]
    status, text = call(command, commands + "\n/bin/busybox poweroff -f\n")
    if status != 0:
        fail(f"status {status}: {text}")
    return text


def root():
    tree()
    for kind in ("ext2", "ext3", "ext4"):
        tool("/sbin/mke2fs", "-q", "-F", "-t", kind, "-L", "theroot", "-U", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "-d", "tree", "root.img", "64M")
        # Any way to name it; whatever is left is in order.
        names = ["root=/dev/ubda", "root=98:0", "root=UUID=1b4e28ba-2fa1-11d2-883f-0016d3cca427", "root=LABEL=theroot", "root=6200"]
        for number, name in enumerate(names):
            text = boot(f"echo from-{number} > /note{number}; /bin/busybox cp /bin/busybox /copy{number}; echo got $(</note{number})", name,
                        *(["rootfstype=" + kind, "rootflags=commit=9"] if number == 1 else []))
            has(text, f"got from-{number}")
            check("root.img")
        for number in range(len(names)):
            has(tool("/sbin/debugfs", "-R", f"cat /note{number}", "root.img"), f"from-{number}")
            tool("/sbin/debugfs", "-R", f"dump /copy{number} copy", "root.img")
            if open("copy", "rb").read() != open("tree/bin/busybox", "rb").read():
                fail(f"/copy{number} is not what was copied")
        before = open("root.img", "rb").read()
        text = boot("echo no > /other || echo read-only; /bin/busybox mount -t proc proc /proc; /bin/busybox grep ' / ' /proc/mounts",
                    "root=/dev/ubda", ro=True)
        has(text, "read-only", f"/dev/root / {kind} ro")
        if open("root.img", "rb").read() != before:
            fail(f"a read-only {kind} has changed")
    text = call([ruml, "mem=64M", "ubd0=root.img", "root=/dev/ubdb", "con0=null,fd:1"])[1]
    has(text, "ubda", "panic")


def files():
    for kind, options in (("ext2", []), ("ext3", ["-b", "1024"]), ("ext4", []), ("ext4", ["-b", "1024", "-I", "256", "-O", "inline_data"])):
        image("f.img", "200M", kind, *options)
        text = guest("""mount /dev/ubda /mnt; cd /mnt; cp -a /usr/include/linux include; (cd /usr/include/linux; find . -type f | sort | xargs md5sum) > /tmp/sums
            (cd include; md5sum --quiet -c /tmp/sums)
            sync; echo 3 > /proc/sys/vm/drop_caches; cd include; md5sum --quiet -c /tmp/sums
            cd ..; diff -r --no-dereference include /usr/include/linux; mkdir gone; mv include/byteorder gone; rm -rf gone; ln include/fs.h link; cd /; umount /mnt
            mount /dev/ubda /mnt; cmp /mnt/link /usr/include/linux/fs.h; stat -c %h /mnt/link; test ! -e /mnt/gone; df /mnt | tail -1; umount /mnt""", "f.img")
        has(text, "2\n", "/dev/ubda")
        check("f.img")


def maps():
    image("m.img", "100M")
    guest("""mount /dev/ubda /mnt; cat > /tmp/p <<'P'
import mmap, os
f = os.open('/mnt/f', os.O_RDWR | os.O_CREAT)
os.pwrite(f, bytes(range(256)) * 32768, 0)
os.fsync(f)
open('/proc/sys/vm/drop_caches', 'w').write('3')
m = mmap.mmap(f, 8 << 20)
assert m[5 << 20:(5 << 20) + 256] == bytes(range(256))
m[6 << 20:(6 << 20) + 5] = b'hello'
assert os.pread(f, 5, 6 << 20) == b'hello'
os.pwrite(f, b'world', 7 << 20)
assert m[7 << 20:(7 << 20) + 5] == b'world'
# Copies of the kernel's to and from pages that are not there yet.
p = mmap.mmap(f, 8 << 20, mmap.MAP_PRIVATE)
r, w = os.pipe()
os.write(w, memoryview(p)[1 << 20:(1 << 20) + 5000])
assert os.read(r, 5000) == (bytes(range(256)) * 20)[:5000]
z = os.open('/usr/include/stdio.h', os.O_RDONLY)
n = os.readv(z, [memoryview(p)[4090:9000]])
assert p[4090:4090 + n] == open('/usr/include/stdio.h', 'rb').read()[:n]
assert os.pread(f, 6, 4090) == bytes(range(250, 256)), 'private'
if os.fork() == 0:
    m[0:5] = b'child'
    os._exit(0)
os.wait()
assert os.pread(f, 5, 0) == b'child'
m.flush()
m[100:103] = b'end'
P
python3 /tmp/p; umount /mnt; mount -o ro /dev/ubda /mnt
python3 -c "
d = open('/mnt/f', 'rb').read()
assert len(d) == 8 << 20 and d[6 << 20:(6 << 20) + 5] == b'hello' and d[7 << 20:(7 << 20) + 5] == b'world' and d[:5] == b'child' and d[100:103] == b'end'
"; umount /mnt""", "m.img")
    check("m.img")


def options():
    image("o.img", "100M")
    text = guest("""mount -o noatime,errors=remount-ro /dev/ubda /mnt; grep ubda /proc/mounts; mkdir /mnt/d; echo x > /mnt/d/f
        mount -o remount,ro /mnt; ! echo y > /mnt/d/f 2>/dev/null; mount -o remount,rw /mnt; echo z > /mnt/d/f
        /sbin/fsfreeze -f /mnt; ! /sbin/fsfreeze -f /mnt 2>/dev/null; /sbin/fsfreeze -u /mnt
        chattr +i /mnt/d/f; ! echo w 2>/dev/null > /mnt/d/f; ! rm -f /mnt/d/f 2>/dev/null; lsattr /mnt/d/f; chattr -i /mnt/d/f
        python3 - <<'P'
import os, struct
f = '/mnt/d/f'
os.setxattr(f, 'user.a', b'1' * 500)
os.setxattr(f, 'security.b', b'2')
assert sorted(os.listxattr(f)) == ['security.b', 'user.a'] and os.getxattr(f, 'user.a') == b'1' * 500
os.removexattr(f, 'user.a')
entry = lambda tag, perm, who=0xffffffff: struct.pack('<HHI', tag, perm, who)
os.chmod('/mnt/d', 0o755)
os.chmod(f, 0o600)
os.setxattr(f, 'system.posix_acl_access', struct.pack('<I', 2) + entry(1, 6) + entry(2, 4, 1000) + entry(4, 0) + entry(16, 4) + entry(32, 0))
assert os.stat(f).st_mode & 0o777 == 0o640
os.setxattr('/mnt/d', 'system.posix_acl_default', struct.pack('<I', 2) + entry(1, 7) + entry(2, 7, 1000) + entry(4, 5) + entry(16, 7) + entry(32, 0))
os.umask(0o077)
open('/mnt/d/new', 'w').close()
assert os.stat('/mnt/d/new').st_mode & 0o777 == 0o660, oct(os.stat('/mnt/d/new').st_mode)
def may(uid, flags):
    child = os.fork()
    if child == 0:
        os.setgroups([]); os.setgid(uid); os.setuid(uid)
        try: os.open(f, flags)
        except PermissionError: os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
assert [may(1000, os.O_RDONLY), may(1000, os.O_WRONLY), may(1001, os.O_RDONLY)] == [True, False, False]
d = os.open('/mnt/d/direct', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
try: os.pwrite(d, b'short', 0); assert False
except OSError as e: assert e.errno == 22
s = os.open('/mnt/d/sync', os.O_RDWR | os.O_CREAT | os.O_SYNC)
os.write(s, b'durable'); os.fdatasync(s); os.sync()
os.posix_fallocate(s, 0, 1 << 20)
assert os.stat('/mnt/d/sync').st_size == 1 << 20
P
        exec 3>/mnt/d/open; rm /mnt/d/open; echo unlinked >&3; exec 3>&-
        /sbin/filefrag -v /mnt/d/sync | head -4; cp /bin/bash /mnt/d; umount /mnt; ! mount -t ext2 /dev/ubda /mnt 2>/dev/null; mount /dev/ubda /mnt
        test $(stat -c %s /mnt/d/f) = 2; mount /dev/ubda /media; cmp /media/d/bash /bin/bash; umount /media; umount /mnt""", "o.img")
    has(text, "noatime", "errors=remount-ro", "physical_offset")
    check("o.img")


def direct():
    """O_DIRECT: holes, ends of files, what isn't whole sectors, memory that isn't there; and reads beside truncation."""
    image("d.img", "64M")
    text = guest("""mount /dev/ubda /mnt; cat > /tmp/direct.py <<'END'
import ctypes, errno, mmap, os, random
M = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)
libc.pread.argtypes = libc.pwrite.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
libc.pread.restype = libc.pwrite.restype = ctypes.c_ssize_t
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def fails(code, call, *args):
    try: call(*args)
    except OSError as e: assert e.errno == code, e
    else: assert False
data = random.Random(1).randbytes(3 * M)
out, back = mmap.mmap(-1, 4 * M), mmap.mmap(-1, 8 * M)
out[:3 * M] = data
d = os.open('/mnt/f', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
w = os.open('/mnt/f', os.O_RDWR)
os.ftruncate(d, 8 * M)
assert os.preadv(d, [back], 0) == 8 * M and back[:] == bytes(8 * M)
assert os.pwritev(d, [memoryview(out)[:3 * M]], M) == 3 * M
want = bytearray(bytes(M) + data + bytes(4 * M))
for fd in d, w:
    assert os.preadv(fd, [back], 0) == 8 * M and back[:] == want
assert os.preadv(d, [memoryview(back)[:512], memoryview(back)[4096:4096 + 7 * 512]], M + 512) == 4096
assert back[:512] == data[512:1024] and back[4096:4096 + 7 * 512] == data[1024:1024 + 7 * 512]
for at, size in (1, 4096), (512, 100), (M + 100, 512):
    fails(errno.EINVAL, os.preadv, d, [memoryview(back)[:size]], at)
    fails(errno.EINVAL, os.pwritev, d, [memoryview(out)[:size]], at)
# Each way sees what the other has written.
os.pwrite(w, b'dirty', M + 100)
want[M + 100:M + 105] = b'dirty'
assert os.preadv(d, [memoryview(back)[:M]], M) == M and back[:M] == want[M:2 * M]
out[:M] = bytes([7]) * M
assert os.pwritev(d, [memoryview(out)[:M]], 2 * M + 512) == M
want[2 * M + 512:3 * M + 512] = out[:M]
assert os.preadv(w, [back], 0) == 8 * M and back[:] == want
# The end of the file, between sectors and grown by a write.
os.ftruncate(w, 8 * M - 1000)
assert os.preadv(d, [memoryview(back)[:4 * M]], 5 * M) == 3 * M - 1000
assert os.preadv(d, [memoryview(back)[:4096]], 8 * M) == 0
assert os.pwritev(d, [memoryview(out)[:M]], 9 * M) == M and os.fstat(d).st_size == 10 * M
assert os.preadv(d, [memoryview(back)[:2 * M]], 8 * M) == 2 * M and back[:2 * M] == bytes(M) + out[:M]
# Memory that ends within the transfer.
half = mmap.mmap(-1, 2 * M)
at = ctypes.addressof(ctypes.c_char.from_buffer(half))
assert libc.munmap(at + M, M) == 0
n = libc.pread(d, at, 2 * M, M)
assert 0 < n <= M and n % 512 == 0 and ctypes.string_at(at, n) == want[M:M + n], n
n = libc.pwrite(d, at, 2 * M, 5 * M)
assert 0 < n <= M and n % 512 == 0, n
assert os.preadv(w, [back], M) == 8 * M and back[4 * M:4 * M + n] == want[M:M + n] and back[4 * M + n:5 * M] == bytes(M - n)
for call in libc.pread, libc.pwrite:
    assert call(d, at + M, M, 0) == -1 and ctypes.get_errno() == errno.EFAULT
# What is read while others write and cut is at its place, or nothing.
SIZE = 4 * M
page = lambda n: bytes([n % 251 + 1]) * 4096
whole = b''.join(page(n) for n in range(SIZE // 4096))
child = os.fork()
if child == 0:
    r, out[:SIZE] = random.Random(2), whole
    t, e = os.open('/mnt/t', os.O_RDWR | os.O_CREAT), os.open('/mnt/t', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    for i in range(150):
        start = r.randrange(SIZE // 4096)
        stop = r.randrange(start, SIZE // 4096) + 1
        os.pwritev(r.choice([t, e]), [memoryview(out)[start * 4096:stop * 4096]], start * 4096)
        if i % 3 == 0: os.ftruncate(t, r.randrange(SIZE // 4096) * 4096)
        if i % 10 == 0: os.fsync(t); os.posix_fadvise(t, 0, 0, os.POSIX_FADV_DONTNEED)
    os._exit(0)
t, e = os.open('/mnt/t', os.O_RDWR | os.O_CREAT), os.open('/mnt/t', os.O_RDWR | os.O_DIRECT)
rounds = 0
while os.waitpid(child, os.WNOHANG)[0] == 0:
    rounds += 1
    for fd in (t, e) if rounds % 2 else (t,):
        pos = 0
        while True:
            n = os.preadv(fd, [memoryview(back)[:256 << 10]], pos)
            for i in range(0, n, 4096):
                assert set(back[i:i + 4096]) <= {0, page((pos + i) // 4096)[0]}, (fd, pos + i)
            pos += n
            if n < 256 << 10: break
print('rounds', rounds > 0)
END
        python3 -I /tmp/direct.py; umount /mnt""", "d.img")
    has(text, "rounds True")
    check("d.img")


def memory():
    image("b.img", "1500M")
    tool("/bin/bash", "-c", "truncate -s 1G big; printf 'write big big' | /sbin/debugfs -w -f - b.img")
    text = guest("""mount /dev/ubda /mnt; cat /mnt/big | md5sum; grep -E '^(Cached|MemFree)' /proc/meminfo
        dd if=/dev/zero of=/mnt/new bs=1M count=400 status=none; cat /mnt/new | md5sum; grep -E '^(Dirty|Writeback|MemFree)' /proc/meminfo
        sync; grep Dirty /proc/meminfo
        echo 50 > /proc/sys/vm/dirty_expire_centisecs; echo 20 > /proc/sys/vm/dirty_writeback_centisecs; seq 100000 > /mnt/seq
        for i in $(seq 50); do sleep 0.1; grep -q 'Dirty:  *0 kB' /proc/meminfo && echo aged && break; done
        flush=$(pgrep -x flush); kill -9 $flush; kill -TERM $flush; sleep 0.1; ps -o args= -p $flush; umount /mnt; ! dmesg | grep -i 'out of memory'""", "b.img", mem="256M")
    has(text, "cd573cfaace07e7949bc0c46028904ff", "Dirty:                 0 kB", "aged", "[flush]")
    held = [int(n) for n in re.findall(r"(?:Cached|MemFree): +(\d+)", text)]
    if max(held) > 256 << 10:
        fail(f"the cache does not stay within the memory: {text}")
    check("b.img")


def mapped():
    """Files larger than the memory, mapped: read, written, and read by several at once."""
    image("c.img", "2G")
    tool("/bin/bash", "-c", "truncate -s 900M big; printf 'write big big' | /sbin/debugfs -w -f - c.img")
    text = guest("""mount /dev/ubda /mnt; cat > /tmp/walk.py <<'END'
import hashlib, mmap, sys
f = open("/mnt/big", "r+b")
if sys.argv[1] == "read":
    m = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
    print(hashlib.md5(m).hexdigest())
else:
    m = mmap.mmap(f.fileno(), 0)
    for at in range(0, len(m), 4096):
        m[at:at + 8] = at.to_bytes(8, "little")
    # Long gone from memory by now.
    print(all(m[at:at + 8] == at.to_bytes(8, "little") for at in range(0, len(m), 40960)))
END
        python3 /tmp/walk.py read; python3 /tmp/walk.py write; python3 /tmp/walk.py read > /tmp/a; md5sum < /mnt/big | cut -c-32 | cmp - /tmp/a && echo same
        grep -E '^(Cached|MemFree)' /proc/meminfo; umount /mnt; ! dmesg | grep -i 'out of memory'""", "c.img", mem="256M")
    has(text, hashlib.md5(bytes(900 << 20)).hexdigest(), "True", "same")
    held = [int(n) for n in re.findall(r"(?:Cached|MemFree): +(\d+)", text)]
    if max(held) > 256 << 10:
        fail(f"the cache does not stay within the memory: {text}")
    check("c.img")
    tool("/sbin/debugfs", "-R", "dump /big out", "c.img")
    with open("out", "rb") as out:
        pages = iter(lambda: out.read(4096), b"")
        if any(page != (at * 4096).to_bytes(8, "little") + bytes(4088) for at, page in enumerate(pages)):
            fail("what was written through a mapping is not on the disk")


{"root": root, "files": files, "maps": maps, "options": options, "direct": direct, "memory": memory, "mapped": mapped}[words[0]]()
shutil.rmtree(work)
print("PASS")
