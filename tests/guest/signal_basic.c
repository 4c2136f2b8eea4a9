/* Handlers, masks, flags, pending, sigsuspend, siginfo of kill. */
#include "t.h"
#include <ucontext.h>
static volatile int n, last, depth, maxdepth;
static volatile siginfo_t info;
static sigset_t inside;
static void h(int s) { n++, last = s; }
static void nest(int s) {
  n++;
  if (++depth > maxdepth) maxdepth = depth;
  sigprocmask(0, 0, &inside);
  if (n < 3) raise(s);
  depth--;
}
static void si(int s, siginfo_t *i, void *u) { (void)u; n++, last = s, *(siginfo_t *)&info = *i; }
static void set(int s, void (*f)(int), int fl) {
  struct sigaction a = {.sa_handler = f, .sa_flags = fl};
  sigaction(s, &a, 0);
}
static void rt(int s, siginfo_t *i, void *u) {
  ucontext_t *c = u;
  (void)s, (void)i;
  sigaddset(&c->uc_sigmask, SIGUSR2);
  c->uc_mcontext.gregs[REG_RBX] = 0x1234567;
}
TEST {
  sigset_t m, o, p;
  struct sigaction a;
  SECTION("sigaction");
  R(sigaction(SIGKILL, &(struct sigaction){.sa_handler = h}, 0));
  R(sigaction(SIGSTOP, &(struct sigaction){.sa_handler = SIG_IGN}, 0));
  R(sigaction(SIGKILL, 0, &a));
  R(sigaction(0, 0, &a));
  R(sigaction(65, 0, &a));
  R(syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 4));
  R(syscall(SYS_rt_sigaction, SIGUSR1, 8, 0, 8));
  set(SIGUSR1, h, SA_RESTART);
  sigaction(SIGUSR1, 0, &a);
  CK(a.sa_handler == h);
  X(a.sa_flags & ~0x04000000);
  R(raise(SIGUSR1));
  R(n);
  S(t_sig(last));
  SECTION("masks");
  sigemptyset(&m), sigaddset(&m, SIGUSR1), sigaddset(&m, SIGKILL), sigaddset(&m, SIGSTOP);
  R(sigprocmask(SIG_BLOCK, &m, &o));
  sigprocmask(0, 0, &o);
  R(sigismember(&o, SIGUSR1) * 4 + sigismember(&o, SIGKILL) * 2 + sigismember(&o, SIGSTOP));
  R(syscall(SYS_rt_sigprocmask, 9, &m, 0, 8));
  R(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &m, 0, 4));
  R(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, 0, 8));
  n = 0;
  raise(SIGUSR1), raise(SIGUSR1);
  sigpending(&p);
  R(sigismember(&p, SIGUSR1));
  R(n);
  sigprocmask(SIG_UNBLOCK, &m, 0);
  R(n);
  SECTION("ignoring drops what is pending");
  sigprocmask(SIG_BLOCK, &m, 0);
  raise(SIGUSR1);
  set(SIGUSR1, SIG_IGN, 0);
  sigpending(&p);
  R(sigismember(&p, SIGUSR1));
  set(SIGUSR1, h, 0);
  raise(SIGUSR1);
  set(SIGUSR1, SIG_DFL, 0);
  sigpending(&p);
  R(sigismember(&p, SIGUSR1));
  set(SIGUSR1, SIG_IGN, 0);
  sigprocmask(SIG_UNBLOCK, &m, 0);
  SECTION("while the handler runs");
  n = 0, set(SIGUSR1, nest, 0), raise(SIGUSR1);
  R(n);
  R(maxdepth);
  R(sigismember(&inside, SIGUSR1));
  n = 0, maxdepth = 0, set(SIGUSR1, nest, SA_NODEFER), raise(SIGUSR1);
  R(n);
  R(maxdepth);
  R(sigismember(&inside, SIGUSR1));
  memset(&a, 0, sizeof a), a.sa_handler = nest, sigaddset(&a.sa_mask, SIGUSR2), sigaddset(&a.sa_mask, SIGKILL);
  n = 5, sigaction(SIGUSR1, &a, 0), raise(SIGUSR1);
  R(sigismember(&inside, SIGUSR2) * 2 + sigismember(&inside, SIGKILL));
  sigprocmask(0, 0, &o);
  R(sigismember(&o, SIGUSR1) + sigismember(&o, SIGUSR2));
  SECTION("SA_RESETHAND");
  n = 0, set(SIGUSR1, h, SA_RESETHAND), raise(SIGUSR1);
  sigaction(SIGUSR1, 0, &a);
  CK(a.sa_handler == SIG_DFL && n == 1);
  CHILDST("twice", set(SIGUSR1, h, SA_RESETHAND); raise(SIGUSR1); raise(SIGUSR1));
  SECTION("sigsuspend");
  set(SIGUSR1, h, 0), set(SIGUSR2, h, 0);
  sigemptyset(&m), sigaddset(&m, SIGUSR1), sigprocmask(SIG_BLOCK, &m, 0);
  sigemptyset(&o), n = 0;
  raise(SIGUSR1);
  R(sigsuspend(&o));
  R(n);
  sigprocmask(0, 0, &p);
  R(sigismember(&p, SIGUSR1));
  sigaddset(&o, SIGUSR1);
  pid_t me = getpid(), c = fork();
  if (!c) { ASLEEP(me); kill(me, SIGUSR1); t_sleep(20); kill(me, SIGUSR2); _exit(0); }
  R(sigsuspend(&o));
  S(t_sig(last));
  t_wait(c);
  sigpending(&p);
  R(sigismember(&p, SIGUSR1));
  sigprocmask(SIG_UNBLOCK, &m, 0);
  S(t_sig(last));
  SECTION("siginfo");
  memset(&a, 0, sizeof a), a.sa_sigaction = si, a.sa_flags = SA_SIGINFO, sigaction(SIGUSR1, &a, 0);
  kill(getpid(), SIGUSR1);
  R(info.si_code);
  CK(info.si_pid == getpid() && info.si_uid == getuid());
  raise(SIGUSR1);
  R(info.si_code);
  syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
  R(info.si_code);
  c = fork();
  if (!c) { kill(getppid(), SIGUSR1); _exit(0); }
  t_wait(c);
  CK(info.si_pid == c);
  SECTION("the frame may be changed");
  a.sa_sigaction = rt, sigaction(SIGUSR1, &a, 0);
  long rbx = 0;
  asm volatile("mov $0x7777777, %%rbx\n mov $39, %%eax\n syscall\n mov %%eax, %%edi\n mov $10, %%esi\n mov $62, %%eax\n syscall\n mov %%rbx, %0"
               : "=r"(rbx) : : "rax", "rbx", "rcx", "r11", "rdi", "rsi", "memory");
  X(rbx);
  sigprocmask(0, 0, &o);
  R(sigismember(&o, SIGUSR2));
  sigemptyset(&o), sigprocmask(SIG_SETMASK, &o, 0);
  SECTION("order: lowest first");
  set(SIGUSR1, h, 0), set(SIGUSR2, h, 0), set(SIGHUP, h, 0);
  sigfillset(&m), sigprocmask(SIG_BLOCK, &m, &o);
  raise(SIGUSR2), raise(SIGUSR1), raise(SIGHUP);
  struct timespec z = {0, 0};
  siginfo_t i;
  for (int k = 0; k < 4; k++) { int s = sigtimedwait(&m, &i, &z); printf("  %s\n", s < 0 ? t_res(-1) : t_sig(s)); }
  sigprocmask(SIG_SETMASK, &o, 0);
  SECTION("default actions");
  CHILDST("SIGUSR1", signal(SIGUSR1, SIG_DFL); raise(SIGUSR1));
  CHILDST("blocked, then unblocked", signal(SIGUSR1, SIG_DFL); sigfillset(&m); sigprocmask(SIG_BLOCK, &m, 0); raise(SIGUSR1); write(1, "alive\n", 6);
          sigprocmask(SIG_UNBLOCK, &m, 0));
  CHILDST("ignored", signal(SIGUSR1, SIG_IGN); raise(SIGUSR1));
  CHILDST("SIGKILL blocked", sigfillset(&m); sigprocmask(SIG_BLOCK, &m, 0); kill(getpid(), SIGKILL); pause());
  SECTION("red zone, flags and registers survive");
  set(SIGALRM, h, SA_RESTART);
  struct itimerval it = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &it, 0);
  n = 0;
  long bad = 0, loops = 0;
  while (n < 100) {
    long r1, r2;
    asm volatile("movq $0x5a5a, -8(%%rsp)\n movq $0x1111, -128(%%rsp)\n mov $0x42, %%r8\n mov $200000, %%ecx\n 1: stc\n jnc 2f\n dec %%ecx\n jnz 1b\n"
                 "movq -8(%%rsp), %0\n addq -128(%%rsp), %0\n mov %%r8, %1\n jmp 3f\n 2: xor %0, %0\n xor %1, %1\n 3:"
                 : "=&r"(r1), "=&r"(r2) : : "rcx", "r8", "memory", "cc");
    bad += r1 != 0x5a5a + 0x1111 || r2 != 0x42, loops++;
  }
  memset(&it, 0, sizeof it), setitimer(ITIMER_REAL, &it, 0);
  R(bad);
}
