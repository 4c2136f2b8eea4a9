/* fork and vfork: what is copied, shared and not inherited. */
#include "t.h"
static int global = 1;
static void h(int s) { (void)s; }
TEST {
  t_tmpdir();
  int *sh = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int *pr = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), local = 5;
  pr[0] = 10, pr[1000] = 20;
  CHILDST("child", global = 2; local = 6; pr[0] = 11; sh[0] = 99; CK(pr[1000] == 20); CK(getppid() != getpid()));
  R(global);
  R(local);
  R(pr[0]);
  R(sh[0]);
  pid_t c = fork();
  if (!c) { while (!sh[1]) sched_yield(); _exit(pr[1000]); }
  pr[1000] = 7, sh[1] = 1;
  S(t_status(t_wait(c)));
  SECTION("grandchildren copy what they see");
  pr[5] = 1;
  CHILDST("1", pr[5]++; int s = CHILD(pr[5]++; _exit(pr[5])); _exit(WEXITSTATUS(s) * 10 + pr[5]));
  R(pr[5]);
  SECTION("not inherited");
  sigset_t m, pend;
  sigemptyset(&m), sigaddset(&m, SIGUSR1), sigprocmask(SIG_BLOCK, &m, 0);
  raise(SIGUSR1);
  struct itimerval it = {{0, 0}, {100, 0}};
  setitimer(ITIMER_REAL, &it, 0);
  CHILDST("child", sigpending(&pend); R(sigismember(&pend, SIGUSR1)); sigprocmask(0, 0, &m); R(sigismember(&m, SIGUSR1));
          getitimer(ITIMER_REAL, &it); R(it.it_value.tv_sec); R(alarm(0)));
  sigpending(&pend);
  R(sigismember(&pend, SIGUSR1));
  CHILDST("child cpu", struct rusage u; getrusage(RUSAGE_CHILDREN, &u); R(u.ru_maxrss));
  SECTION("inherited");
  signal(SIGUSR2, h), signal(SIGHUP, SIG_IGN), nice(1), umask(027), prctl(PR_SET_NAME, "named");
  CHILDST("child", struct sigaction a; sigaction(SIGUSR2, 0, &a); R(a.sa_handler == h); sigaction(SIGHUP, 0, &a);
          R(a.sa_handler == SIG_IGN); R(getpriority(PRIO_PROCESS, 0)); X(umask(0)); char n[16]; prctl(PR_GET_NAME, n); S(n));
  SECTION("MADV_DONTFORK, MADV_WIPEONFORK");
  char *d = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  d[0] = 1, d[4096] = 2;
  R(madvise(d, 4096, MADV_WIPEONFORK));
  R(madvise(d + 4096, 4096, MADV_DONTFORK));
  CHILDST("wiped", _exit(d[0]));
  CHILDST("gone", _exit(d[4096]));
  R(d[0] + d[4096]);
  SECTION("vfork");
  volatile int v = 1;
  c = vfork();
  if (!c) { v = 2; _exit(3); }
  R(v);
  S(t_status(t_wait(c)));
  long t = t_ms();
  c = vfork();
  if (!c) { struct timespec z = {0, 50000000}; nanosleep(&z, 0); _exit(0); }
  CK(t_ms() - t >= 49);
  t_wait(c);
  c = vfork();
  if (!c) { execl("/bin/true", "true", (char *)0); _exit(9); }
  S(t_status(t_wait(c)));
  c = vfork();
  if (!c) { execl("/nonexistent", "x", (char *)0); _exit(9); }
  S(t_status(t_wait(c)));
  c = vfork();
  if (!c) kill(getpid(), SIGKILL);
  S(t_status(t_wait(c)));
  SECTION("a deep chain");
  int depth = 0;
  while (depth < 30 && !(c = fork())) depth++;
  if (depth < 30) { int s = t_wait(c); if (depth) _exit(WEXITSTATUS(s) + 1); printf("chain %d\n", WEXITSTATUS(s)); }
  else _exit(0);
  SECTION("memory after many forks");
  for (int i = 0; i < 50; i++) {
    pr[i * 1024] = i;
    c = fork();
    if (!c) { int s = 0; for (int j = 0; j <= i; j++) s += pr[j * 1024]; _exit(s % 251); }
    int e = i * (i + 1) / 2 % 251, s = WEXITSTATUS(t_wait(c));
    if (s != e) printf("round %d: %d, not %d\n", i, s, e);
  }
  SECTION("open file offsets are shared, tables are not");
  t_write("f", "abcdef");
  int f = open("f", O_RDONLY);
  char b[4] = {0};
  CHILDST("child", read(f, b, 2); close(f));
  R(read(f, b, 2));
  S(b);
}
