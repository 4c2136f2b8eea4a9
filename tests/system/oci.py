"""An image made of an OCI layout: layers that remove, empty and replace what those below have, and it boots."""
import gzip, hashlib, io, json, os, shutil, subprocess, sys, tarfile, tempfile

INIT = b"""#!/bin/sh
PATH=/bin
mount -t proc proc /proc
ls -1R /etc /dir /swap /new
cat /etc/kept /swap
stat -c '%h links' /bin/hard
echo BOOTED
poweroff -f
"""
WANT = "/swap\n/dir:\nc\n/etc:\nkept\n/new:\nd\ntwo\nnow a file\n2 links\nBOOTED\n"


def layer(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in entries:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, tuple):
                info.type, info.linkname = what
            else:
                info.size = len(what)
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


def layout(top, layers):
    blobs = os.path.join(top, "blobs/sha256")
    os.makedirs(blobs)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as f:
            f.write(data)
        return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(data)}

    packed = [blob(gzip.compress(data) if n else data, "layer.v1.tar" + ("+gzip" if n else "")) for n, data in enumerate(layers)]
    ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}
    manifest = {"schemaVersion": 2, "config": blob(json.dumps(config).encode(), "config.v1+json"), "layers": packed}
    entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["platform"] = {"architecture": "amd64", "os": "linux"}
    with open(os.path.join(top, "index.json"), "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, f)
    with open(os.path.join(top, "oci-layout"), "w") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)


with open(shutil.which("busybox"), "rb") as f:
    busybox = f.read()
links = [("bin/" + name, (tarfile.SYMTYPE, "busybox")) for name in ("sh", "mount", "ls", "cat", "stat", "poweroff")]
lower = [("bin", None), ("bin/busybox", busybox), ("bin/hard", (tarfile.LNKTYPE, "bin/busybox")), *links,
         ("etc", None), ("etc/gone", b"gone"), ("etc/kept", b"one\n"), ("dir", None), ("dir/a", b"a"),
         ("swap", None), ("swap/x", b"x"), ("dev", None), ("proc", None), ("sbin", None)]
upper = [("etc/.wh.gone", b""), ("etc/kept", b"two\n"), ("dir", None), ("dir/.wh..wh..opq", b""), ("dir/c", b"c"),
         ("swap", b"now a file\n"), ("new", None), ("new/.wh..wh..opq", b""), ("new/d", b"d"), ("sbin/init", INIT)]
with tempfile.TemporaryDirectory() as d:
    layout(os.path.join(d, "oci"), [layer(lower), layer(upper)])
    image = os.path.join(d, "image.ext4")
    p = subprocess.run([sys.argv[1], "image", "create", image, "--from", os.path.join(d, "oci"), "--size", "64M"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    if p.returncode != 0:
        sys.exit("image create: status %d, %r" % (p.returncode, p.stdout[-800:]))
    p = subprocess.run([sys.argv[1], "mem=128M", "ubd0=" + image, "con0=fd:0,fd:1", "quiet"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, timeout=20)
    # The kernel's last words are the console's too.
    text = "".join(line for line in p.stdout.decode(errors="replace").replace("\r", "").splitlines(True)
                   if line.strip() and not line.startswith("["))
    if text != WANT or p.returncode != 0:
        sys.exit("status %d, %r instead of %r" % (p.returncode, text, WANT))
print("PASS")
