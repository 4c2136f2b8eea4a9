/* uname, sysinfo, getrandom, membarrier, rseq, getcpu, unknown calls. */
#include "t.h"
#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
TEST {
  struct utsname u;
  R(uname(&u));
  S(u.sysname);
  S(u.machine);
  CK(u.release[0] >= '3' && u.nodename[0]);
  R(uname((void *)8));
  struct sysinfo s;
  R(sysinfo(&s));
  CK(s.totalram > 0 && s.freeram <= s.totalram && s.procs > 0 && s.mem_unit > 0 && s.uptime > 0);
  R(sysinfo((void *)8));
  SECTION("getrandom");
  unsigned char a[256] = {0}, b[256] = {0};
  R(getrandom(a, 256, 0));
  R(getrandom(b, 256, GRND_NONBLOCK));
  CK(memcmp(a, b, 256));
  R(getrandom(a, 1, GRND_RANDOM));
  R(getrandom(a, 0, 0));
  R(getrandom(a, 1, 0x10));
  R(getrandom((void *)8, 16, 0));
  R(getrandom(a, 1, GRND_RANDOM | GRND_INSECURE));
  int fd = open("/dev/urandom", O_RDONLY);
  R(read(fd, a, 256));
  SECTION("membarrier");
  CK(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) > 0);
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 8, 0));
  R(syscall(SYS_membarrier, 1 << 30, 0, 0));
  CHILDST("child", R(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)); R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)));
  SECTION("rseq is there, or cleanly is not");
  static struct rseq rs __attribute__((aligned(32)));
  long r = syscall(SYS_rseq, &rs, 31, 0, 0);
  CK(r == -1 && (errno == EINVAL || errno == ENOSYS));
  r = syscall(SYS_rseq, &rs, 32, 0x100, 0);
  CK(r == -1 && (errno == EINVAL || errno == ENOSYS));
  unsigned cpu, node;
  R(syscall(SYS_getcpu, &cpu, &node, 0));
  CK(cpu < (unsigned)sysconf(_SC_NPROCESSORS_CONF));
  R(syscall(SYS_getcpu, 8, 0, 0));
  SECTION("no such call");
  R(syscall(9999));
  R(syscall(-1));
  R(syscall(400));
  R(syscall(SYS_nfsservctl));
  R(syscall(SYS_uselib, "x"));
  R(syscall(SYS_create_module));
  SECTION("FS and GS");
  unsigned long fs = 0, fs2 = 0, gs = 1;
  R(syscall(SYS_arch_prctl, 0x1003, &fs));
  CK(fs == (unsigned long)pthread_self());
  R(syscall(SYS_arch_prctl, 0x1004, &gs));
  R(gs);
  static unsigned long block[8] = {0x1122334455667788};
  R(syscall(SYS_arch_prctl, 0x1001, block));
  asm("mov %%gs:0, %0" : "=r"(fs2));
  X(fs2);
  sched_yield();
  getppid();
  asm("mov %%gs:0, %0" : "=r"(fs2));
  X(fs2);
  CHILDST("child keeps GS", unsigned long g; asm("mov %%gs:0, %0" : "=r"(g)); X(g));
  R(syscall(SYS_arch_prctl, 0x1001, 1ul << 63));
  R(syscall(SYS_arch_prctl, 0x7777, 0));
  R(syscall(SYS_arch_prctl, 0x1001, 0));
  SECTION("registers over a system call");
  unsigned long rcx = 1, r11 = 1, keep = 0;
  asm volatile("mov $7, %%rdx\n mov $8, %%r8\n mov $9, %%r9\n mov $10, %%r10\n mov $11, %%r12\n mov $12, %%r15\n mov $39, %%eax\n syscall\n lea (%%rdx,%%r8), %0\n add %%r9, %0\n add %%r10, %0\n add %%r12, %0\n add %%r15, %0"
               : "=&r"(keep) : : "rax", "rcx", "r11", "rdx", "r8", "r9", "r10", "r12", "r15", "memory");
  R(keep);
  asm volatile("mov $39, %%eax\n 1: syscall\n 2: lea 2b(%%rip), %%rdx\n sub %%rdx, %%rcx\n mov %%rcx, %0\n mov %%r11, %1" : "=&r"(rcx), "=&r"(r11) : : "rax", "rcx", "r11", "rdx", "memory");
  R(rcx);
  CK(r11 & 2);
}
