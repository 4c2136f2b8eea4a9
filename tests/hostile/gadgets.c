/* Jumps to every `syscall` instruction of the stub with hostile registers.
 *
 * What the stub's filter does not let through traps and is the guest's own call, answered by the guest's kernel. So what
 * is looked for is an answer that only the host could have given. */
#include "h.h"
#define PAGE 0x500000000ull

/* Calls whose answer tells the guest's kernel from the host's. */
static void identity(void) {
  char a[512], b[512];
  struct stat sa, sb;
  MUSTBE(h_host(SYS_getpid, 0, 0, 0, 0, 0, 0) == getpid());
  MUSTBE(h_host(SYS_gettid, 0, 0, 0, 0, 0, 0) == gettid());
  MUSTBE(h_host(SYS_getuid, 0, 0, 0, 0, 0, 0) == getuid());
  memset(a, 0, 512), memset(b, 0, 512);
  MUSTBE(h_host(SYS_uname, (uint64_t)a, 0, 0, 0, 0, 0) == 0 && syscall(SYS_uname, b) == 0 && !memcmp(a, b, 390));
  MUSTBE(h_host(SYS_stat, (uint64_t)"/", (uint64_t)&sa, 0, 0, 0, 0) == 0 && !stat("/", &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
  MUSTBE(h_host(SYS_getpgid, 0, 0, 0, 0, 0, 0) == getpgid(0));
  MUSTBE(h_host(SYS_getsid, 0, 0, 0, 0, 0, 0) == getsid(0));
  MUSTBE(h_host(SYS_getpriority, 0, 0, 0, 0, 0, 0) == 20);
  long n = h_host(SYS_getcwd, (uint64_t)a, 512, 0, 0, 0, 0);
  MUSTBE(n > 0 && getcwd(b, 512) && !strcmp(a, b));
  /* Another process's clock, which the host would know: its pids are not the guest's. */
  for (int pid = 2; pid < 70000; pid = pid < 400 ? pid + 1 : pid + 97) {
    struct timespec t;
    long r = h_host(SYS_clock_gettime, (uint64_t)(uint32_t)(~pid << 3 | 2), (uint64_t)&t, 0, 0, 0, 0);
    if (r == 0 && kill(pid, 0)) { h_failed("the clock of a process that is not the guest's", pid); break; }
  }
}

/* Descriptors made or used by a call from the text are the guest's. */
static int guests_fd(long fd) {
  char p[64], l[256];
  snprintf(p, 64, "/proc/self/fd/%ld", fd);
  int ok = fd >= 0 && readlink(p, l, 256) > 0;
  if (fd >= 0) close(fd);
  return ok;
}
static void descriptors(void) {
  uint64_t page = (uint64_t)mmap((void *)PAGE, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  const char *dir = getenv("CANARY");
  char p[256];
  snprintf(p, 256, "%s/file", dir ? dir : "/tmp");
  MUSTBE(guests_fd(h_host(SYS_open, (uint64_t)p, O_RDWR | O_CREAT | O_TRUNC, 0666, 0, 0, 0)));
  MUSTBE(guests_fd(h_host(SYS_openat, AT_FDCWD, (uint64_t)p, O_RDWR | O_TRUNC, 0666, 0, 0)));
  struct { uint64_t flags, mode, resolve; } how = {O_RDWR | O_TRUNC, 0, 0};
  MUSTBE(guests_fd(h_host(SYS_openat2, AT_FDCWD, (uint64_t)p, (uint64_t)&how, sizeof how, 0, 0)));
  MUSTBE(guests_fd(h_host(SYS_memfd_create, (uint64_t)"x", 0, 0, 0, 0, 0)));
  MUSTBE(guests_fd(h_host(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0, 0)));
  MUSTBE(guests_fd(h_host(SYS_eventfd2, 0, 0, 0, 0, 0, 0)));
  MUSTBE(guests_fd(h_host(SYS_epoll_create1, 0, 0, 0, 0, 0, 0)));
  snprintf(p, 256, "%s/new", dir ? dir : "/tmp");
  h_host(SYS_unlink, (uint64_t)p, 0, 0, 0, 0, 0);
  h_host(SYS_mkdir, (uint64_t)p, 0777, 0, 0, 0, 0);
  h_host(SYS_rmdir, (uint64_t)p, 0, 0, 0, 0, 0);
  h_host(SYS_creat, (uint64_t)p, 0777, 0, 0, 0, 0);
  /* No descriptor of the host's can be mapped. */
  for (uint64_t fd = 0; fd < 1100; fd++)
    for (int prot = 0; prot < 8; prot += 1 + (fd > 64) * 6)
      for (int shared = 1; shared <= 2; shared++) {
        long r = h_host(SYS_mmap, page + 8192, 4096, prot, shared | MAP_FIXED, fd, 0);
        if (r >= 0 || r < -4095) { h_failed("mmap of a descriptor of the host", fd); return; }
      }
  /* Shared memory that nobody would count. */
  long r = h_host(SYS_mmap, page + 8192, 4096, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  MUSTBE(r < 0 || r == (long)page + 8192);
}

/* A clone3 with an empty structure is a fork. The guest's kernel may make it; the child must then be the guest's. */
static void clone3_is_guests(void) {
  memset((void *)PAGE, 0, 88);
  pid_t me = getpid();
  long r = h_host(SYS_clone3, PAGE, 88, 0, 0, 0, 0);
  if (getpid() != me) _exit(r == 0 ? 0 : 1);
  int st = -1;
  MUSTBE(r < 0 || (waitpid(r, &st, __WALL) == r && st == 0));
}

/* Never a success. */
static void refused(void) {
  static const struct { long nr; uint64_t a[6]; } no[] = {
    {SYS_io_uring_setup, {8, PAGE, 0, 0, 0, 0}}, {SYS_bpf, {5, PAGE, 120, 0, 0, 0}}, {SYS_userfaultfd, {0, 0, 0, 0, 0, 0}}, {SYS_perf_event_open, {PAGE, 0, -1, -1, 0, 0}},
    {SYS_kexec_load, {0, 0, 0, 0, 0, 0}}, {SYS_init_module, {PAGE, 100, PAGE, 0, 0, 0}}, {SYS_seccomp, {2, 0, 0xffffffff, 0, 0, 0}},
    {SYS_ptrace, {16, 1, 0, 0, 0, 0}}, {SYS_ptrace, {0x4206, 1, 0, 0, 0, 0}}, {SYS_mmap, {STUB_BASE, 4096, 7, 0x32, -1, 0}},
    {SYS_mmap, {STUB_BASE - 4096, 8192, 7, 0x32, -1, 0}}, {SYS_mmap, {SLOTS + 0x5000, 4096, 7, 0x32, -1, 0}}, {SYS_mmap, {VDSO_HOME, 4096, 7, 0x32, -1, 0}},
    {SYS_munmap, {STUB_BASE, 4096, 0, 0, 0, 0}}, {SYS_munmap, {SLOTS, 4096, 0, 0, 0, 0}}, {SYS_munmap, {0, STUB_BASE + 4096, 0, 0, 0, 0}}, {SYS_munmap, {PAGE, -4096ull, 0, 0, 0, 0}},
    {SYS_mprotect, {STUB_BASE, 4096, 7, 0, 0, 0}}, {SYS_mprotect, {SLOTS, 4096, 7, 0, 0, 0}}, {SYS_mprotect, {SLOTS + STACK_OFFSET, 4096, 5, 0, 0, 0}},
    {SYS_mremap, {SLOTS, 4096, 8192, 1, 0, 0}}, {SYS_mremap, {STUB_BASE, 4096, 4096, 3, PAGE, 0}}, {SYS_mremap, {PAGE, 4096, 4096, 3, STUB_BASE, 0}},
    {SYS_mremap, {SLOTS, 0, 4096, 3, PAGE, 0}}, {SYS_madvise, {SLOTS, 0x5000, 11, 0, 0, 0}}, {SYS_madvise, {PAGE, 4096, 100, 0, 0, 0}},
    {SYS_remap_file_pages, {SLOTS, 4096, 0, 1, 0, 0}}, {462 /* mseal */, {STUB_BASE, 4096, 0, 0, 0, 0}}, {SYS_process_vm_writev, {1, PAGE, 1, PAGE, 1, 0}},
    {SYS_pkey_mprotect, {STUB_BASE, 4096, 7, -1, 0, 0}}, {SYS_arch_prctl, {0x1002, STUB_BASE << 8, 0, 0, 0, 0}},
    {SYS_arch_prctl, {0x5001, 0, 0, 0, 0, 0}}, {SYS_modify_ldt, {0, 0, 0, 0, 0, 0}}, {SYS_iopl, {3, 0, 0, 0, 0, 0}}, {SYS_ioperm, {0, 65535, 1, 0, 0, 0}},
    {SYS_prctl, {PR_SET_MM, PR_SET_MM_START_BRK, STUB_BASE, 0, 0, 0}}, {SYS_prctl, {PR_SET_PDEATHSIG, 65, 0, 0, 0, 0}},
    {SYS_rt_sigaction, {65, PAGE, 0, 8, 0, 0}}, {SYS_futex, {SLOTS, 9, 0, 0, 0, 0}},
  };
  mmap((void *)PAGE, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  clone3_is_guests();
  for (unsigned i = 0; i < sizeof no / sizeof *no; i++) {
    const uint64_t *a = no[i].a;
    long r = h_host(no[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (r >= 0 || r < -4095) { printf("NO: call %ld (%#lx, %#lx, …) from the stub's text answered %ld\n", no[i].nr, a[0], a[1], r); t_failed = 1; }
  }
}

/* Every call from every place: whatever comes of it ends this process at most. */
static void every(uint64_t at) {
  uint64_t r[6];
  for (int nr = 0; nr < 470; nr++) {
    if (nr == SYS_reboot || nr == SYS_kill || nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_pause) continue;
    int st = ATTACK(150, {
      alarm(1);
      uint64_t sp = PAGE + 32768;
      mmap((void *)PAGE, 65536, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      for (int i = 0; i < 6; i++) {
        static const uint64_t odd[] = {0, 1, 3, 17, 0x8011, -1ull, PAGE, PAGE + 4096, STUB_BASE, SLOTS, SLOTS + 0x8000, 4096, 0x32, 0x50f00};
        r[i] = odd[rnd() % (sizeof odd / sizeof *odd)];
      }
      for (int i = 0; i < 4096; i++) ((uint64_t *)sp)[i] = rnd() % 2 ? PAGE : STUB_BASE + rnd() % (h_text_end - STUB_BASE);
      __asm__ volatile("mov %0, %%rsp; mov %2, %%rdi; mov %3, %%rsi; mov %4, %%rdx; mov %5, %%r10; mov %6, %%r8; jmp *%%rcx"
        :: "r"(sp), "a"((long)nr), "m"(r[0]), "m"(r[1]), "m"(r[2]), "m"(r[3]), "m"(r[4]), "c"(at) : "memory");
    });
    (void)st;
  }
}

HOSTILE({
  h_scan();
  MUSTBE(h_good && h_ngadgets > 5);
  identity();
  MUSTBE(ATTACK(5000, refused(); if (t_failed) _exit(98)) == 0);
  MUSTBE(ATTACK(5000, descriptors(); if (t_failed) _exit(98)) == 0);
  long stop = t_ms() + 25000;
  h_seed += t_ms();
  for (int i = 0; i < h_ngadgets && t_ms() < stop; i++) every(h_gadgets[rnd() % h_ngadgets]);
})
