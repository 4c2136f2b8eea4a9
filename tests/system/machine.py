"""Disk images and the machines that boot from them."""
import subprocess, sys, time
from term import Term


def run(*words, **more):
    p = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, **more)
    text = p.stdout.decode(errors="replace")
    if p.returncode != 0:
        sys.exit("%s: status %d, %s" % (" ".join(words), p.returncode, text[-3000:]))
    return text


def clean(image):
    run("/sbin/e2fsck", "-fn", image)


def boot(kernel, disk, job, seconds=60):
    """Boots to the login prompt on standard input and output, does a job as root, and powers off; how long the prompt took."""
    log = open("log", "w+b")
    # A shell so that only standard error is another file than the terminal.
    words = ["sh", "-c", 'exec "$@" 2>log', "sh", kernel, "mem=256M", "ubd0=" + disk, "con=null", "con0=null,fd:2", "con1=fd:0,fd:1", "devfs=nomount"]
    began = time.time()
    t = Term(words)
    t.expect("login: ", seconds)
    took = time.time() - began
    t.send("root\r")
    t.expect("# ", 30)
    for line, want in job:
        # The echo of what is typed must not be taken for its output.
        t.send(line + "; echo =e''nd=\r")
        got = t.expect("=end=", 60)
        if want not in got:
            sys.exit("%s on %s: %r has no %r" % (kernel, disk, got, want))
    t.send("poweroff\r")
    if t.wait(60) != 0:
        sys.exit("%s on %s: does not power off with status 0" % (kernel, disk))
    if b"ubda" not in log.read():
        sys.exit("kernel messages are not on standard error")
    return took
