/* Alternate signal stacks, and stack overflow caught on one. */
#include "t.h"
#include <setjmp.h>
static char alt[65536];
static volatile int on, fl, tries;
static sigjmp_buf jb;
static void h(int s) {
  (void)s;
  char here;
  stack_t o;
  sigaltstack(NULL, &o);
  on = &here >= alt && &here < alt + sizeof alt, fl = o.ss_flags;
  stack_t n = {.ss_sp = alt, .ss_size = 32768};
  tries = sigaltstack(&n, NULL) ? errno : 0;
}
static void over(int s) { (void)s; char here; on = &here >= alt && &here < alt + sizeof alt; siglongjmp(jb, 1); }
static int eat(int n) { volatile char b[4096]; b[0] = n; return n ? eat(n - 1) + b[0] : b[0]; }
static void *thr(void *a) { stack_t o; sigaltstack(NULL, &o); *(int *)a = o.ss_flags; return 0; }
TEST {
  stack_t s = {.ss_sp = alt, .ss_size = sizeof alt}, o;
  R(sigaltstack(NULL, &o));
  X(o.ss_flags);
  s.ss_size = 100;
  R(sigaltstack(&s, NULL));
  s.ss_size = sizeof alt, s.ss_flags = 0x77;
  R(sigaltstack(&s, NULL));
  R(sigaltstack((void *)8, NULL));
  s.ss_flags = 0;
  R(sigaltstack(&s, &o));
  R(sigaltstack(NULL, &o));
  X(o.ss_flags);
  CK(o.ss_sp == alt && o.ss_size == sizeof alt);
  struct sigaction a = {.sa_handler = h, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR1, &a, 0), raise(SIGUSR1);
  R(on);
  X(fl);
  S(strerrorname_np(tries));
  a.sa_flags = 0, sigaction(SIGUSR1, &a, 0), raise(SIGUSR1);
  R(on);
  X(fl);
  R(tries);
  s.ss_size = sizeof alt;
  sigaltstack(&s, 0);
  SECTION("overflow");
  struct rlimit rl = {1 << 20, RLIM_INFINITY};
  setrlimit(RLIMIT_STACK, &rl);
  a.sa_handler = over, a.sa_flags = SA_ONSTACK, sigaction(SIGSEGV, &a, 0);
  on = 0;
  if (!sigsetjmp(jb, 1)) eat(100000);
  R(on);
  on = 0;
  if (!sigsetjmp(jb, 1)) eat(100000);
  R(on);
  CHILDST("without one", s.ss_flags = SS_DISABLE; sigaltstack(&s, 0); eat(100000));
  SECTION("SS_AUTODISARM");
  s.ss_flags = 1u << 31;
  R(sigaltstack(&s, 0));
  a.sa_handler = h, sigaction(SIGUSR1, &a, 0), raise(SIGUSR1);
  R(on);
  X(fl);
  R(tries);
  sigaltstack(NULL, &o);
  X(o.ss_flags);
  SECTION("threads and children");
  s.ss_flags = 0, sigaltstack(&s, 0);
  pthread_t t;
  int f = 0;
  pthread_create(&t, 0, thr, &f), pthread_join(t, 0);
  X(f);
  CHILDST("fork keeps it", sigaltstack(NULL, &o); _exit(o.ss_flags == 0 && o.ss_sp == alt));
}
