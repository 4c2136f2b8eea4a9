/* Stops and continues: WUNTRACED, WCONTINUED, SIGCHLD codes, stop of every thread. */
#include "t.h"
static volatile int n, code, status;
static void chld(int s, siginfo_t *i, void *u) { (void)s; (void)u; n++, code = i->si_code, status = i->si_status; }
static volatile int conts;
static void cont(int s) { (void)s; conts++; }
static volatile long *ctr;
static void *spin(void *a) { for (;;) ctr[(long)a]++; return a; }
TEST {
  int st;
  ctr = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct sigaction sa = {.sa_sigaction = chld, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGCHLD, &sa, 0);
  int sigs[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
  for (int i = 0; i < 4; i++) {
    n = 0;
    pid_t p = fork();
    if (!p) { setpgid(0, 0); for (;;) pause(); }
    setpgid(p, p);
    R(waitpid(p, &st, WUNTRACED | WNOHANG));
    kill(p, sigs[i]);
    CK(waitpid(p, &st, WUNTRACED) == p);
    S(t_status(st));
    CK(UNTIL(n == 1 && code == CLD_STOPPED && status == sigs[i]));
    CK(t_state(p) == 'T');
    R(waitpid(p, &st, WUNTRACED | WNOHANG));
    kill(p, SIGCONT);
    CK(waitpid(p, &st, WCONTINUED) == p);
    S(t_status(st));
    CK(UNTIL(n == 2 && code == CLD_CONTINUED && status == SIGCONT));
    kill(p, SIGKILL);
    t_wait(p);
    CK(UNTIL(n == 3 && code == CLD_KILLED));
  }
  SECTION("stopped: other signals wait, SIGKILL does not");
  pid_t p = fork();
  if (!p) { signal(SIGUSR1, SIG_DFL); for (;;) pause(); }
  kill(p, SIGSTOP), waitpid(p, &st, WUNTRACED);
  kill(p, SIGUSR1);
  t_sleep(30);
  R(waitpid(p, &st, WNOHANG | WUNTRACED));
  kill(p, SIGCONT);
  S(t_status(t_wait(p)));
  p = fork();
  if (!p) for (;;) pause();
  kill(p, SIGSTOP), waitpid(p, &st, WUNTRACED), kill(p, SIGKILL);
  S(t_status(t_wait(p)));
  SECTION("SIGCONT clears a pending stop, and the other way");
  p = fork();
  if (!p) {
    sigset_t m, o;
    sigemptyset(&m), sigaddset(&m, SIGTSTP), sigaddset(&m, SIGCONT), sigprocmask(SIG_BLOCK, &m, &o);
    raise(SIGTSTP);
    sigpending(&m);
    int a = sigismember(&m, SIGTSTP);
    raise(SIGCONT);
    sigpending(&m);
    int b = sigismember(&m, SIGTSTP), c = sigismember(&m, SIGCONT);
    raise(SIGTSTP);
    sigpending(&m);
    _exit(a * 8 + b * 4 + c * 2 + sigismember(&m, SIGCONT));
  }
  S(t_status(t_wait(p)));
  SECTION("SIGCONT handler runs, blocked SIGCONT still continues");
  p = fork();
  if (!p) { signal(SIGCONT, cont); raise(SIGSTOP); _exit(conts); }
  waitpid(p, &st, WUNTRACED), kill(p, SIGCONT);
  S(t_status(t_wait(p)));
  p = fork();
  if (!p) { sigset_t m; sigfillset(&m); sigprocmask(SIG_BLOCK, &m, 0); raise(SIGSTOP); _exit(5); }
  waitpid(p, &st, WUNTRACED), kill(p, SIGCONT);
  S(t_status(t_wait(p)));
  SECTION("all threads stop");
  p = fork();
  if (!p) { pthread_t t; pthread_create(&t, 0, spin, (void *)1); spin((void *)0); }
  CK(UNTIL(ctr[0] && ctr[1]));
  kill(p, SIGSTOP), waitpid(p, &st, WUNTRACED);
  t_sleep(20);
  long a = ctr[0], b = ctr[1];
  t_sleep(50);
  CK(a == ctr[0] && b == ctr[1]);
  kill(p, SIGCONT);
  CK(UNTIL(a != ctr[0] && b != ctr[1]));
  kill(p, SIGKILL), t_wait(p);
  SECTION("a stopped sleep goes on");
  p = fork();
  if (!p) { long t = t_ms(); struct timespec ts = {0, 80000000}; int r = nanosleep(&ts, 0); _exit(r == 0 && t_ms() - t >= 79 ? 6 : 1); }
  ASLEEP(p);
  kill(p, SIGSTOP), waitpid(p, &st, WUNTRACED), kill(p, SIGCONT);
  S(t_status(t_wait(p)));
  SECTION("SA_NOCLDSTOP");
  sa.sa_flags |= SA_NOCLDSTOP;
  sigaction(SIGCHLD, &sa, 0);
  n = 0;
  p = fork();
  if (!p) for (;;) pause();
  kill(p, SIGSTOP), waitpid(p, &st, WUNTRACED), kill(p, SIGCONT), waitpid(p, &st, WCONTINUED);
  R(n);
  kill(p, SIGKILL), t_wait(p);
  CK(UNTIL(n == 1));
}
