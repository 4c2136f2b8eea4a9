"""The terminal is as it was after every way out of ruml."""
import os, pty, signal, sys, termios, time
from term import Term, command

for way, words, sig in [("exit", ["/bin/true"], None), ("raw", ["/bin/stty", "raw", "-echo"], None),
                        ("signal", ["/bin/sh", "-c", "stty raw; kill -9 $$"], None),
                        ("term", ["/bin/sh", "-c", "stty raw; echo up; sleep 100"], signal.SIGTERM),
                        ("kill", ["/bin/sh", "-c", "stty raw; echo up; sleep 100"], signal.SIGKILL)]:
    keep = os.dup(1)
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.login_tty(slave) if hasattr(os, "login_tty") else (os.setsid(), __import__("fcntl").ioctl(slave, termios.TIOCSCTTY, 0), [os.dup2(slave, i) for i in range(3)])
        os.execv(sys.argv[1], command(words))
    if sig:
        got = b""
        while b"up" not in got:
            got += os.read(master, 1000)
        os.kill(pid, sig)
    end = time.time() + 10
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.time() > end:
            os.kill(pid, 9)
            sys.exit(way + ": does not end")
        time.sleep(0.01)
    time.sleep(0.3)
    if termios.tcgetattr(slave) != before:
        sys.exit(way + ": terminal left changed")
    os.close(master), os.close(slave)
print("PASS")
