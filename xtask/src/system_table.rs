//! The cases of the whole-system tests.

/// What standard output must be.
#[derive(Clone, Copy)]
pub enum Want {
    /// Byte for byte.
    Exact(&'static str),
    /// Each of these somewhere in it.
    Has(&'static [&'static str]),
    /// The last line.
    Last(&'static str),
    /// No matter.
    Any,
}

/// What a case runs.
pub enum Job {
    /// A bash script in an empty directory, what it must print, and its status.
    Shell(&'static str, Want, &'static str),
    /// A program of `tests/system/` and its further arguments.
    Driver(&'static str, &'static [&'static str]),
}

/// One case.
pub struct Case {
    /// Its name, for the filter.
    pub name: &'static str,
    /// Programs of the host that it uses; without them it is skipped.
    pub needs: &'static [&'static str],
    /// Further arguments of ruml.
    pub args: &'static [&'static str],
    /// What to run and what to expect.
    pub job: Job,
    /// Standard input; empty: /dev/null.
    pub stdin: &'static [u8],
    /// Whether it also runs on the host itself.
    pub native: bool,
    /// Its deadline.
    pub seconds: u64,
}

const BASE: Case = Case {
    name: "",
    needs: &[],
    args: &[],
    job: Job::Driver("", &[]),
    stdin: b"",
    native: true,
    seconds: 60,
};

const fn sh(name: &'static str, script: &'static str, want: Want) -> Case {
    Case { name, job: Job::Shell(script, want, "0"), ..BASE }
}

const fn disk(name: &'static str, words: &'static [&'static str]) -> Case {
    let needs: &[&str] = &["/usr/bin/python3", "/sbin/sfdisk", "/sbin/losetup", "strace"];
    Case { native: false, needs, job: Job::Driver("disk.py", words), seconds: 120, ..sh(name, "", Any) }
}

const fn ext4(name: &'static str, words: &'static [&'static str]) -> Case {
    let needs: &[&str] = &["/usr/bin/python3", "/sbin/mke2fs", "/sbin/e2fsck", "/sbin/debugfs", "busybox"];
    Case { native: false, needs, job: Job::Driver("ext4.py", words), seconds: 240, ..sh(name, "", Any) }
}

const fn units(name: &'static str, words: &'static [&'static str]) -> Case {
    let needs: &[&str] = &["/usr/bin/python3", "mmdebstrap", "/sbin/e2fsck"];
    Case { native: false, needs, job: Job::Driver("units.py", words), seconds: 600, ..sh(name, "", Any) }
}

use Want::{Any, Exact, Has, Last};

/// Every case, the cheap ones first.
pub const CASES: &[Case] = &[
    sh("true", "true", Exact("")),
    Case { job: Job::Shell("exit 42", Exact(""), "42"), ..sh("exit-code", "", Any) },
    Case { job: Job::Shell("cd / && rm -rf $T; kill -9 $$", Exact(""), "137"), ..sh("exit-signal", "", Any) },
    Case { job: Job::Shell("exec /no/such", Any, "127"), ..sh("exit-127", "", Any) },
    Case { stdin: b"one\ntwo\n", ..sh("stdin-eof", "cat; echo end", Exact("one\ntwo\nend\n")) },
    Case {
        stdin: b"\x00\x01\x02\x03\x04\r\n\x7f\x80\xff\x1a\x11\x13",
        ..sh("stdin-binary", "od -An -tx1 | tr -d '\\n'", Exact(" 00 01 02 03 04 0d 0a 7f 80 ff 1a 11 13"))
    },
    sh(
        "stdout-binary",
        "printf '\\0\\r\\n\\001' | od -An -c; head -c 3000000 /dev/zero | tr '\\0' x | wc -c",
        Has(&["3000000"]),
    ),
    sh("stderr-apart", "echo out; echo err >&2", Exact("out\n")),
    sh("pipeline", "seq 1 10000 | sort -rn | head -3 | paste -sd,", Exact("10000,9999,9998\n")),
    sh(
        "bash",
        "a=(x y z); declare -A m=([k]=v); echo ${#a[@]} ${m[k]} $((6*7)) ${a[*]/y/Y}; f() { local r; read -r r < <(echo sub); echo $r; }; f\n\
         cat <<<here; (exit 3) || echo $?; trap 'echo usr1' USR1; kill -USR1 $$; coproc cat; echo co >&${COPROC[1]}; read -ru ${COPROC[0]} l; echo $l\n\
         kill $COPROC_PID; wait 2>/dev/null; echo done",
        Exact("3 v 42 x Y z\nsub\nhere\n3\nusr1\nco\ndone\n"),
    ),
    sh(
        "dash",
        "dash -c 'for i in 1 2 3; do echo $i & wait; done; test -p /dev/stdin || echo nopipe'",
        Has(&["1\n2\n3\n"]),
    ),
    sh(
        "coreutils",
        "mkdir -p a/b; echo hi >a/f; cp -a a c; mv c d; ln -s f a/l; ln d/f d/h; stat -c '%h %s %F' d/f; readlink a/l; du -s a >/dev/null; chmod 640 a/f\n\
         stat -c %a a/f; touch -d @1000 a/f; stat -c %Y a/f; md5sum <a/f; seq 5 | tac | paste -sd' '; dd if=/dev/zero of=z bs=1k count=8 2>/dev/null; truncate -s 3 z\n\
         wc -c <z; rm -rf a d; ls; timeout 0.1 sleep 5; echo $?; nproc >/dev/null; date -u -d @0 +%F",
        Exact(
            "2 3 regular file\nf\n640\n1000\n764efa883dda1e11db47671c4a3bbd9e  -\n5 4 3 2 1\n3\nz\n124\n1970-01-01\n",
        ),
    ),
    sh(
        "text-tools",
        "printf 'b 2\\na 1\\nc 3\\n' >f; grep -c . f; sed -n 's/a/A/p' f; awk '{s+=$2} END {print s}' f; find . -type f -name 'f' | xargs wc -l; diff f f && echo same",
        Exact("3\nA 1\n6\n3 ./f\nsame\n"),
    ),
    sh(
        "archives",
        "mkdir d; for i in $(seq 300); do echo $i >d/$i; done; tar czf a.tgz d; tar cJf a.txz d; rm -r d; tar xzf a.tgz; tar xJf a.txz; cat d/* | md5sum | cut -c1-8; ls d | wc -l; gzip -t a.tgz && xz -t a.txz && echo ok",
        Has(&["300\nok\n"]),
    ),
    Case {
        native: true,
        ..sh(
            "ps",
            "sleep 60 & ps aux >o; kill $!; head -1 o; grep -c 'sleep 60' o >/dev/null && echo found",
            Has(&["USER", "found"]),
        )
    },
    sh("top", "TERM=dumb top -b -n1 | head -5", Has(&["Tasks:", "Mem"])),
    sh(
        "free-df-mount",
        "free | grep -c Mem; df / | wc -l; grep -c ' /proc ' /proc/mounts; mount | grep -c proc >/dev/null && echo m; uptime >/dev/null && echo u",
        Has(&["1\n2\n", "m\nu"]),
    ),
    Case {
        native: false,
        ..sh("dmesg", "dmesg | head -50; echo from-user >/dev/kmsg; dmesg | tail -1", Has(&["from-user"]))
    },
    Case {
        needs: &["perl"],
        ..sh(
            "perl",
            "perl -e 'my %h; $h{$_ % 7}++ for 1..1000; print join(\",\", map {$h{$_}} sort keys %h), \"\\n\"; my $p = fork; exit 3 if !$p; waitpid $p, 0; print $? >> 8, \"\\n\"; local $SIG{ALRM} = sub { print \"alarm\\n\" }; alarm 1; sleep 3'",
            Exact("142,143,143,143,143,143,143\n3\nalarm\n"),
        )
    },
    Case {
        needs: &["/usr/bin/python3"],
        ..sh(
            "python-subprocess",
            "/usr/bin/python3 -c 'import subprocess as s, threading as t, queue\nprint(s.run([\"cat\"], input=b\"x\"*100000, capture_output=True).stdout == b\"x\"*100000)\nq=queue.Queue()\nts=[t.Thread(target=lambda i=i: q.put(i*i)) for i in range(50)]\n[x.start() for x in ts]; [x.join() for x in ts]\nprint(sum(q.get() for _ in ts))\ntry: s.run([\"sleep\",\"9\"], timeout=0.2)\nexcept s.TimeoutExpired: print(\"timeout\")'",
            Exact("True\n40425\ntimeout\n"),
        )
    },
    Case {
        needs: &["/usr/bin/python3"],
        ..sh(
            "python-asyncio",
            "/usr/bin/python3 -c 'import asyncio, os\nasync def serve(r, w):\n w.write((await r.readline()).upper()); await w.drain(); w.close()\nasync def ask(i):\n r, w = await asyncio.open_unix_connection(\"s\"); w.write(b\"m%d\\n\" % i); d = await r.read(); w.close(); return d\nasync def main():\n s = await asyncio.start_unix_server(serve, \"s\", backlog=200)\n print(sorted(await asyncio.gather(*[ask(i) for i in range(40)]))[-1])\n p = await asyncio.create_subprocess_exec(\"sh\", \"-c\", \"echo sub; exit 4\", stdout=-1)\n print((await p.communicate())[0], p.returncode)\nasyncio.run(main())'",
            Exact("b'M9\\n'\nb'sub\\n' 4\n"),
        )
    },
    Case {
        needs: &["/usr/bin/python3"],
        ..sh(
            "python-multiprocessing",
            "cat >m.py <<'E'\nimport multiprocessing as m\nfrom multiprocessing import shared_memory as s\ndef f(x): return x*x\ndef g(n, l, v):\n b = s.SharedMemory(n); b.buf[0] += 1; b.close()\n for _ in range(200):\n  with l: v.value += 1\nif __name__ == '__main__':\n for how in 'fork', 'spawn', 'forkserver':\n  with m.get_context(how).Pool(3) as p: print(how, sum(p.map(f, range(50))))\n b = s.SharedMemory(create=True, size=64); l = m.Lock(); v = m.Value('i', 0)\n ps = [m.Process(target=g, args=(b.name, l, v)) for _ in range(3)]\n for p in ps: p.start()\n for p in ps: p.join()\n print(v.value); b.close(); b.unlink()\nE\n/usr/bin/python3 m.py",
            Exact("fork 40425\nspawn 40425\nforkserver 40425\n600\n"),
        )
    },
    Case {
        needs: &["/usr/bin/python3"],
        ..sh(
            "python-sqlite3",
            "/usr/bin/python3 -c 'import sqlite3\nfor mode in \"delete\",\"wal\":\n c=sqlite3.connect(mode+\".db\"); c.execute(\"pragma journal_mode=\"+mode); c.execute(\"create table t(a integer primary key,b)\")\n c.executemany(\"insert into t(b) values(?)\",[(str(i),) for i in range(5000)]); c.commit()\n d=sqlite3.connect(mode+\".db\"); print(mode, d.execute(\"select count(*),max(a) from t\").fetchone(), d.execute(\"pragma integrity_check\").fetchone())'",
            Exact("delete (5000, 5000) ('ok',)\nwal (5000, 5000) ('ok',)\n"),
        )
    },
    Case {
        needs: &["git"],
        ..sh(
            "git",
            "export HOME=$PWD GIT_CONFIG_NOSYSTEM=1; git init -qb main r; cd r; git config user.email a@b; git config user.name n; for i in $(seq 30); do echo $i >f$i; git add .; git commit -qm c$i; done\n\
             cd ..; git clone -q r s; cd s; git log --oneline | wc -l; git gc -q; git fsck 2>&1 | grep -v '^notice'; git status -s | wc -l",
            Exact("30\n0\n"),
        )
    },
    Case {
        needs: &["gcc", "make"],
        seconds: 120,
        ..sh(
            "gcc-make",
            "for i in $(seq 12); do echo \"int f$i(void) { return $i; }\" >f$i.c; done; (for i in $(seq 12); do echo \"int f$i(void);\"; done; echo '#include <stdio.h>'; echo 'int main() { printf(\"%d\\n\", 0'; for i in $(seq 12); do echo \"+ f$i()\"; done; echo '); }') >main.c\n\
             printf 'O=$(patsubst %%.c,%%.o,$(wildcard *.c))\\np: $O\\n\\tgcc -o $@ $^\\n' >Makefile; make -s -j2 && ./p",
            Exact("78\n"),
        )
    },
    Case {
        needs: &["cargo", "rustc"],
        seconds: 300,
        ..sh(
            "cargo",
            "export HOME=$PWD; unset CARGO_TARGET_DIR; cargo init -q --vcs none --name small small && cd small && cargo run -q --offline && printf '#[test]\nfn t() { assert_eq!(std::thread::spawn(|| 6 * 7).join().unwrap(), 42) }\n' >>src/main.rs && cargo test -q --offline | grep -o '1 passed'",
            Exact("Hello, world!\n1 passed\n"),
        )
    },
    Case {
        needs: &["go"],
        seconds: 300,
        ..sh(
            "go",
            "export HOME=$PWD GOCACHE=$PWD/cache GOTOOLCHAIN=local GO111MODULE=off GOFLAGS=; cat >m.go <<'E'\npackage main\nimport (\"fmt\"; \"os\"; \"os/exec\"; \"os/signal\"; \"sync\"; \"syscall\"; \"time\")\nfunc main() {\n var wg sync.WaitGroup; var mu sync.Mutex; n := 0; c := make(chan int, 10)\n for i := 0; i < 2000; i++ { wg.Add(1); go func(i int) { defer wg.Done(); c <- i; mu.Lock(); n++; mu.Unlock() }(i) }\n s := 0; done := make(chan bool)\n go func() { for v := range c { s += v }; done <- true }()\n wg.Wait(); close(c); <-done; fmt.Println(n, s)\n t := time.NewTicker(10 * time.Millisecond); for i := 0; i < 5; i++ { <-t.C }; t.Stop()\n select { case <-time.After(20 * time.Millisecond): fmt.Println(\"timer\") }\n sig := make(chan os.Signal, 1); signal.Notify(sig, syscall.SIGUSR1)\n for i := 0; i < 100; i++ { syscall.Kill(os.Getpid(), syscall.SIGUSR1); <-sig }; fmt.Println(\"signals\")\n x := 0; go func() { for { x++ } }(); time.Sleep(50 * time.Millisecond); fmt.Println(\"preempted\")\n o, err := exec.Command(\"sh\", \"-c\", \"echo sub\").Output(); fmt.Print(string(o)); fmt.Println(err)\n}\nE\ngo build -o m m.go && ./m",
            Exact("2000 1999000\ntimer\nsignals\npreempted\nsub\n<nil>\n"),
        )
    },
    Case {
        needs: &["node"],
        ..sh(
            "node",
            "node -e 'const {execFile}=require(\"child_process\"), fs=require(\"fs\"); fs.writeFileSync(\"f\",\"x\".repeat(1e6)); setTimeout(()=>fs.promises.readFile(\"f\").then(b=>{console.log(b.length); execFile(\"echo\",[\"sub\"],(e,o)=>{process.stdout.write(o); process.exit(5-5)})}),20)'",
            Exact("1000000\nsub\n"),
        )
    },
    Case {
        needs: &["dpkg-deb", "apt-get"],
        native: false,
        seconds: 120,
        ..sh(
            "apt-get",
            "mkdir -p p/DEBIAN p/usr/bin; printf '#!/bin/sh\\nuseradd --system ruml-probe\\n' >p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst; printf 'Package: ruml-probe\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: none <none@example.org>\\nDescription: probe\\n' >p/DEBIAN/control; printf '#!/bin/sh\\necho probe works\\n' >p/usr/bin/ruml-probe; chmod 755 p/usr/bin/ruml-probe\n\
             dpkg-deb -b p ./local.deb >/dev/null && apt-get install -y ./local.deb >/dev/null && ruml-probe && id -un ruml-probe && dpkg -s ruml-probe | grep Status && dpkg -r ruml-probe >/dev/null && ! test -e /usr/bin/ruml-probe && echo gone",
            Exact("probe works\nruml-probe\nStatus: install ok installed\ngone\n"),
        )
    },
    Case {
        needs: &["sqlite3", "openssl"],
        ..sh(
            "sqlite3-openssl",
            "sqlite3 x.db 'create table t(a); insert into t values(1),(2); select sum(a) from t; pragma integrity_check'; echo x >f; openssl genrsa -out k 2048 2>/dev/null && openssl dgst -sha256 -sign k -out s f && openssl rsa -in k -pubout -out p 2>/dev/null && openssl dgst -sha256 -verify p -signature s f",
            Exact("3\nok\nVerified OK\n"),
        )
    },
    Case {
        needs: &["java", "javac"],
        seconds: 180,
        ..sh(
            "java",
            "printf 'class H { public static void main(String[] a) throws Exception { Thread[] t = new Thread[20]; java.util.concurrent.atomic.AtomicInteger n = new java.util.concurrent.atomic.AtomicInteger(); for (int i = 0; i < 20; i++) { t[i] = new Thread(() -> { for (int j = 0; j < 100000; j++) n.incrementAndGet(); }); t[i].start(); } for (Thread x : t) x.join(); System.gc(); System.out.println(n); } }' >H.java; javac H.java && java H",
            Exact("2000000\n"),
        )
    },
    Case {
        needs: &["script"],
        ..sh(
            "pty-pair",
            "script -qec 'tty | cut -c1-9; stty size >/dev/null && echo size; exit 5' /dev/null </dev/null | tr -d '\\r'; echo ${PIPESTATUS[0]}",
            Exact("/dev/pts/\nsize\n5\n"),
        )
    },
    Case {
        native: false,
        ..sh(
            "accounts",
            "useradd -m joe && su - joe -c 'id -un; pwd; touch mine; stat -c %U mine; cat /etc/shadow 2>/dev/null || echo hidden' && userdel -r joe 2>/dev/null; ls /home | grep -c joe; su nobody -s /bin/sh -c 'id -u'",
            Exact("joe\n/home/joe\njoe\nhidden\n0\n65534\n"),
        )
    },
    Case {
        native: false,
        ..sh(
            "copy-on-write",
            "rm -rf /usr/share/doc /home /opt 2>/dev/null; echo changed >/etc/passwd; ls -d /usr/share/doc 2>/dev/null; cat /etc/passwd",
            Exact("changed\n"),
        )
    },
    Case {
        native: false,
        ..sh(
            "root",
            "id -u; chown 5:6 . && stat -c %u:%g .; mkdir m && mount -t tmpfs none m && echo x >m/f && umount m && ls m | wc -l; mknod n c 1 3 && echo x >n && echo null",
            Exact("0\n5:6\n0\nnull\n"),
        )
    },
    Case {
        native: false,
        ..sh(
            "mount-namespaces",
            "mkdir m n; unshare -m sh -c 'mount -t tmpfs t m && echo in >m/f && cat m/f; touch ready; while [ ! -e done ]; do sleep 0.02; done' & \
             while [ ! -e ready ]; do sleep 0.02; done; ls m | wc -l; test $(readlink /proc/$!/ns/mnt) != $(readlink /proc/self/ns/mnt) && echo other; \
             nsenter --mount=/proc/$!/ns/mnt cat $PWD/m/f; touch done; wait; nsenter -t $$ -m true && echo same; \
             mount --bind m n && mount --make-unbindable n && ! mount --bind n m 2>/dev/null && echo refused; mount --make-shared n && mount --make-rslave / && mount --make-rprivate / && echo private",
            Exact("in\n0\nother\nin\nsame\nrefused\nprivate\n"),
        )
    },
    Case {
        native: false,
        args: &["--user", "1234:2345"],
        ..sh("user", "id -u; id -g; touch /etc/x 2>/dev/null || echo refused", Exact("1234\n2345\nrefused\n"))
    },
    Case {
        native: false,
        args: &["--hostname", "boxy", "--env", "K=v w"],
        ..sh("hostname-env", "hostname; echo \"$K\"", Exact("boxy\nv w\n"))
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3"],
        ..sh(
            "core-pipe",
            "cat >helper <<'E'\n#!/bin/sh\nexec >>$T/out 2>&1\necho \"args $#: $2 $3 $4\"; id -u; pwd; cat /proc/$(cut -d' ' -f4 /proc/$$/stat)/comm\nif [ \"$1\" = whole ]; then cat >$T/core; head -c 4 $T/core | od -An -c; head -1 /proc/$5/comm; else head -c 1 >/dev/null; fi\necho end\nE\n\
             sed -i \"s#\\$T#$T#g\" helper; chmod 755 helper $T; chmod 777 .; echo \"|$T/helper whole %s %e two.%u %P\" >/proc/sys/kernel/core_pattern; echo 4 >/proc/sys/kernel/core_pipe_limit\n\
             cat >die.py <<'E'\nimport os, sys\nheld = b'the words that are held' * 100000\np = os.fork()\nif not p: (os.setuid(65534), os.execl('/bin/sh', 'a b', '-c', 'kill -SEGV $$')) if sys.argv[1] == 'sh' else os.kill(os.getpid(), 6)\ns = os.waitpid(p, 0)[1]\nprint(os.WTERMSIG(s), os.WCOREDUMP(s))\nE\n\
             ulimit -c 0; /usr/bin/python3 die.py self; cat out; grep -q 'words that are held' core && echo held; rm out core\n\
             ulimit -c unlimited; echo \"|$T/helper part %s\" >/proc/sys/kernel/core_pattern; /usr/bin/python3 die.py sh; tail -1 out\n\
             echo '|/no/such' >/proc/sys/kernel/core_pattern; /usr/bin/python3 die.py sh",
            Has(&[
                "6 True\nargs 5: 6 python3 two.0\n0\n/\nkthreadd\n 177   E   L   F\npython3\nend\nheld\n11 True\nend\n11 False\n",
            ]),
        )
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3"],
        ..sh(
            "clock-set",
            "cat >t.py <<'E'\nimport ctypes, errno, os, select, struct, threading, time\nlibc = ctypes.CDLL(None, use_errno=True)\n\
             def timer(flags, first):\n fd = libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK); libc.timerfd_settime(fd, flags, struct.pack('qqqq', 0, 0, int(first), int(first % 1 * 1e9)), None); return fd\n\
             def what(fd):\n try: return int.from_bytes(os.read(fd, 8), 'little')\n except OSError as e: return errno.errorcode[e.errno]\n\
             def until(at, said):\n began = time.monotonic(); libc.clock_nanosleep(time.CLOCK_REALTIME, 1, struct.pack('qq', int(at), 0), None); said.append(time.monotonic() - began)\n\
             now, mono = time.time(), time.monotonic()\ntold, plain, far, span = timer(3, now + 9000), timer(1, now + 1800), timer(1, now + 9000), timer(0, 1800)\n\
             said = []; t = threading.Thread(target=until, args=(now + 600, said)); t.start(); time.sleep(0.2)\n\
             p = select.poll(); [p.register(fd, select.POLLIN) for fd in (told, plain, far, span)]\n\
             print(p.poll(0)); time.clock_settime(time.CLOCK_REALTIME, now + 3600); t.join()\n\
             print(len(p.poll(2000)), what(told), what(plain), what(far), what(span), what(told)); print(said[0] < 60, time.monotonic() - mono < 60, time.time() - now > 3590)\n\
             time.clock_settime(time.CLOCK_REALTIME, now - 100); print(what(told), what(far)); timer(1, now - 200); print(what(timer(3, now - 200)))\nE\n\
             /usr/bin/python3 t.py",
            Exact("[]\n2 ECANCELED 1 EAGAIN EAGAIN EAGAIN\nTrue True True\nECANCELED EAGAIN\n1\n"),
        )
    },
    sh("loop-200", "for i in $(seq 200); do /bin/true || exit 1; done; echo ok", Exact("ok\n")),
    sh(
        "processes-500",
        "for i in $(seq 500); do sleep 30 & done; jobs -r | wc -l; kill $(jobs -p); wait 2>/dev/null; echo ok",
        Exact("500\nok\n"),
    ),
    Case {
        needs: &["gcc"],
        ..sh(
            "threads-2000",
            "cat >t.c <<'E'\n#include <pthread.h>\n#include <semaphore.h>\n#include <stdio.h>\nsem_t s; void *f(void *a) { sem_wait(&s); return a; }\nint main() { static pthread_t t[2000]; pthread_attr_t a; pthread_attr_init(&a); pthread_attr_setstacksize(&a, 65536); sem_init(&s, 0, 0); int n = 0; for (int i = 0; i < 2000; i++) n += !pthread_create(&t[i], &a, f, 0); for (int i = 0; i < n; i++) sem_post(&s); for (int i = 0; i < n; i++) pthread_join(t[i], 0); printf(\"%d\\n\", n); }\nE\ngcc -O1 -pthread t.c -o t && ./t",
            Exact("2000\n"),
        )
    },
    Case {
        native: false,
        args: &["--user", "1234:1234"],
        ..sh(
            "fork-bomb",
            "setsid bash -c 'ulimit -u 60; b() { sleep 0.02; b | b & }; b' 2>/dev/null & sleep 3; test $(cat /proc/[0-9]*/comm 2>/dev/null | wc -l) -lt 200 && echo alive",
            Last("alive"),
        )
    },
    Case {
        native: false,
        args: &["--mem", "256M"],
        needs: &["/usr/bin/python3"],
        ..sh(
            "memory-eater",
            "/usr/bin/python3 -c 'b=[]\nwhile 1: b.append(bytearray(1<<22))'; echo $?; echo alive",
            Exact("137\nalive\n"),
        )
    },
    Case {
        native: false,
        args: &["--mem", "256M"],
        ..sh("tmpfs-eater", "head -c 2G /dev/zero >/tmp/big; rm -f /tmp/big; echo alive", Last("alive"))
    },
    Case {
        native: false,
        args: &["--mem", "256M"],
        needs: &["/usr/bin/python3"],
        ..sh(
            "memory-shared-by-fork",
            "/usr/bin/python3 -c 'import os, time\nb = bytearray(b\"x\" * (60 << 20)); ps = []\nfor i in range(20):\n p = os.fork()\n if p == 0: time.sleep(2); os._exit(0)\n ps.append(p)\nprint(sum(os.waitpid(p, 0)[1] for p in ps))'",
            Exact("0\n"),
        )
    },
    Case { needs: &["/usr/bin/python3"], job: Job::Driver("stdio.py", &[]), ..sh("stdio", "", Any) },
    Case {
        native: false,
        needs: &["/usr/bin/python3"],
        job: Job::Driver("trace.py", &[]),
        ..sh("trace", "", Any)
    },
    Case {
        needs: &["/usr/bin/python3"],
        job: Job::Driver("jobcontrol.py", &[]),
        ..sh("pty-jobcontrol", "", Any)
    },
    Case {
        needs: &["/usr/bin/python3", "vim"],
        job: Job::Driver("fullscreen.py", &[]),
        ..sh("pty-fullscreen", "", Any)
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3"],
        job: Job::Driver("sigkill.py", &[]),
        ..sh("sigkill", "", Any)
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3"],
        job: Job::Driver("restore.py", &[]),
        ..sh("terminal-restored", "", Any)
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3", "busybox"],
        job: Job::Driver("initramfs.py", &[]),
        ..sh("initramfs", "", Any)
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3", "busybox"],
        job: Job::Driver("oci.py", &[]),
        ..sh("oci", "", Any)
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3"],
        job: Job::Driver("volume.py", &[]),
        ..sh("volume", "", Any)
    },
    Case {
        native: false,
        seconds: 600,
        needs: &["mmdebstrap", "/usr/bin/uml_moo"],
        ..Case { name: "debian", job: Job::Driver("debian.py", &[]), ..BASE }
    },
    Case {
        native: false,
        needs: &["/usr/bin/python3", "/sbin/mke2fs", "/sbin/e2fsck", "/sbin/debugfs"],
        job: Job::Driver("folder.py", &[]),
        ..sh("image-from", "", Any)
    },
    units("udev", &["udev"]),
    units("systemd", &["systemd"]),
    Case {
        native: false,
        seconds: 900,
        needs: &["/sbin/e2fsck", "sqlite3", "/usr/bin/git", "dpkg-deb"],
        ..Case { name: "cuts", job: Job::Driver("cuts.py", &["6"]), ..BASE }
    },
    Case {
        native: false,
        seconds: 300,
        needs: &["/sbin/e2fsck", "gcc"],
        ..Case { name: "tree", job: Job::Driver("tree.py", &["tree.c"]), ..BASE }
    },
    disk("disk-read", &["read"]),
    disk("disk-write", &["write"]),
    disk("disk-sparse", &["sparse"]),
    disk("disk-tables", &["tables"]),
    disk("disk-file-systems", &["file_systems"]),
    disk("disk-mounted", &["mounted"]),
    disk("disk-loops", &["loops"]),
    disk("disk-locks", &["locks"]),
    disk("disk-options", &["options"]),
    disk("disk-durable", &["durable"]),
    ext4("ext4-root", &["root"]),
    ext4("ext4-files", &["files"]),
    ext4("ext4-maps", &["maps"]),
    ext4("ext4-options", &["options"]),
    ext4("ext4-direct", &["direct"]),
    ext4("ext4-memory", &["memory"]),
    ext4("ext4-mapped", &["mapped"]),
];
