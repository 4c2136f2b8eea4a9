/* nanosleep, alarm, interval and POSIX timers, clocks. */
#include "t.h"
#include <sys/timex.h>
static volatile int n, ov, val, code;
static void h(int s) { (void)s; n++; }
static void si(int s, siginfo_t *i, void *u) { (void)s; (void)u; n++, ov = i->si_overrun, val = i->si_int, code = i->si_code; }
static volatile int threads;
static void note(union sigval v) { threads += v.sival_int; }
static void burn(int ms) { clock_t c = clock(); while (clock() - c < ms * (CLOCKS_PER_SEC / 1000)) {} }
TEST {
  struct timespec t, r = {9, 9};
  SECTION("nanosleep");
  t = (struct timespec){0, 30000000};
  long t0 = t_ms();
  R(nanosleep(&t, &r));
  CK(t_ms() - t0 >= 29 && t_ms() - t0 < 5000);
  t.tv_nsec = 1000000000;
  R(nanosleep(&t, 0));
  t.tv_nsec = -1;
  R(nanosleep(&t, 0));
  t = (struct timespec){-1, 0};
  R(nanosleep(&t, 0));
  t = (struct timespec){0, 0};
  R(nanosleep(&t, 0));
  R(nanosleep((void *)8, 0));
  SECTION("clock_nanosleep");
  clock_gettime(CLOCK_MONOTONIC, &t);
  RE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0));
  t.tv_nsec += 30000000;
  if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
  RE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0));
  CK(t_ms() >= t.tv_sec * 1000 + t.tv_nsec / 1000000);
  RE(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, 0));
  RE(clock_nanosleep(99, 0, &t, 0));
  t = (struct timespec){0, 1000000};
  RE(clock_nanosleep(CLOCK_REALTIME, 0, &t, 0));
  RE(clock_nanosleep(CLOCK_BOOTTIME, 0, &t, 0));
  SECTION("clocks");
  int ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
               CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};
  for (int i = 0; i < 9; i++) {
    struct timespec a, b;
    int g = clock_gettime(ids[i], &a);
    for (int k = 0; k < 1000; k++) { clock_gettime(ids[i], &b); if (b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec)) { printf("backwards\n"); t_failed = 1; } a = b; }
    printf("clock %d: %d res %d\n", ids[i], g, clock_getres(ids[i], &b));
  }
  R(clock_gettime(55, &t));
  R(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8));
  if (geteuid()) R(clock_settime(CLOCK_REALTIME, &t));
  R(clock_settime(CLOCK_MONOTONIC, &t));
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a), syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b);
  long d = (b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec;
  CK(d >= 0 && d < 1000000000);
  clock_gettime(CLOCK_REALTIME, &a), syscall(SYS_clock_gettime, CLOCK_REALTIME, &b);
  d = (b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec;
  CK(d >= 0 && d < 1000000000);
  CK(labs(time(0) - a.tv_sec) <= 1);
  struct timeval tv;
  gettimeofday(&tv, 0);
  CK(labs(tv.tv_sec - a.tv_sec) <= 1 && tv.tv_usec < 1000000);
  clockid_t cid;
  R(clock_getcpuclockid(getpid(), &cid));
  R(clock_gettime(cid, &t));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a), burn(30), clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
  d = (b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec;
  CK(d >= 25000000 && d < 1000000000);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a), t_sleep(30), clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
  CK((b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec < 25000000);
  SECTION("alarm, setitimer");
  signal(SIGALRM, h);
  R(alarm(100));
  R(alarm(0));
  struct itimerval it = {{0, 0}, {0, 20000}}, o;
  R(setitimer(ITIMER_REAL, &it, &o));
  pause();
  R(n);
  getitimer(ITIMER_REAL, &o);
  R(o.it_value.tv_sec + o.it_value.tv_usec);
  it.it_interval.tv_usec = it.it_value.tv_usec = 10000, n = 0;
  setitimer(ITIMER_REAL, &it, 0);
  while (n < 5) pause();
  getitimer(ITIMER_REAL, &o);
  R(o.it_interval.tv_usec);
  memset(&it, 0, sizeof it), setitimer(ITIMER_REAL, &it, 0);
  it.it_value.tv_usec = 1000000;
  R(setitimer(ITIMER_REAL, &it, 0));
  it.it_value.tv_usec = 20000;
  R(setitimer(7, &it, 0));
  signal(SIGVTALRM, h), signal(SIGPROF, h), n = 0;
  R(setitimer(ITIMER_VIRTUAL, &it, 0));
  t0 = t_ms();
  while (!n && t_ms() - t0 < 5000) {}
  R(n);
  R(setitimer(ITIMER_PROF, &it, 0));
  t0 = t_ms();
  while (n < 2 && t_ms() - t0 < 5000) {}
  R(n);
  SECTION("timer_create");
  struct sigaction sa = {.sa_sigaction = si, .sa_flags = SA_SIGINFO};
  sigaction(SIGRTMIN, &sa, 0);
  timer_t tm, t2;
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 321};
  R(timer_create(CLOCK_MONOTONIC, &ev, &tm));
  struct itimerspec s = {{0, 0}, {0, 20000000}}, os;
  n = 0;
  R(timer_settime(tm, 0, &s, &os));
  while (!n) pause();
  R(val);
  R(code);
  R(timer_gettime(tm, &os));
  R(os.it_value.tv_nsec);
  sigset_t m, none;
  sigemptyset(&none), sigemptyset(&m), sigaddset(&m, SIGRTMIN), sigprocmask(SIG_BLOCK, &m, 0);
  s.it_interval.tv_nsec = s.it_value.tv_nsec = 5000000, n = 0;
  timer_settime(tm, 0, &s, 0), t_sleep(60);
  sigsuspend(&none);
  R(n);
  CK(ov >= 5);
  CK(timer_getoverrun(tm) >= 5);
  R(timer_delete(tm));
  R(syscall(SYS_timer_delete, 9999));
  sigprocmask(SIG_UNBLOCK, &m, 0);
  ev.sigev_notify = SIGEV_NONE;
  R(timer_create(CLOCK_REALTIME, &ev, &t2));
  s = (struct itimerspec){{0, 0}, {100, 0}};
  R(timer_settime(t2, 0, &s, 0));
  R(timer_gettime(t2, &os));
  CK(os.it_value.tv_sec == 99 || os.it_value.tv_sec == 100);
  s.it_value.tv_nsec = -1;
  R(timer_settime(t2, 0, &s, 0));
  ev.sigev_notify = 77;
  R(timer_create(CLOCK_REALTIME, &ev, &tm));
  ev.sigev_notify = SIGEV_SIGNAL, ev.sigev_signo = 99;
  R(timer_create(CLOCK_REALTIME, &ev, &tm));
  R(timer_create(77, NULL, &tm));
  ev.sigev_notify = SIGEV_THREAD, ev.sigev_value.sival_int = 5, ev.sigev_notify_function = note;
  R(timer_create(CLOCK_MONOTONIC, &ev, &tm));
  s = (struct itimerspec){{0, 0}, {0, 10000000}};
  timer_settime(tm, 0, &s, 0);
  CK(UNTIL(threads == 5));
  R(timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &tm));
  signal(SIGALRM, h), n = 0;
  s.it_value.tv_nsec = 20000000;
  R(timer_settime(tm, 0, &s, 0));
  t0 = t_ms();
  while (!n && t_ms() - t0 < 5000) {}
  R(n);
  SECTION("adjtimex reads");
  struct timex tx = {0};
  CK(adjtimex(&tx) >= 0);
}
