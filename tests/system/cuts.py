"""ruml is killed with SIGKILL while a guest works on a disk: the journal makes the file system whole, and whatever a program
was told to be durable is there. On plain images and over copy-on-write files, ROUNDS times each, one load after another.

CUTS_ROUNDS replaces ROUNDS, CUTS_LOADS the loads (words), CUTS_SEED the random numbers. CUTS_IMAGE names a Debian image in
which the load `apt` installs packages."""
import os, random, shutil, signal, subprocess, sys, tempfile, time

RUML, ROUNDS = sys.argv[1], int(os.environ.get("CUTS_ROUNDS") or sys.argv[2])
IMAGE = os.environ.get("CUTS_IMAGE")
LOADS = (os.environ.get("CUTS_LOADS") or "files untar git sqlite dpkg" + (" apt" if IMAGE else "")).split()
SEED = int(os.environ.get("CUTS_SEED") or time.time())
# Rounds whose files are looked at; older ones are removed under load.
KEPT = 8

SQLITE = """
import os, sqlite3, sys
dbs = []
for name, mode, sync in ("wal", "wal", "full"), ("log", "delete", "extra"):
    db = sqlite3.connect(name, isolation_level=None)
    db.execute("pragma journal_mode=" + mode)
    db.execute("pragma synchronous=" + sync)
    db.execute("create table t(i integer primary key, b blob)")
    dbs.append((name, db))
for i in range(1 << 30):
    for name, db in dbs:
        db.execute("begin")
        db.execute("insert into t values(?, randomblob(3000))", (i,))
        db.execute("update t set b = randomblob(2000) where i = abs(random()) % (? + 1)", (i,))
        db.execute("commit")
        print("sqlite", sys.argv[1], name, i, flush=True)
"""
SQLITE_CHECK = """
import sqlite3, sys
for name in "wal", "log":
    db = sqlite3.connect(name)
    try: rows, last = db.execute("select count(*), max(i) from t").fetchone()
    except sqlite3.OperationalError as e:
        if name in sys.argv: raise
        continue
    assert db.execute("pragma integrity_check").fetchall() == [("ok",)], name
    assert rows == (last or 0) + (last is not None), (name, rows, last)
    assert name not in sys.argv or int(sys.argv[sys.argv.index(name) + 1]) <= last, (name, last)
"""

# A package whose files tell its version.
PACKAGE = """package() { rm -rf /tmp/p; mkdir -p /tmp/p/DEBIAN /tmp/p/opt/probe/d; for i in $(seq 40); do yes $1-$i | head -c 3000 >/tmp/p/opt/probe/d/f$i; done
printf 'Package: probe\\nVersion: %s\\nArchitecture: all\\nMaintainer: none <none@example.org>\\nDescription: probe\\n' $1 >/tmp/p/DEBIAN/control
dpkg-deb -b /tmp/p /tmp/p.deb >/dev/null; }
whole() { for i in $(seq 40); do yes $2-$i | head -c 3000 | cmp - $1/opt/probe/d/f$i || return 1; done; }
"""

# What runs in the guest, in a directory of its own on the disk, which it must not fill. A line on standard output says that
# something is durable; of the trees of untar, the last two are.
WRITERS = {
    "files": """n=0; while :; do mkdir d$n; cp /usr/share/common-licenses/* d$n; rm -rf d$((n-2)); mv d$((n-1)) e$n 2>/dev/null; rm -rf e$((n-50))
yes $R-$n | head -c 20000 | dd of=sure$n conv=fsync status=none || exit; echo files $R sure$n; n=$((n+1)); done""",
    "untar": """n=0; while :; do mkdir t$n; tar -xf $W/tree.tar -C t$n || exit; if [ $((n % 3)) = 2 ]; then sync -f .; rm -rf t$((n-9)); echo untar $R t$n; rm -rf t$((n-1)) t$((n-2)); fi; n=$((n+1)); done""",
    "git": """git init -q .; sync -f .; n=0; while :; do mkdir -p s$((n % 7)); for i in 1 2 3 4 5; do seq $n $((n+300)) >s$((n % 7))/f$i; done
git add -A; git commit -qm $n; [ $((n % 10)) = 9 ] && git gc -q; sync .git .git/refs/heads; echo git $R $(git rev-parse HEAD); n=$((n+1)); done""",
    "sqlite": """exec python3 $W/sqlite.py $R""",
    "dpkg": PACKAGE + """mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates; : >root/var/lib/dpkg/status; n=1; while :; do package $n
dpkg --root=root --log=/dev/null -i /tmp/p.deb >/dev/null 2>&1; sync root/var/lib/dpkg; echo dpkg $R $n; n=$((n+1)); done""",
    "apt": PACKAGE + """n=$((${R#r} * 1000 + 1)); mount -t proc proc /mnt/proc; while :; do package $n; cp /tmp/p.deb /mnt/tmp
chroot /mnt apt-get -qq -y install /tmp/p.deb >/dev/null 2>/tmp/err </dev/null || { cat /tmp/err >&2; exit 1; }
sync /mnt/var/lib/dpkg; echo apt $R $n; n=$((n+1)); done""",
}

