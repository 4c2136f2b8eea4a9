"""--trace prints calls with their arguments, signals and exits; to a file where one is named; wrong names are refused."""
import os, re, subprocess, sys, tempfile

SCRIPT = "cd /tmp; echo some text >f; cat f; cat nothing || (kill -9 $BASHPID) || :"
CALLS = "%file,%process,read,write,!access"
WANTED = [
    r'execve\("/usr/bin/cat", \["cat", "f"\], 0x\w+ /\* \d+ vars \*/( <unfinished \.\.\.>|\) = 0 <)',
    r'openat\(AT_FDCWD, "f", O_WRONLY\|O_CREAT\|O_TRUNC, 0666\) = 3 <0\.\d{6}>',
    r'\[\d+ cat\] openat\(AT_FDCWD, "f", O_RDONLY\) = 3 <',
    r'read\(3, "some text\\n", \d+\) = 10 <',
    r'write\(1, "some text\\n", 10\) = 10 <',
    r'openat\(AT_FDCWD, "nothing", O_RDONLY\) = -1 ENOENT \(No such file or directory\) <',
    r'wait4\(-1, ( <unfinished \.\.\.>\n(.*\n)*?.*<\.\.\. wait4 resumed>)?\[\{WIFEXITED\(s\) && WEXITSTATUS\(s\) == 1\}\], \d+, NULL\) = \d+ <',
    r'--- SIGCHLD \{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=\d+, si_uid=0, si_status=1\} ---',
    r'exit_group\(1\) = \?',
    r'\[\d+ cat\] \+\+\+ exited with 1 \+\+\+\n',
    r'\[\d+ bash\] \+\+\+ killed by SIGKILL \+\+\+\n',
]


def run(*args):
    command = [sys.argv[1], "run", *args, "--", "/bin/bash", "-c", SCRIPT]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


def check(trace):
    for wanted in WANTED:
        if not re.search(wanted, trace):
            sys.exit("no line %s in:\n%s" % (wanted, trace[-6000:]))
    for unwanted in ("access(", "mmap(", "close("):
        if re.search(r"\] " + re.escape(unwanted), trace):
            sys.exit("%s is traced" % unwanted)


got = run("--trace=" + CALLS)
if got.stdout != "some text\n":
    sys.exit("output %r" % got.stdout)
check(got.stderr)
with tempfile.TemporaryDirectory() as d:
    got = run("--trace=" + CALLS, "--trace-output", d + "/out")
    if "openat" in got.stderr:
        sys.exit("the trace is on standard error, too")
    with open(d + "/out") as f:
        check(f.read())
got = run("--trace=opnat")
if got.returncode != 125 or "did you mean openat?" not in got.stderr or got.stdout:
    sys.exit("a wrong name: %r" % got)
print("PASS")
