/* ptrace(2) as strace and gdb use it. */
#include "t.h"
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/user.h>

static long pt(int req, pid_t p, unsigned long addr, unsigned long data) {
  return syscall(SYS_ptrace, req, p, addr, data);
}
static struct user_regs_struct regs(pid_t p) {
  struct user_regs_struct r;
  MUST(pt(PTRACE_GETREGS, p, 0, (long)&r));
  return r;
}
/* Waits for any news of P and shows it. */
static int news(pid_t p) {
  int st = 0;
  pid_t got = waitpid(p, &st, __WALL);
  if (got < 0) { printf("wait %s\n", t_res(-1)); return -1; }
  if (WIFSTOPPED(st)) printf("stopped by %s event %d%s\n", t_sig(WSTOPSIG(st) & 0x7f), st >> 16, WSTOPSIG(st) & 0x80 ? " good" : "");
  else printf("%s\n", t_status(st));
  return st;
}
static int quiet(pid_t p) {
  int st = 0;
  waitpid(p, &st, __WALL);
  return st;
}
static volatile long word = 0x1122334455667788;
static const long text[8] = {1, 2, 3};
static volatile int handled;
static void handler(int s) { handled = s; }
static void traceme(void) { MUST(pt(PTRACE_TRACEME, 0, 0, 0)); raise(SIGSTOP); }
static __attribute__((noinline)) int deed(int a, int b) { return a * 10 + b; }

static volatile int *chld_count;
static void count_chld(int sig) { (void)sig; ++*chld_count; }
/* A traced thread is there until its tracer has heard of its end. */
static int threads(void) {
  char *n = strstr(t_read("/proc/self/status"), "Threads:");
  return n ? atoi(n + 8) : 0;
}
static void *thread(void *a) { (void)a; syscall(SYS_getppid); return NULL; }

