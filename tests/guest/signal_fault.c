/* Faults: signal, si_code, address, trap number, and going on after them. */
#include "t.h"
#include <setjmp.h>
#include <ucontext.h>
#include <fenv.h>
static sigjmp_buf jb;
static volatile siginfo_t si;
static volatile long err, trap, cr2, rip;
static void h(int s, siginfo_t *i, void *u) {
  ucontext_t *c = u;
  *(siginfo_t *)&si = *i;
  err = c->uc_mcontext.gregs[REG_ERR], trap = c->uc_mcontext.gregs[REG_TRAPNO], cr2 = c->uc_mcontext.gregs[REG_CR2], rip = c->uc_mcontext.gregs[REG_RIP];
  siglongjmp(jb, s);
}
#define FAULT(what, addr, ...) do { int s_ = sigsetjmp(jb, 1); if (!s_) { __VA_ARGS__; printf("%s: no fault\n", what); } \
  else printf("%s: %s code %d trap %ld addr %s\n", what, t_sig(s_), si.si_code, trap, (void *)(addr) == (void *)1 ? "-" : si.si_addr == (void *)(addr) ? "right" : "WRONG"); } while (0)
static volatile char *mend;
static void fix(int s, siginfo_t *i, void *u) { (void)s; (void)u; mprotect((void *)((uintptr_t)i->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE); }
static void skip(int s, siginfo_t *i, void *u) { (void)s; (void)i; ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP] += 2; }
static volatile int traps;
static void trapped(int s, siginfo_t *i, void *u) { (void)s; (void)u; traps++; si.si_code = i->si_code; ((ucontext_t *)u)->uc_mcontext.gregs[REG_EFL] &= ~0x100; }
TEST {
  t_tmpdir();
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  static char alt[65536];
  stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
  sigaltstack(&ss, 0);
  int sg[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  for (int i = 0; i < 6; i++) sigaction(sg[i], &a, 0);
  char *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *no = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *nx = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *gone = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  nx[0] = 0xc3;
  munmap(gone, 4096);
  SECTION("SIGSEGV");
  FAULT("null", 0, *(volatile int *)0 = 1);
  FAULT("null+8", 8, *(volatile int *)8);
  FAULT("read-only", ro + 5, *(volatile char *)(ro + 5) = 1);
  X(err);
  CK(cr2 == (long)(ro + 5));
  FAULT("none", no, *(volatile char *)no);
  FAULT("unmapped", gone + 3, *(volatile char *)(gone + 3) = 1);
  X(err);
  FAULT("run data", nx, ((void (*)(void))nx)());
  X(err);
  CK(rip == (long)nx);
  FAULT("run unmapped", gone, ((void (*)(void))gone)());
  FAULT("non-canonical", 0, *(volatile char *)0x8000000000000000ul);
  FAULT("kernel address", 0xffffffff80000000ul, *(volatile char *)0xffffffff80000000ul);
  FAULT("hlt", 0, asm volatile("hlt"));
  FAULT("cli", 0, asm volatile("cli"));
  FAULT("int 0x3f", 0, asm volatile("int $0x3f"));
  FAULT("push on no stack", 1, asm volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n push %%rax\n mov %%rbx, %%rsp" : : "r"(ro) : "rbx", "memory"));
  FAULT("kill", 1, raise(SIGSEGV));
  SECTION("SIGBUS");
  t_write("f", "x");
  int fd = open("f", O_RDWR);
  char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  FAULT("inside", 1, m[100] = 1);
  FAULT("past the end", m + 4096, *(volatile char *)(m + 4096));
  FAULT("past the end, write", m + 5000, *(volatile char *)(m + 5000) = 1);
  FAULT("private, past the end", p + 4096, *(volatile char *)(p + 4096));
  SECTION("SIGFPE");
  volatile int z = 0, one = 1, mn = INT_MIN;
  FAULT("1 / 0", 1, one = one / z);
  FAULT("min / -1", 1, mn = mn / (z - 1));
  one = 1;
  feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);
  volatile double dz = 0, d1 = 1, big = 1e308;
  FAULT("sse 1.0 / 0", 1, d1 = d1 / dz);
#define UNMASK feclearexcept(FE_ALL_EXCEPT), feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW)
  d1 = 0, UNMASK;
  FAULT("sse 0 / 0", 1, d1 = d1 / dz);
  UNMASK;
  FAULT("sse overflow", 1, big = big * big);
  UNMASK;
  volatile long double lz = 0, l1 = 1;
  FAULT("x87 1 / 0", 1, l1 = l1 / lz; asm volatile("fwait"));
  fedisableexcept(FE_ALL_EXCEPT), feclearexcept(FE_ALL_EXCEPT);
  asm volatile("fnclex");
  SECTION("SIGILL, SIGTRAP");
  FAULT("ud2", 1, asm volatile("ud2"));
  CK(((unsigned char *)rip)[0] == 0x0f && si.si_addr == (void *)rip);
  FAULT("int3", 1, asm volatile("int3"));
  CK(((unsigned char *)rip)[-1] == 0xcc);
  a.sa_sigaction = trapped, sigaction(SIGTRAP, &a, 0);
  asm volatile("lea -128(%%rsp), %%rsp\n pushfq\n orl $0x100, (%%rsp)\n popfq\n nop\n nop\n lea 128(%%rsp), %%rsp" : : : "memory", "cc");
  R(traps);
  R(si.si_code);
  SECTION("repaired, skipped");
  a.sa_sigaction = fix, sigaction(SIGSEGV, &a, 0);
  mend = ro;
  mend[7] = 9;
  R(mend[7]);
  mprotect(ro, 4096, PROT_NONE);
  R(mend[7]);
  a.sa_sigaction = skip, sigaction(SIGILL, &a, 0);
  int v;
  asm volatile("mov $1, %0\n ud2\n add $4, %0" : "=&r"(v));
  R(v);
  SECTION("default, blocked, ignored");
  CHILDST("SIGSEGV", signal(SIGSEGV, SIG_DFL); *(volatile int *)0);
  CHILDST("blocked", signal(SIGSEGV, SIG_DFL); sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0); *(volatile int *)0);
  CHILDST("ignored", signal(SIGSEGV, SIG_IGN); *(volatile int *)0);
  CHILDST("blocked with a handler", a.sa_sigaction = h; sigaction(SIGSEGV, &a, 0); sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0); *(volatile int *)0);
  CHILDST("SIGFPE", signal(SIGFPE, SIG_DFL); one = one / z);
  CHILDST("SIGILL", signal(SIGILL, SIG_DFL); asm volatile("ud2"));
  CHILDST("SIGTRAP", signal(SIGTRAP, SIG_DFL); asm volatile("int3"));
  CHILDST("bad stack for the handler", a.sa_sigaction = h; a.sa_flags = SA_SIGINFO; sigaction(SIGSEGV, &a, 0); asm volatile("mov $16, %%rsp\n mov (%%rsp), %%rax" : : : "memory"));
  CHILDST("bad sigreturn", signal(SIGSEGV, SIG_DFL); asm volatile("mov $64, %%rsp\n mov $15, %%eax\n syscall" : : : "memory"));
  SECTION("system calls give EFAULT instead");
  signal(SIGSEGV, SIG_DFL);
  R(write(1, no, 1));
  R(read(fd, no, 1));
}
