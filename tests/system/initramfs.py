"""Debian's static busybox boots from an initramfs, in each compression, and powers off."""
import gzip, io, lzma, os, shutil, subprocess, sys, tempfile, time
from term import Term


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
/bin/busybox test -L /d && /bin/busybox test -x /d/busybox && echo replaced
/bin/busybox poweroff -f
"""
with open(busybox, "rb") as f:
    # Later entries, in a later archive too, take the place of earlier ones.
    image = newc([("note", 0o120777, b"/nowhere"), ("init", 0o100755, b"junk"), ("bin", 0o100644, b"no directory"), ("d", 0o40755, b"")])
    image += newc([("bin", 0o40755, b""), ("d", 0o120777, b"bin"), ("bin/busybox", 0o100755, f.read()), ("init", 0o100755, init), ("note", 0o100644, b"noted")])
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
        if "booted 1 Linux noted" not in text or "probe=yes" not in text or "replaced" not in text or p.returncode != 0:
            sys.exit("%s: status %d, %r" % (name, p.returncode, text[-500:]))
    # Its shell on a console, commands from a pipe and then from a terminal; then restart instead of power off.
    plain = os.path.join(d, "plain")
    words = [sys.argv[1], "mem=128M", "initrd=" + plain, "rdinit=/bin/busybox", "con0=fd:0,fd:1", "quiet"]
    p = subprocess.run([*words, "--", "sh"], input=b"echo shell $((6*7))\nbusybox poweroff -f\n", stdout=subprocess.PIPE, timeout=20)
    if b"shell 42" not in p.stdout or p.returncode != 0:
        sys.exit("shell: status %d, %r" % (p.returncode, p.stdout[-500:]))
    t = Term([*words, "--", "sh"])
    t.expect("# ")
    t.send("busybox sleep 100\r")
    t.expect("sleep 100\r\n")
    time.sleep(0.3)
    t.send("\x03")
    t.expect("# ")
    for round in "one", "two":
        t.send("echo $$ roun''d-%s\r" % round)
        t.expect("1 round-" + round)
        t.expect("# ")
        t.send("busybox %s -f\r" % {"one": "reboot", "two": "poweroff"}[round])
        if round == "one":
            t.expect("# ")
    if t.wait() != 0:
        sys.exit("the restarted machine does not power off with status 0")
    p = subprocess.run([sys.argv[1], "mem=128M", "initrd=" + plain, "rdinit=/no", "con0=fd:0,fd:1", "quiet"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, timeout=20)
    # Kernel messages are the console's.
    if p.returncode == 0 or b"panic" not in p.stdout:
        sys.exit("no panic without an init: status %d, %r" % (p.returncode, p.stdout[-500:]))
print("PASS")
