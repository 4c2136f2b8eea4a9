/* Real-time signals: queueing, order, values, sigwaitinfo, limits, thread against process. */
#include "t.h"
static volatile int n;
static volatile struct { int s, v, c; } got[64];
static void si(int s, siginfo_t *i, void *u) { (void)u; if (n < 64) got[n].s = s, got[n].v = i->si_int, got[n].c = i->si_code; n++; }
static void q(int s, int v) { union sigval x = {.sival_int = v}; if (sigqueue(getpid(), s, x)) printf("sigqueue: %s\n", t_res(-1)); }
static volatile pthread_t ran;
static void who(int s) { (void)s; ran = pthread_self(); n++; }
static void *waiter(void *a) {
  sigset_t m;
  sigemptyset(&m), sigaddset(&m, SIGRTMIN + 3);
  int s;
  sigwait(&m, &s);
  *(int *)a = s;
  return 0;
}
static volatile int stop;
static void *idle(void *a) { (void)a; while (!stop) usleep(1000); return 0; }
TEST {
  sigset_t m, o, p;
  struct sigaction a = {.sa_sigaction = si, .sa_flags = SA_SIGINFO};
  sigfillset(&a.sa_mask);
  for (int s = SIGRTMIN; s <= SIGRTMIN + 5; s++) sigaction(s, &a, 0);
  sigaction(SIGUSR1, &a, 0);
  sigfillset(&m), sigprocmask(SIG_BLOCK, &m, &o);
  SECTION("queued, lowest number first, then in order");
  q(SIGRTMIN + 2, 1), q(SIGRTMIN, 2), q(SIGRTMIN + 2, 3), q(SIGRTMIN, 4), q(SIGUSR1, 5), q(SIGUSR1, 6), q(SIGRTMIN + 1, 7);
  sigprocmask(SIG_SETMASK, &o, 0);
  for (int i = 0; i < n; i++) printf("  %s %d %d\n", t_sig(got[i].s), got[i].v, got[i].c);
  SECTION("kill queues too");
  n = 0, sigprocmask(SIG_BLOCK, &m, 0);
  for (int i = 0; i < 5; i++) kill(getpid(), SIGRTMIN);
  sigprocmask(SIG_SETMASK, &o, 0);
  R(n);
  SECTION("sigwaitinfo, sigtimedwait");
  sigprocmask(SIG_BLOCK, &m, 0);
  sigset_t w;
  sigemptyset(&w), sigaddset(&w, SIGRTMIN + 1), sigaddset(&w, SIGRTMIN + 4);
  siginfo_t i;
  q(SIGRTMIN + 4, 44), q(SIGRTMIN + 1, 11), q(SIGRTMIN + 2, 22);
  R(sigwaitinfo(&w, &i) - SIGRTMIN);
  R(i.si_int);
  R(sigwaitinfo(&w, &i) - SIGRTMIN);
  CK(i.si_pid == getpid());
  struct timespec t = {0, 30000000};
  long t0 = t_ms();
  R(sigtimedwait(&w, &i, &t));
  CK(t_ms() - t0 >= 29);
  t.tv_nsec = -1;
  R(sigtimedwait(&w, &i, &t));
  t = (struct timespec){5, 0};
  pid_t me = getpid(), c = fork();
  if (!c) { ASLEEP(me); union sigval v = {.sival_int = 77}; sigqueue(me, SIGRTMIN + 4, v); _exit(0); }
  R(sigtimedwait(&w, &i, &t) - SIGRTMIN);
  R(i.si_int);
  CK(i.si_pid == c);
  t_wait(c);
  sigaddset(&w, SIGCHLD), t = (struct timespec){0, 0};
  R(sigtimedwait(&w, &i, &t) == SIGCHLD);
  sigpending(&p);
  R(sigismember(&p, SIGRTMIN + 2));
  n = 0, sigprocmask(SIG_SETMASK, &o, 0);
  R(n);
  SECTION("interrupted by another signal's handler");
  sigemptyset(&w), sigaddset(&w, SIGRTMIN + 1), sigprocmask(SIG_BLOCK, &w, 0);
  c = fork();
  if (!c) { ASLEEP(me); kill(me, SIGUSR1); _exit(0); }
  R(sigwaitinfo(&w, &i));
  t_wait(c);
  SECTION("limits, errors");
  struct rlimit rl = {3, 3};
  CHILDST("RLIMIT_SIGPENDING 3", setrlimit(RLIMIT_SIGPENDING, &rl); sigprocmask(SIG_BLOCK, &m, 0); union sigval v = {.sival_int = 1};
          int k = 0; while (k < 10 && !sigqueue(getpid(), SIGRTMIN, v)) k++; S(t_res(k < 10 ? -1 : 0)); CK(k <= 3); R(kill(getpid(), SIGRTMIN)); R(kill(getpid(), SIGUSR1)));
  union sigval v = {.sival_int = 1};
  R(sigqueue(999999, SIGUSR1, v));
  R(sigqueue(getpid(), 65, v));
  R(sigqueue(getpid(), 0, v));
  memset(&i, 0, sizeof i), i.si_code = SI_USER;
  c = fork();
  if (!c) for (;;) pause();
  R(syscall(SYS_rt_sigqueueinfo, c, SIGUSR1, &i));
  i.si_code = SI_TKILL;
  R(syscall(SYS_rt_sigqueueinfo, c, SIGUSR1, &i));
  i.si_code = -7, i.si_signo = 3;
  n = 0;
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &i));
  R(got[0].c);
  R(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR1, &i));
  kill(c, SIGKILL), t_wait(c);
  SECTION("thread and process");
  pthread_t th;
  int s = 0;
  sigemptyset(&w), sigaddset(&w, SIGRTMIN + 3), pthread_sigmask(SIG_BLOCK, &w, 0);
  pthread_create(&th, 0, waiter, &s);
  kill(getpid(), SIGRTMIN + 3);
  pthread_join(th, 0);
  R(s - SIGRTMIN);
  pthread_create(&th, 0, idle, 0);
  struct sigaction b = {.sa_handler = who};
  sigaction(SIGUSR2, &b, 0);
  n = 0, pthread_kill(th, SIGUSR2);
  CK(UNTIL(n == 1) && pthread_equal(ran, th));
  sigemptyset(&w), sigaddset(&w, SIGUSR2), pthread_sigmask(SIG_BLOCK, &w, 0);
  n = 0, kill(getpid(), SIGUSR2);
  CK(UNTIL(n == 1) && pthread_equal(ran, th));
  n = 0, raise(SIGUSR2);
  t_sleep(20);
  R(n);
  pthread_sigmask(SIG_UNBLOCK, &w, 0);
  CK(n == 1 && pthread_equal(ran, pthread_self()));
  stop = 1, pthread_join(th, 0);
}