# In the same directory, with the words of a line.
CHECKERS = {
    "files": """yes $R-${1#sure} | head -c 20000 | cmp - $1""",
    "untar": """tar -df $W/tree.tar -C $1""",
    "git": """rm -f .git/*.lock .git/refs/heads/*.lock; git fsck --full --strict 2>&1 | grep -v dangling; git rev-list --objects --all >/dev/null && { [ -z "$1" ] || git merge-base --is-ancestor $1 HEAD; }""",
    "sqlite": """python3 $W/check.py "$@\"""",
    "dpkg": PACKAGE + """set -- "$1" $(dpkg-query --admindir=root/var/lib/dpkg -W -f '${db:Status-Abbrev} ${Version}' probe); echo dpkg: $*
[ $2 != ii ] || { [ $3 -ge $1 ] && whole root $3; } && package 1000 && dpkg --root=root --log=/dev/null -i /tmp/p.deb && whole root 1000""",
    "apt": PACKAGE + """set -- "$1" $(chroot /mnt dpkg-query -W -f '${db:Status-Abbrev} ${Version}' probe); echo apt: $*; mount -t proc proc /mnt/proc
[ $2 != ii ] || { [ $3 -ge $1 ] && whole /mnt $3; } && chroot /mnt dpkg --configure -a </dev/null && package $((500 + $1)) && cp /tmp/p.deb /mnt/tmp &&
chroot /mnt apt-get -qq -y -f install /tmp/p.deb </dev/null && whole /mnt $((500 + $1)) && chroot /mnt dpkg --audit""",
}
PLACE = """export R=r%d W=%s HOME=/tmp GIT_CONFIG_COUNT=4 GIT_CONFIG_KEY_0=core.fsync GIT_CONFIG_VALUE_0=all GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=n \
GIT_CONFIG_KEY_2=user.email GIT_CONFIG_VALUE_2=n@example.org GIT_CONFIG_KEY_3=safe.directory GIT_CONFIG_VALUE_3='*'
mount /dev/ubda /mnt && mkdir -p /mnt/$R && cd /mnt/$R || exit 9
"""


def run(words, ok=(0,), **more):
    p = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200, **more)
    if p.returncode not in ok:
        sys.exit("%s: status %d, %s" % (words, p.returncode, p.stdout[-3000:].decode(errors="replace")))
    return p.stdout.decode(errors="replace")


def guest(disk, number, script, **more):
    return [RUML, "run", "--disk", disk, "--", "bash", "-c", PLACE % (number, os.getcwd()) + script]


def cut(disk, load, number):
    """A round on `disk`: the lines that it printed."""
    old = "rm -rf /mnt/r%d & " % (number - KEPT)
    p = subprocess.Popen(guest(disk, number, old + WRITERS[load]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    first = p.stdout.readline()
    time.sleep(random.choice((0.1, 1, 3, 5)) * random.random())
    if p.poll() is not None:
        sys.exit("%s ended by itself, with status %d" % (load, p.returncode))
    p.send_signal(signal.SIGKILL)
    p.wait()
    return (first + p.stdout.read()).decode().split("\n")[:-1]


def checks(rounds):
    """The script that looks at what the rounds left."""
    script = ""
    for number, (load, lines) in rounds.items():
        if load in ("files", "untar"):
            calls = [line.split()[2:] for line in (lines[-2:] if load == "untar" else lines)]
        elif load == "sqlite":
            calls = [sum({line.split()[2]: line.split()[2:] for line in lines}.values(), [])]
        else:
            calls = [lines[-1].split()[2:]]
        for words in calls:
            script += "cd /mnt/r%d && R=r%d && set -- %s && { %s; } || { echo round %d: %s: $*; exit 1; }\n" % (
                number, number, " ".join(words), CHECKERS[load], number, load)
    return script + "cd /; umount /mnt/proc 2>/dev/null; umount /mnt && echo whole\n"


def campaign(kind, loads, image, make):
    disk, rounds, counts = image, {}, {}
    make(image)
    if kind == "cow":
        disk = image + ".cow"
        run([RUML, "mkcow", disk, image])
    for number in range(ROUNDS):
        load = loads[number % len(loads)]
        lines = cut(disk, load, number)
        if not lines or not lines[0]:
            sys.exit("%s round %d: %s did nothing before the cut" % (kind, number, load))
        if "apt" in loads:
            rounds = {}
        rounds.pop(number - KEPT, None)
        rounds[number] = load, lines
        counts[load] = counts.get(load, 0) + 1
        # The journal's replay by e2fsck on a copy, and by ruml itself on the disk.
        if os.path.exists("copy"):
            os.unlink("copy")
        if kind == "cow":
            run([RUML, "moo", disk, "copy"])
        else:
            run(["cp", "--sparse=always", image, "copy"])
        run(["/sbin/e2fsck", "-fy", "copy"], ok=(0, 1))
        run(["/sbin/e2fsck", "-fn", "copy"])
        for where in "copy", disk:
            out = run(guest(where, number, checks(rounds)), ok=(0, 1))
            if not out.endswith("whole\n"):
                sys.exit("%s round %d (%s): not whole on %s: %s" % (kind, number, load, where, out[-3000:]))
        print("%s round %d: %s, %d lines" % (kind, number, load, len(lines)), flush=True)
    print("%s: %s" % (kind, counts))


random.seed(SEED)
print("seed %d" % SEED)
with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
    os.chmod(d, 0o755)
    os.chdir(d)
    open("sqlite.py", "w").write(SQLITE)
    open("check.py", "w").write(SQLITE_CHECK)
    run(["tar", "-cf", "tree.tar", "-C", "/usr", "include/linux", "share/common-licenses"])
    for kind in "plain", "cow":
        small = [load for load in LOADS if load != "apt"]
        if small:
            campaign(kind, small, kind + ".img", lambda image: run(["/sbin/mke2fs", "-q", "-t", "ext4", image, "256M"]))
        if "apt" in LOADS:
            campaign(kind, ["apt"], kind + "-debian.img", lambda image: run(["cp", "--sparse=always", IMAGE, image]))
print("PASS")
