"""Standard files pass through as what they are: files, pipes, their ends and their positions."""
import os, signal, subprocess, sys, tempfile

ruml = [sys.argv[1], "run", *sys.argv[2:], "--"] if sys.argv[1:] else []


def run(script, **how):
    if "input" not in how:
        how.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([*ruml, "/bin/bash", "-c", script], timeout=30, **how)


def same(got, want, what):
    if got != want:
        sys.exit("%s: %r instead of %r" % (what, got, want))


with tempfile.TemporaryDirectory() as d:
    log = os.path.join(d, "log")
    with open(log, "wb") as f:
        f.write(b"head\n")
        f.flush()
        run("echo one; echo two >&2; echo three", stdout=f, stderr=f)
        os.write(f.fileno(), b"host\n")
    same(open(log).read(), "head\none\ntwo\nthree\nhost\n", "one file for both outputs")
    with open(log, "ab") as f:
        run("echo more; stat -Lc '%F' /dev/fd/1 >&2", stdout=f, stderr=subprocess.DEVNULL)
    same(open(log).read(), "head\none\ntwo\nthree\nhost\nmore\n", "appended output")
    with open(log, "rb") as f:
        p = run("dd bs=5 count=1 status=none; stat -Lc '%F %s' /dev/stdin", stdin=f, stdout=subprocess.PIPE)
        same(p.stdout.decode(), "head\nregular file %d\n" % os.path.getsize(log), "a file as input")
        same(os.lseek(f.fileno(), 0, os.SEEK_CUR), 5, "position of the input afterwards")
        same(run("read l; echo $l; tail -n1", stdin=f, stdout=subprocess.PIPE).stdout, b"one\nmore\n", "seek in the input")
p = run("stat -Lc %F /dev/stdin /dev/stdout; echo direct >/dev/stdout; echo apart >/dev/stderr; cat /dev/stdin", input=b"in",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
same(p.stdout, b"fifo\nfifo\ndirect\nin", "pipes")
same(p.stderr, b"apart\n", "standard error")
same(run("stat -Lc '%F %t:%T' /dev/stdin", stdout=subprocess.PIPE).stdout, b"character special file 1:3\n", "null")
big = os.urandom(1 << 20) * 8
same(run("cat", input=big, stdout=subprocess.PIPE).stdout == big, True, "8 MiB through cat")
p = subprocess.Popen([*ruml, "/bin/bash", "-c", "yes"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
p.stdout.read(1000)
p.stdout.close()
# A shell may run its last command in its own place, or see it die.
if p.wait(10) not in (128 + signal.SIGPIPE, -signal.SIGPIPE):
    sys.exit("no SIGPIPE: status %d" % p.returncode)
p = subprocess.Popen([*ruml, "/bin/bash", "-c", "read a; echo got $a; read b; echo got $b; read c || echo end"],
                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for word in b"x", b"y":
    p.stdin.write(word + b"\n")
    p.stdin.flush()
    same(p.stdout.readline(), b"got " + word + b"\n", "a line at a time")
p.stdin.close()
same(p.stdout.read(), b"end\n", "the end of input")
p.wait(10)
print("PASS")
