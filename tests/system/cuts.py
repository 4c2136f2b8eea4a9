"""ruml is killed with SIGKILL while a guest writes to a disk: the journal makes the file system whole, and every file that
was synced is there. On plain images and over copy-on-write files, ROUNDS times each."""
import os, random, shutil, signal, subprocess, sys, tempfile, time

RUML, ROUNDS = sys.argv[1], int(sys.argv[2])
WRITER = """mount /dev/ubda /mnt && cd /mnt && mkdir r%(round)d && cd r%(round)d && n=0; while :; do
mkdir d$n; cp /usr/share/common-licenses/* d$n; rm -rf d$((n-2)); mv d$((n-1)) e$n 2>/dev/null
yes %(round)d-$n | head -c 20000 | dd of=sure$n conv=fsync status=none; echo r%(round)d/sure$n; n=$((n+1)); done"""
CHECKER = """mount -o ro /dev/ubda /mnt && cd /mnt && while read f; do
n=${f#r}; yes ${n%%/*}-${f#*/sure} | head -c 20000 | cmp - $f || exit 1; done; echo whole"""


def run(words, ok=(0,), **more):
    p = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, **more)
    if p.returncode not in ok:
        sys.exit("%s: status %d, %s" % (words, p.returncode, p.stdout[-2000:].decode(errors="replace")))
    return p.stdout.decode(errors="replace")


def cut(disk, image, number):
    """A round on `disk`; `image()` is the plain image that e2fsck is to look at."""
    p = subprocess.Popen([RUML, "run", "--disk", disk, "--", "sh", "-c", WRITER % {"round": number}], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    first = p.stdout.readline()
    time.sleep(random.uniform(0.02, 0.6))
    p.send_signal(signal.SIGKILL)
    p.wait()
    return [l for l in (first + p.stdout.read()).decode().split("\n")[:-1]]


with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
    os.chdir(d)
    for kind in "plain", "cow":
        image = kind + ".img"
        run(["/sbin/mke2fs", "-q", "-t", "ext4", image, "96M"])
        disk, sure = image, []
        if kind == "cow":
            disk = "over"
            run([RUML, "mkcow", disk, image])
        for number in range(ROUNDS):
            sure += cut(disk, image, number)
            if number == 0 and not sure:
                sys.exit("nothing was written before the cut")
            looked = image
            if kind == "cow":
                looked = "merged"
                if os.path.exists(looked):
                    os.unlink(looked)
                run([RUML, "moo", disk, looked])
            else:
                shutil.copyfile(image, "copy")
                looked = "copy"
            # The journal's replay by e2fsck on a copy, and by ruml itself on the disk.
            run(["/sbin/e2fsck", "-fy", looked], ok=(0, 1))
            run(["/sbin/e2fsck", "-fn", looked])
            for where in looked, disk:
                out = run([RUML, "run", "--disk", where, "--", "sh", "-c", CHECKER], input="\n".join(sure + [""]).encode())
                if "whole" not in out:
                    sys.exit("%s round %d: a synced file is not whole on %s: %s" % (kind, number, where, out))
print("PASS")
