"""A program under a pseudo-terminal, driven by what it prints."""
import fcntl, os, pty, select, signal, struct, sys, termios, time


class Term:
    def __init__(self, argv, rows=24, cols=80, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "PS1": "$ ", "HISTFILE": ""}, **(env or {}))
            os.execvp(argv[0], argv)
        self.buf = b""
        self.size(rows, cols)

    def size(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def send(self, text):
        os.write(self.fd, text if isinstance(text, bytes) else text.encode())

    def expect(self, want, seconds=15):
        """Waits until `want` appears after what was matched before, and returns what came before it."""
        want = want.encode()
        end = time.time() + seconds
        while want not in self.buf:
            left = end - time.time()
            if left <= 0:
                sys.exit("waited for %r, have %r" % (want, self.buf[-2000:]))
            if not select.select([self.fd], [], [], min(left, 0.5))[0]:
                continue
            try:
                got = os.read(self.fd, 65536)
            except OSError:
                got = b""
            if not got:
                sys.exit("ended before %r, have %r" % (want, self.buf[-2000:]))
            self.buf += got
        before, self.buf = self.buf.split(want, 1)
        return before.decode(errors="replace")

    def wait(self, seconds=10):
        """The exit status; a program that does not end is killed, and the test fails."""
        end = time.time() + seconds
        while time.time() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.buf += os.read(self.fd, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        sys.exit("does not end; have %r" % self.buf[-2000:])


def command(words):
    """The command under test: natively the words themselves, in a guest behind `ruml run --tty`."""
    ruml = sys.argv[1:]
    # The prompt is the same for guest root, and the guest gets nothing else of the host's environment that matters here.
    env = ["--env", "PS1=$ ", "--env", "HISTFILE=", "--env", "EXINIT="]
    return [ruml[0], "run", "--tty", *env, *ruml[1:], "--", *words] if ruml else list(words)


def children(pid):
    """Every descendant of a process."""
    kids, found, todo = {}, [], [pid]
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % p) as f:
                kids.setdefault(int(f.read().rsplit(")", 1)[1].split()[1]), []).append(int(p))
        except OSError:
            pass
    while todo:
        for c in kids.get(todo.pop(), []):
            found.append(c)
            todo.append(c)
    return found


def gone(pids, seconds=3):
    """Waits for processes to be gone (zombies count as gone); returns those which remain."""
    end = time.time() + seconds
    while True:
        left = []
        for p in pids:
            try:
                with open("/proc/%d/stat" % p) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] not in "ZX":
                        left.append(p)
            except OSError:
                pass
        if not left or time.time() > end:
            return left
        time.sleep(0.02)
