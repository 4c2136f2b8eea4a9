"""Volumes write through, unless read-only, and nothing leaves their root; everything else stays unchanged on the host."""
import os, subprocess, sys, tempfile


def run(args, script):
    p = subprocess.run([sys.argv[1], "run", *args, "--", "/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=30)
    return p.stdout.decode().strip()


with tempfile.TemporaryDirectory() as d, tempfile.TemporaryDirectory() as other:
    with open(d + "/in", "w") as f:
        f.write("host")
    with open(other + "/secret", "w") as f:
        f.write("secret")
    os.symlink(other + "/secret", d + "/abs")
    os.symlink("../" + os.path.basename(other) + "/secret", d + "/rel")
    got = run(["--volume", d + ":/v"], "cat /v/in; echo guest >/v/out; mkdir /v/sub; echo x >/v/sub/f; mv /v/in /v/moved; chmod 600 /v/out")
    if got != "host" or open(d + "/out").read() != "guest\n" or not os.path.exists(d + "/sub/f") or os.path.exists(d + "/in"):
        sys.exit("does not write through: %r %r" % (got, os.listdir(d)))
    if os.stat(d + "/out").st_mode & 0o777 != 0o600:
        sys.exit("mode not written through")
    got = run(["--volume", d + ":/v:ro"], "cat /v/moved; (echo no >/v/out) 2>/dev/null || echo refused; rm -f /v/moved 2>/dev/null || echo refused")
    if got != "host\nrefused\nrefused" and got != "hostrefused\nrefused":
        sys.exit("read-only: %r" % got)
    probe = other + "/probe"
    run([], "echo x >%s; rm -f %s/secret" % (probe, other))
    if os.path.exists(probe) or not os.path.exists(other + "/secret"):
        sys.exit("the guest changed the host")
    got = run(["--volume", d + ":/v"], "mount --bind /v /mnt 2>/dev/null; chroot /v /bin/true 2>/dev/null; echo changed >/v/rel; cat /v/../v/moved")
    if open(other + "/secret").read() != "secret":
        sys.exit("a link led the guest out of the volume")
got = run(["--volume", "/:/host"], "ls -A /host/proc | wc -l; cat /host/proc/self/maps 2>/dev/null || echo hidden; ls /host/etc/passwd; umount -l /proc && ls -A /proc | wc -l")
if got != "0\nhidden\n/host/etc/passwd\n0":
    sys.exit("the host's /proc shows: %r" % got)
print("PASS")
