"""SIGKILL of ruml leaves no process behind, whatever runs in the guest."""
import os, signal, subprocess, sys, time
from term import children, gone

script = "sleep 1000 & sh -c 'while :; do :; done' & sh -c 'setsid sleep 1001' & echo up; wait"
p = subprocess.Popen([sys.argv[1], "run", *sys.argv[2:], "--", "/bin/sh", "-c", script], stdout=subprocess.PIPE)
if p.stdout.readline() != b"up\n":
    sys.exit("does not come up")
time.sleep(0.5)
below = children(p.pid)
if not below:
    sys.exit("no stub found under ruml")
os.kill(p.pid, signal.SIGKILL)
p.wait()
left = gone(below, 1)
if left:
    sys.exit("%d of %d processes left" % (len(left), len(below)))
p = subprocess.Popen([sys.argv[1], "run", *sys.argv[2:], "--", "/bin/sh", "-c", "sleep 1000 & echo up; exit 3"], stdout=subprocess.PIPE)
p.stdout.readline()
below = children(p.pid)
if p.wait(10) != 3:
    sys.exit("exit status %d" % p.returncode)
if gone(below, 1):
    sys.exit("processes left after the end")
print("PASS")