TEST {
  if (argc > 1) { write(1, "exec'd\n", 7); _exit(7); }
  pid_t p;
  SECTION("a child that asks for it");
  p = fork();
  if (!p) { traceme(); raise(SIGUSR1); signal(SIGUSR1, handler); raise(SIGUSR1); _exit(handled == SIGUSR1 ? 5 : 6); }
  news(p);
  R(pt(PTRACE_ATTACH, p, 0, 0));
  R(pt(PTRACE_CONT, p, 0, 999));
  R(pt(PTRACE_CONT, p, 0, 0));
  news(p);
  siginfo_t si;
  R(pt(PTRACE_GETSIGINFO, p, 0, (long)&si));
  CK(si.si_signo == SIGUSR1 && si.si_code == SI_TKILL && si.si_pid == p);
  R(pt(PTRACE_CONT, p, 0, 0));
  news(p);
  R(pt(PTRACE_CONT, p, 0, SIGUSR1));
  news(p);
  R(pt(PTRACE_CONT, p, 0, 0));

  SECTION("memory and registers");
  p = fork();
  if (!p) {
    traceme();
    if (word != 0x42) _exit(1);
    if (*(volatile const long *)&text[1] != 0x77) _exit(2);
    char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    asm volatile("int3" ::"a"(none) : "memory");
    int r = deed(1, 2);
    _exit(r == 12 ? 0 : 3);
  }
  news(p);
  long v = 0;
  R(pt(PTRACE_PEEKDATA, p, (long)&word, (long)&v));
  X(v);
  R(pt(PTRACE_POKEDATA, p, (long)&word, 0x42));
  R(pt(PTRACE_POKETEXT, p, (long)&text[1], 0x77));
  R(pt(PTRACE_PEEKDATA, p, 16, (long)&v));
  R(pt(PTRACE_POKEDATA, p, 16, 0));
  R(pt(PTRACE_CONT, p, 0, 0));
  news(p);
  struct user_regs_struct r = regs(p);
  CK(r.orig_rax == (unsigned long)-1);
  R(pt(PTRACE_GETSIGINFO, p, 0, (long)&si));
  X(si.si_code);
  R(pt(PTRACE_POKEDATA, p, r.rax, 0x99));
  R(pt(PTRACE_PEEKDATA, p, r.rax, (long)&v));
  X(v);
  /* A breakpoint in its code. */
  long code = 0;
  R(pt(PTRACE_PEEKTEXT, p, (long)deed, (long)&code));
  CK(!memcmp(&code, (void *)deed, 8));
  R(pt(PTRACE_POKETEXT, p, (long)deed, (code & ~0xffL) | 0xcc));
  R(pt(PTRACE_CONT, p, 0, 0));
  news(p);
  r = regs(p);
  CK(r.rip == (unsigned long)deed + 1);
  CK(r.rdi == 1 && r.rsi == 2);
  R(pt(PTRACE_POKETEXT, p, (long)deed, code));
  r.rip--;
  R(pt(PTRACE_SETREGS, p, 0, (long)&r));
  v = 0;
  R(pt(3 /* PEEKUSER */, p, offsetof(struct user, regs.rip), (long)&v));
  CK(v == (long)deed);
  R(pt(3 /* PEEKUSER */, p, 3, (long)&v));
  R(pt(3 /* PEEKUSER */, p, sizeof(struct user), (long)&v));
  for (int i = 0; i < 3; i++) {
    R(pt(PTRACE_SINGLESTEP, p, 0, 0));
    news(p);
  }
  CK(regs(p).rip != (unsigned long)deed);
  CK(!(regs(p).eflags & 0x100));
  struct user_fpregs_struct fp;
  struct iovec iov = {&fp, sizeof fp};
  R(pt(PTRACE_GETREGSET, p, NT_PRFPREG, (long)&iov));
  R(iov.iov_len);
  X(fp.mxcsr);
  R(pt(PTRACE_SETREGSET, p, NT_PRFPREG, (long)&iov));
  char big[16384];
  iov = (struct iovec){big, sizeof big};
  R(pt(PTRACE_GETREGSET, p, NT_X86_XSTATE, (long)&iov));
  CK(iov.iov_len > 512 && iov.iov_len < sizeof big);
  R(pt(PTRACE_SETREGSET, p, NT_X86_XSTATE, (long)&iov));
  iov = (struct iovec){&r, 16};
  R(pt(PTRACE_GETREGSET, p, NT_PRSTATUS, (long)&iov));
  R(iov.iov_len);
  R(pt(PTRACE_GETREGSET, p, 12345, (long)&iov));
  R(pt(PTRACE_CONT, p, 0, 0));
  news(p);

  SECTION("system calls");
  p = fork();
  if (!p) { traceme(); syscall(SYS_getppid, 1, 2, 3); long q = syscall(1000); syscall(SYS_getppid); _exit(q == 77 ? 0 : 1); }
  quiet(p);
  R(pt(PTRACE_SETOPTIONS, p, 0, 1 << 30));
  R(pt(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD));
  for (int i = 0; i < 20; i++) {
    pt(PTRACE_SYSCALL, p, 0, 0);
    int st = quiet(p);
    if (!WIFSTOPPED(st)) { printf("%s\n", t_status(st)); break; }
    struct __ptrace_syscall_info info = {0};
    long n = pt(PTRACE_GET_SYSCALL_INFO, p, sizeof info, (long)&info);
    r = regs(p);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
      if (info.entry.nr == SYS_getppid || info.entry.nr == 1000) printf("%ld: entry nr %ld args %ld rax %ld\n", n, (long)info.entry.nr, (long)info.entry.args[0], (long)r.rax);
      /* One that isn't there becomes another; the last is left out. */
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
      if (r.orig_rax == SYS_getppid) printf("%ld: exit error %d ok %d\n", n, info.exit.is_error, info.exit.rval == getpid());
      if (r.orig_rax == 1000) {
        printf("%ld: exit error %d rval %ld\n", n, info.exit.is_error, (long)info.exit.rval);
        r.rax = 77;
        pt(PTRACE_SETREGS, p, 0, (long)&r);
      }
    } else printf("op %d\n", info.op);
  }

  SECTION("an interrupted call");
  int pipefd[2];
  MUST(pipe(pipefd));
  p = fork();
  if (!p) { traceme(); char c; _exit(read(pipefd[0], &c, 1) == 1 ? 0 : 1); }
  quiet(p);
  pt(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  pt(PTRACE_CONT, p, 0, 0);
  CK(ASLEEP(p));
  kill(p, SIGWINCH);
  news(p);
  r = regs(p);
  R((long)r.rax);
  R(r.orig_rax == SYS_read);
  pt(PTRACE_CONT, p, 0, SIGWINCH);
  CK(ASLEEP(p));
  write(pipefd[1], "x", 1);
  news(p);

  SECTION("fork, exec, exit");
  p = fork();
  if (!p) {
    traceme();
    pid_t q = fork();
    if (!q) _exit(9);
    waitpid(q, NULL, 0);
    execl("/proc/self/exe", "ptrace", "again", NULL);
  }
  quiet(p);
  pt(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT);
  pt(PTRACE_CONT, p, 0, 0);
  news(p);
  unsigned long q = 0;
  R(pt(PTRACE_GETEVENTMSG, p, 0, (long)&q));
  news(q);
  pt(PTRACE_CONT, q, 0, 0);
  news(q);
  unsigned long code9 = 0;
  pt(PTRACE_GETEVENTMSG, q, 0, (long)&code9);
  X(code9);
  pt(PTRACE_CONT, q, 0, 0);
  news(q);
  pt(PTRACE_CONT, p, 0, 0);
  int st = news(p);
  if (WIFSTOPPED(st) && WSTOPSIG(st) == SIGCHLD) { pt(PTRACE_CONT, p, 0, SIGCHLD); st = news(p); }
  pt(PTRACE_CONT, p, 0, 0);
  news(p);
  pt(PTRACE_CONT, p, 0, 0);
  news(p);

  SECTION("exec without options");
  p = fork();
  if (!p) { MUST(pt(PTRACE_TRACEME, 0, 0, 0)); execl("/proc/self/exe", "ptrace", "again", NULL); }
  news(p);
  pt(PTRACE_CONT, p, 0, 0);
  news(p);

  SECTION("threads");
  p = fork();
  if (!p) { traceme(); pthread_t t; pthread_create(&t, NULL, thread, NULL); pthread_join(t, NULL); UNTIL(threads() == 1); _exit(4); }
  quiet(p);
  pt(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACECLONE);
  pt(PTRACE_CONT, p, 0, 0);
  news(p);
  R(pt(PTRACE_GETEVENTMSG, p, 0, (long)&q));
  news(q);
  pt(PTRACE_CONT, q, 0, 0);
  pt(PTRACE_CONT, p, 0, 0);
  news(q);
  news(p);

  SECTION("seize, interrupt, listen");
  p = fork();
  if (!p) for (;;) pause();
  CK(ASLEEP(p));
  R(pt(PTRACE_SEIZE, p, 1, 0));
  R(pt(PTRACE_SEIZE, p, 0, PTRACE_O_TRACESYSGOOD));
  R(pt(PTRACE_SEIZE, p, 0, 0));
  R(pt(PTRACE_INTERRUPT, p, 0, 0));
  news(p);
  R(pt(PTRACE_LISTEN, p, 0, 0) == 0);
  R(pt(PTRACE_INTERRUPT, p, 0, 0));
  news(p);
  R(pt(PTRACE_CONT, p, 0, 0));
  kill(p, SIGSTOP);
  news(p);
  R(pt(PTRACE_CONT, p, 0, SIGSTOP));
  news(p);
  R(pt(PTRACE_LISTEN, p, 0, 0));
  kill(p, SIGCONT);
  news(p);
  R(pt(PTRACE_CONT, p, 0, 0));
  news(p);
  R(pt(PTRACE_CONT, p, 0, SIGCONT));
  CK(ASLEEP(p));
  R(pt(PTRACE_INTERRUPT, p, 0, 0));
  news(p);
  R(pt(PTRACE_DETACH, p, 0, 0));
  R(pt(PTRACE_CONT, p, 0, 0));
  kill(p, SIGTERM);
  news(p);

  SECTION("attach, waitid, detach");
  p = fork();
  if (!p) for (;;) pause();
  CK(ASLEEP(p));
  R(pt(PTRACE_ATTACH, p, 0, 0));
  memset(&si, 0, sizeof si);
  R(waitid(P_PID, p, &si, WSTOPPED | WNOWAIT));
  R(si.si_code == CLD_TRAPPED);
  S(t_sig(si.si_status));
  news(p);
  R(pt(PTRACE_GETSIGINFO, p, 0, (long)&si));
  char path[64], c;
  snprintf(path, sizeof path, "/proc/%d/status", p);
  char *tracer = strstr(t_read(path), "TracerPid:");
  CK(tracer && atoi(tracer + 10) == getpid());
  CK(t_state(p) == 't');
  snprintf(path, sizeof path, "/proc/%d/mem", p);
  int fd = MUST(open(path, O_RDWR));
  R(pwrite(fd, "\x5a", 1, (long)&text[2]));
  R(pread(fd, &c, 1, (long)&text[2]));
  X(c);
  R(pread(fd, &c, 1, 16));
  close(fd);
  R(pt(PTRACE_DETACH, p, 0, 0));
  CK(ASLEEP(p));
  kill(p, SIGKILL);
  news(p);

  SECTION("death");
  p = fork();
  if (!p) { traceme(); for (;;) pause(); }
  quiet(p);
  kill(p, SIGKILL);
  news(p);
  R(pt(PTRACE_CONT, p, 0, 0));
  int sp[2];
  MUST(pipe(sp));
  p = fork();
  if (!p) {
    pid_t k = fork();
    if (!k) { traceme(); for (;;) pause(); }
    quiet(k);
    pt(PTRACE_SETOPTIONS, k, 0, PTRACE_O_EXITKILL);
    pt(PTRACE_CONT, k, 0, 0);
    write(sp[1], &k, sizeof k);
    _exit(0);
  }
  pid_t k;
  read(sp[0], &k, sizeof k);
  t_wait(p);
  CK(UNTIL(kill(k, 0) && errno == ESRCH));

  SECTION("the tracer hears of a death first, then the parent");
  static volatile int chld;
  chld = 0;
  signal(SIGCHLD, count_chld);
  chld_count = &chld;
  for (int how = 0; how < 4; how++) {
    /* 0: the tracer waits; 1: it looks and waits; 2: it dies without; 3: the parent ignores its children. */
    int go[2], said[2];
    MUST(pipe(go)), MUST(pipe(said));
    p = fork();
    if (!p) { for (;;) pause(); }
    pid_t t = fork();
    if (!t) {
      signal(SIGCHLD, SIG_DFL);
      siginfo_t i;
      if (pt(PTRACE_SEIZE, p, 0, 0)) _exit(9);
      write(said[1], "s", 1), read(go[0], &c, 1);
      if (how == 1) { memset(&i, 0, sizeof i); waitid(P_PID, p, &i, WEXITED | WNOWAIT); write(said[1], i.si_code == CLD_KILLED ? "k" : "?", 1), read(go[0], &c, 1); }
      if (how != 2) { int st = 0; pid_t w = waitpid(p, &st, 0); write(said[1], w == p && WTERMSIG(st) == SIGKILL ? "w" : "?", 1); read(go[0], &c, 1); }
      _exit(0);
    }
    read(said[0], &c, 1);
    CK(c == 's');
    if (how == 3) signal(SIGCHLD, SIG_IGN);
    kill(p, SIGKILL);
    CK(UNTIL(t_state(p) == 'Z'));
    t_sleep(20);
    R(chld);
    memset(&si, 0, sizeof si);
    R(waitid(P_PID, p, &si, WEXITED | WNOHANG));
    R(si.si_pid);
    if (how == 1) {
      write(go[1], "g", 1), read(said[0], &c, 1);
      CK(c == 'k');
      memset(&si, 0, sizeof si);
      R(waitid(P_PID, p, &si, WEXITED | WNOHANG));
      R(si.si_pid);
    }
    write(go[1], "g", 1);
    if (how != 2) { read(said[0], &c, 1); CK(c == 'w'); }
    if (how == 3) { R(waitpid(p, 0, 0)); CK(UNTIL(kill(p, 0) && errno == ESRCH)); }
    else { int st; R(waitpid(p, &st, 0) == p); S(t_status(st)); CK(UNTIL(chld > 0)); }
    write(go[1], "g", 1);
    if (how == 3) { UNTIL(kill(t, 0)); signal(SIGCHLD, count_chld); } else t_wait(t);
    chld = 0;
    close(go[0]), close(go[1]), close(said[0]), close(said[1]);
  }
  SECTION("a tracee's parent dies first");
  MUST(pipe(sp));
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  p = fork();
  if (!p) {
    pid_t k = fork();
    if (!k) for (;;) pause();
    write(sp[1], &k, sizeof k);
    for (;;) pause();
  }
  read(sp[0], &k, sizeof k);
  R(pt(PTRACE_SEIZE, k, 0, 0));
  kill(k, SIGKILL);
  CK(UNTIL(t_state(k) == 'Z'));
  kill(p, SIGKILL);
  R(waitpid(p, 0, 0) == p);
  news(k);
  R(waitpid(k, 0, WNOHANG));
}
