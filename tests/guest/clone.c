/* clone and clone3: flags, threads by hand, tids, what is shared. */
#include "t.h"
#include <linux/futex.h>
#include <linux/sched.h>
static char stack[4][65536] __attribute__((aligned(16)));
static volatile int shared, tid_seen;
static int ctid, ptid;
static int fn(void *a) { shared = (long)a; tid_seen = syscall(SYS_gettid); return 7; }
static int fdfn(void *a) { close((long)a); return 0; }
static int dirfn(void *a) { (void)a; return chdir("/") ? 1 : 0; }
static int sigfn(void *a) { (void)a; signal(SIGUSR1, SIG_IGN); return 0; }
static int slow(void *a) { (void)a; t_sleep(30); return 0; }
static int thr(void *a) { (void)a; shared = getpid(); syscall(SYS_exit, 0); return 0; }
static long c3(struct clone_args *a, size_t n) {
  long r = syscall(SYS_clone3, a, n);
  if (r == 0) _exit(getppid() == 0 ? 1 : 11);
  return r;
}
TEST {
  t_tmpdir();
  int f = open("/dev/null", O_RDWR);
  SECTION("clone");
  pid_t p = clone(fn, stack[1], SIGCHLD, (void *)5);
  S(t_status(t_wait(p)));
  R(shared);
  p = clone(fn, stack[1], CLONE_VM | SIGCHLD, (void *)6);
  S(t_status(t_wait(p)));
  R(shared);
  CK(tid_seen == p);
  p = clone(fdfn, stack[1], CLONE_FILES | CLONE_VM | SIGCHLD, (void *)(long)f);
  t_wait(p);
  R(fcntl(f, F_GETFD));
  f = open("/dev/null", O_RDWR);
  p = clone(fdfn, stack[1], CLONE_VM | SIGCHLD, (void *)(long)f);
  t_wait(p);
  R(fcntl(f, F_GETFD));
  p = clone(dirfn, stack[1], CLONE_VM | CLONE_FS | SIGCHLD, 0);
  S(t_status(t_wait(p)));
  char b[256];
  S(getcwd(b, sizeof b));
  chdir(t_dir);
  p = clone(sigfn, stack[1], CLONE_VM | CLONE_SIGHAND | SIGCHLD, 0);
  t_wait(p);
  struct sigaction sa;
  sigaction(SIGUSR1, 0, &sa);
  R(sa.sa_handler == SIG_IGN);
  SECTION("exit signal other than SIGCHLD");
  int st;
  p = clone(fn, stack[1], 0, (void *)1);
  R(waitpid(p, &st, 0));
  CK(waitpid(p, &st, __WCLONE) == p);
  p = clone(fn, stack[1], SIGUSR1, (void *)1);
  CK(waitpid(p, &st, __WALL) == p);
  SECTION("tids");
  p = clone(fn, stack[1], CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, (void *)1, &ptid, NULL, &ctid);
  CK(ptid == p);
  t_wait(p);
  R(ctid);
  p = clone(fn, stack[1], CLONE_CHILD_SETTID | SIGCHLD, (void *)1, NULL, NULL, &ctid);
  t_wait(p);
  R(ctid);
  SECTION("a thread");
  ctid = 1;
  int t = clone(thr, stack[1], CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID,
                0, &ptid, NULL, &ctid);
  CK(t > 0);
  while (ctid) syscall(SYS_futex, &ctid, FUTEX_WAIT, 1, 0, 0, 0);
  CK(shared == getpid() && ptid == t);
  R(waitpid(t, &st, __WALL));
  UNTIL(syscall(SYS_tgkill, getpid(), t, 0) < 0);
  R(syscall(SYS_tgkill, getpid(), t, 0));
  R(syscall(SYS_tgkill, getpid(), getpid(), 0));
  R(syscall(SYS_tgkill, getpid(), 1, 0));
  R(syscall(SYS_tkill, -1, 0));
  SECTION("refused");
  R(clone(fn, stack[1], CLONE_SIGHAND | SIGCHLD, 0));
  R(clone(fn, stack[1], CLONE_THREAD | CLONE_VM | SIGCHLD, 0));
  R(clone(fn, stack[1], CLONE_FS | CLONE_NEWNS | SIGCHLD, 0));
  if (geteuid()) R(clone(fn, stack[1], CLONE_NEWPID | SIGCHLD, 0));
  SECTION("CLONE_PARENT");
  p = fork();
  if (!p) { clone(fn, stack[1], CLONE_PARENT | SIGCHLD, (void *)1); _exit(1); }
  int n = 0;
  while (wait(&st) > 0) n += WEXITSTATUS(st);
  R(n);
  SECTION("CLONE_VFORK");
  long t0 = t_ms();
  p = clone(slow, stack[1], CLONE_VFORK | SIGCHLD, 0);
  CK(t_ms() - t0 >= 29);
  t_wait(p);
  SECTION("clone3");
  struct clone_args a = {.exit_signal = SIGCHLD};
  R(sizeof a >= 64);
  p = c3(&a, CLONE_ARGS_SIZE_VER0);
  S(t_status(t_wait(p)));
  p = c3(&a, sizeof a);
  S(t_status(t_wait(p)));
  R(c3(&a, 63));
  R(c3(&a, 1 << 20));
  R(c3((void *)8, 64));
  a.exit_signal = 65;
  R(c3(&a, sizeof a));
  a.exit_signal = SIGCHLD, a.flags = SIGCHLD;
  R(c3(&a, sizeof a));
  a.flags = 1ull << 60;
  R(c3(&a, sizeof a));
  a.flags = 0, a.stack = 4096;
  R(c3(&a, sizeof a));
  a.stack = 0, a.stack_size = 4096;
  R(c3(&a, sizeof a));
  a.stack_size = 0, a.flags = CLONE_PIDFD;
  int pfd = -1;
  a.pidfd = (uint64_t)(uintptr_t)&pfd;
  p = c3(&a, sizeof a);
  CK(pfd >= 0 && (fcntl(pfd, F_GETFD) & FD_CLOEXEC));
  siginfo_t si;
  CK(waitid(P_PIDFD, pfd, &si, WEXITED) == 0 && si.si_pid == p && si.si_status == 11);
  a.flags = CLONE_CLEAR_SIGHAND;
  signal(SIGUSR2, (void (*)(int))(void *)fn);
  p = syscall(SYS_clone3, &a, sizeof a);
  if (!p) { sigaction(SIGUSR2, 0, &sa); struct sigaction s1; sigaction(SIGUSR1, 0, &s1); _exit((sa.sa_handler == SIG_DFL) + 2 * (s1.sa_handler == SIG_IGN)); }
  S(t_status(t_wait(p)));
  pid_t want = 12345;
  a.flags = 0, a.set_tid = (uint64_t)(uintptr_t)&want, a.set_tid_size = 1;
  if (geteuid()) R(c3(&a, sizeof a));
  a.set_tid_size = 40;
  R(c3(&a, sizeof a));
  SECTION("unshare");
  R(unshare(CLONE_FILES));
  R(unshare(CLONE_FS));
  R(unshare(0));
  R(unshare(0x40));
}
