"""The same random operations on a tree, on the host's tmpfs and in ruml on its tmpfs and on ext2, ext3 and ext4: the trees at
the end are the same, also after another mount, and e2fsck finds nothing.

TREE_SEEDS sets how many seeds there are, TREE_SEED the first, TREE_STEPS the operations of each."""
import difflib, os, subprocess, sys, tempfile

RUML, SOURCE = sys.argv[1], os.path.join(os.path.dirname(os.path.abspath(__file__)), sys.argv[2])
COUNT, FIRST = int(os.environ.get("TREE_SEEDS") or 2), int(os.environ.get("TREE_SEED") or 1)
USER = "%d:%d" % (os.getuid(), os.getgid())
STEPS = os.environ.get("TREE_STEPS") or "2500"
KINDS = ["-t ext4", "-t ext4 -b 1024 -O inline_data -I 256", "-t ext3 -b 1024", "-t ext2", "-t ext4 -b 1024"]
ON_DISK = """mount /dev/ubda /mnt; mkdir /mnt/t; chown $U /mnt/t
TREE_KEEP=/mnt/t setpriv --reuid=${U%:*} --regid=${U#*:} --clear-groups $P; umount /mnt; mount /dev/ubda /mnt; echo again
TREE_DUMP=/mnt/t setpriv --reuid=${U%:*} --regid=${U#*:} --clear-groups $P; umount /mnt"""


def run(words, ok=(0,), **more):
    p = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200, **more)
    if p.returncode not in ok:
        sys.exit("%s: status %d, %s" % (words, p.returncode, p.stdout[-3000:].decode(errors="replace")))
    return p.stdout.decode(errors="replace")


def same(what, host, guest):
    if host != guest:
        lines = difflib.unified_diff(host.split("\n"), guest.split("\n"), "host", what, lineterm="", n=0)
        sys.exit("\n".join(["%s: not the same" % what, *list(lines)[:30]]))


with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
    os.chmod(d, 0o755)
    os.chdir(d)
    program = os.path.join(d, "tree")
    run(["gcc", "-O1", "-static", "-o", program, SOURCE])
    for seed in range(FIRST, FIRST + COUNT):
        words = {"TREE_SEED": str(seed), "TREE_STEPS": STEPS, "TMPDIR": "/dev/shm", "P": program, "U": USER}
        probe = "/dev/shm/probe%d" % os.getpid()
        open(probe, "w").close()
        try:
            os.setxattr(probe, "user.a", b"1")
            words["TREE_ATTRS"] = "1"
        except OSError:
            pass
        os.unlink(probe)
        host = run([program], env=dict(os.environ, **words))
        settings = [w for k, v in words.items() for w in ("--env", k + "=" + v)]
        same("tmpfs, seed %d" % seed, host, run([RUML, "run", "--user", USER, *settings, "--", program]))
        kind = KINDS[(seed - 1) % len(KINDS)]
        run(["/sbin/mke2fs", "-q", "-F", *kind.split(), "t.img", "200M"])
        guest, _, again = run([RUML, "run", *settings, "--disk", "t.img", "--", "bash", "-c", ON_DISK]).partition("again\n")
        same("%s, seed %d" % (kind, seed), host, guest)
        same("%s, seed %d, mounted again" % (kind, seed), guest[guest.index(". 40700"):], again)
        run(["/sbin/e2fsck", "-fn", "t.img"])
        print("seed %d: tmpfs, %s" % (seed, kind), flush=True)
print("PASS")
