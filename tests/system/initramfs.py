"""Debian's static busybox boots from an initramfs, in each compression, and powers off."""
import gzip, io, lzma, os, shutil, subprocess, sys, tempfile


def newc(entries):
    out = io.BytesIO()
    for ino, (name, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], 1):
        raw = name.encode() + b"\0"
        fields = [ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        out.write(b"070701" + b"".join(b"%08X" % f for f in fields) + raw)
        out.write(b"\0" * (-out.tell() % 4) + data)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()


busybox = shutil.which("busybox")
init = b"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
echo "booted $$ $(/bin/busybox uname -s) $(/bin/busybox cat /note)"
/bin/busybox grep -o 'probe=[a-z]*' /proc/cmdline
/bin/busybox poweroff -f
"""
with open(busybox, "rb") as f:
    image = newc([("bin", 0o40755, b""), ("bin/busybox", 0o100755, f.read()), ("init", 0o100755, init), ("note", 0o100644, b"noted")])
packs = {"plain": lambda b: b, "gzip": gzip.compress, "xz": lambda b: lzma.compress(b, check=lzma.CHECK_CRC32)}
if shutil.which("zstd"):
    packs["zstd"] = lambda b: subprocess.run(["zstd", "-qc"], input=b, stdout=subprocess.PIPE, check=True).stdout
with tempfile.TemporaryDirectory() as d:
    for name, pack in packs.items():
        path = os.path.join(d, name)
        with open(path, "wb") as f:
            f.write(pack(image))
        p = subprocess.run([sys.argv[1], "mem=128M", "initrd=" + path, "con0=fd:0,fd:1", "quiet", "probe=yes"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, timeout=20)
        text = p.stdout.decode(errors="replace")
        if "booted 1 Linux noted" not in text or "probe=yes" not in text or p.returncode != 0:
            sys.exit("%s: status %d, %r" % (name, p.returncode, text[-500:]))
print("PASS")
