/* The guest's own stub, window, signal stack and host vDSO: asked for by system calls, by copies of the kernel's, and
 * spoilt by plain writes. */
#include "h.h"
static uint64_t places[] = {STUB_BASE, STUB_BASE + 4096, STUB_BASE + 0xf000, SLOTS, SLOTS + 4096, SLOTS + 0x5000, SLOTS + STACK_OFFSET, SLOTS + 0xf000,
                            SLOTS + SLOT_LEN, VDSO_HOME, 0x7ff900000000ull, 0x7fffffffe000ull, 0x7ffffffff000ull, 0x800000000000ull, 0xffffffffff600000ull, -4096ull};
#define N (sizeof places / sizeof *places)

/* The kernel copies neither from there nor to there. */
static void copies(void) {
  char b[4096];
  int p[2];
  MUSTBE(pipe(p) == 0);
  int mem = open("/proc/self/mem", O_RDWR), null = open("/dev/zero", O_RDONLY), fd = open("/tmp/c", O_RDWR | O_CREAT, 0600);
  MUSTBE(write(fd, b, 4096) == 4096);
  for (unsigned i = 0; i < N; i++) {
    void *at = (void *)places[i];
    MUSTBE(write(p[1], at, 8) == -1 && errno == EFAULT);
    MUSTBE(read(null, at, 8) == -1 && errno == EFAULT);
    MUSTBE(pread(fd, at, 8, 0) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_getrandom, at, 8, 0) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_stat, "/", at) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_open, at, 0) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_uname, at) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_clock_gettime, 0, at) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_execve, "/bin/true", at, 0) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_futex, at, 0, 0, 0, 0, 0) == -1 && (errno == EFAULT || errno == EINVAL));
    MUSTBE(syscall(SYS_rt_sigaction, SIGUSR1, at, 0, 8) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_rt_sigprocmask, 0, 0, at, 8) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_sysinfo, at) == -1 && errno == EFAULT);
    MUSTBE(syscall(SYS_pipe, at) == -1 && errno == EFAULT);
    MUSTBE(pread(mem, b, 8, (off_t)places[i]) <= 0);
    MUSTBE(pwrite(mem, b, 8, (off_t)places[i]) <= 0);
    struct iovec local = {b, 8}, remote = {at, 8};
    pid_t who[] = {getpid(), getppid(), h_wpid, 1};
    for (int k = 0; k < 4; k++) {
      MUSTBE(process_vm_readv(who[k], &local, 1, &remote, 1, 0) == -1);
      MUSTBE(process_vm_writev(who[k], &local, 1, &remote, 1, 0) == -1);
    }
    MUSTBE(syscall(SYS_process_vm_writev, getpid(), &local, 1, at, 1, 0) == -1);
  }
  struct iovec spans = {(void *)(STUB_BASE - 4096), 8192};
  MUSTBE(readv(null, &spans, 1) <= 4096);
  close(fd), unlink("/tmp/c");
}
static void mappings(void) {
  for (unsigned i = 0; i < N; i++) {
    void *at = (void *)places[i];
    for (int fixed = 0; fixed < 2; fixed++) {
      void *m = mmap(at, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | (fixed ? MAP_FIXED : 0), -1, 0);
      MUSTBE(m == MAP_FAILED || (uint64_t)m + 4096 <= STUB_BASE);
    }
    MUSTBE(munmap(at, 4096) == -1 && errno == EINVAL);
    MUSTBE(mprotect(at, 4096, 7) == -1);
    MUSTBE(madvise(at, 4096, MADV_DONTNEED) == -1);
    MUSTBE(mremap(at, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED);
    MUSTBE(mlock(at, 4096) == -1);
    MUSTBE(msync(at, 4096, MS_SYNC) == -1);
    unsigned char v[4];
    MUSTBE(mincore(at, 4096, v) == -1);
    MUSTBE(syscall(SYS_mbind, at, 4096, 0, 0, 0, 0) == -1 || 1);
    MUSTBE((uint64_t)syscall(SYS_brk, at) < STUB_BASE);
    int id = syscall(SYS_shmget, 0, 4096, 01600);
    MUSTBE(syscall(SYS_shmat, id, at, 0) == -1);
    syscall(SYS_shmctl, id, 0, 0);
  }
  MUSTBE(munmap((void *)0, STUB_BASE + 4096) == -1 && munmap((void *)4096, -8192ull) == -1);
}
/* Odd addresses, lengths and flags around the end of the guest's part. */
static void edges(void) {
  static const int flags[] = {0, 1, 2, 3, 0x10, 0x20, 0x22, 0x32, 0x31, 0x33, 0x100022, 0x100032, 0x122, 0x2022, 0x8022, 0x40022, 0x62, 0x1000022};
  for (int d = -20; d <= 20; d++)
    for (int l = 0; l < 12; l++)
      for (unsigned f = 0; f < sizeof flags / sizeof *flags; f++) {
        static const uint64_t lens[] = {0, 1, 4095, 4096, 4097, 8192, 65536, 1ull << 32, STUB_BASE, -1ull, -4096ull, 1ull << 63};
        uint64_t at = STUB_BASE + d * 2048;
        void *m = mmap((void *)at, lens[l], 3, flags[f], -1, d % 3 ? 0 : 4097);
        if (m == MAP_FAILED) continue;
        MUSTBE((uint64_t)m + lens[l] <= STUB_BASE);
        munmap(m, lens[l]);
      }
  /* The very last page is the guest's to use. */
  char *last = mmap((void *)(STUB_BASE - 4096), 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (last != MAP_FAILED) {
    last[4095] = 1;
    MUSTBE(FAULTS((void)*(volatile int *)(last + 4094)) == 0 || 1);
    MUSTBE(getcwd(last + 4090, 6) == NULL || 1);
    munmap(last, 4096);
  }
}
/* Where the kernel is told to go or to keep something. */
static void pointers(void) {
  for (unsigned i = 0; i < N; i++) {
    uint64_t at = places[i];
    ATTACK(1000, {
      struct sigaction sa = {.sa_handler = (void (*)(int))at};
      sigaction(SIGUSR1, &sa, 0), raise(SIGUSR1);
    });
    ATTACK(1000, {
      struct { uint64_t h, f, r, m; } k = {(uint64_t)h_jump, 0x04000000, at, 0};
      syscall(SYS_rt_sigaction, SIGUSR1, &k, 0, 8), raise(SIGUSR1);
    });
    ATTACK(1000, {
      stack_t ss = {.ss_sp = (void *)at, .ss_size = 65536};
      sigaltstack(&ss, 0);
      struct sigaction sa = {.sa_handler = h_jump, .sa_flags = SA_ONSTACK};
      sigaction(SIGUSR1, &sa, 0), raise(SIGUSR1);
    });
    ATTACK(1000, syscall(SYS_set_tid_address, at));
    ATTACK(1000, syscall(SYS_set_robust_list, at, 24));
    ATTACK(1000, syscall(SYS_rseq, at, 32, 0, 0x53053053); t_sleep(5); syscall(SYS_getpid));
    ATTACK(1000, syscall(SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | CLONE_PARENT_SETTID, at, at, at, at); t_sleep(5));
    ATTACK(1000, syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, at + 0x4000, 0, 0, 0));
    ATTACK(1000, syscall(SYS_arch_prctl, 0x1001, at); syscall(SYS_arch_prctl, 0x1002, at); syscall(SYS_getpid));
    ATTACK(1000, __asm__ volatile("mov %0, %%rsp; push $1; mov $39, %%eax; syscall" :: "r"(at)));
    ATTACK(1000, __asm__ volatile("mov %0, %%rsp; 1: mov $39, %%eax; syscall; jmp 1b" :: "r"(at + 0x4000)); );
    ATTACK(1000, __asm__ volatile("jmp *%0" :: "r"(at)));
    ATTACK(1000, __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" :: "r"(at)));
  }
}
/* Every page of the stub's text as a place to jump to, byte by byte. */
static void jumps(void) {
  char *sp = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (uint64_t at = STUB_BASE; at < h_text_end; at += 1 + rnd() % 24)
    ATTACK(200, {
      alarm(1);
      for (int i = 0; i < 8192; i++) ((uint64_t *)sp)[i] = rnd() % 3 ? STUB_BASE + rnd() % 6000 : SLOTS + rnd() % 65536;
      __asm__ volatile("mov %0, %%rsp; mov %0, %%rdi; mov %0, %%rsi; mov %0, %%rdx; mov %0, %%rbx; mov %0, %%rbp; jmp *%1" :: "r"(sp + 32768), "r"(at) : "memory");
    });
}
static void plain(void) {
  for (volatile int r = 0; r < 20; r++)
    for (volatile uint64_t at = SLOTS; at < SLOTS + SLOT_LEN; at += 2048)
      ATTACK(300, {
        alarm(1);
        FAULTS(for (int i = 0; i < 256; i++) ((volatile uint64_t *)at)[i] = r == 0 ? 0 : r == 1 ? -1ull : rnd());
        syscall(SYS_getpid);
        if (fork() == 0) _exit(0);
        mmap(0, 4096, 3, 0x22, -1, 0);
        pthread_t t;
        pthread_create(&t, 0, (void *(*)(void *))getppid, 0);
      });
  MUSTBE(FAULTS(*(volatile char *)STUB_BASE = 1) == SIGSEGV);
  ATTACK(1000, h_host(SYS_munmap, VDSO_HOME, 0x10000, 0, 0, 0, 0); struct timespec t; clock_gettime(0, &t); gettimeofday((void *)&t, 0));
  ATTACK(1000, h_host(SYS_munmap, 0x7fff00000000ull, 0xfffff000, 0, 0, 0, 0); struct timespec t; clock_gettime(0, &t); if (!fork()) _exit(0));
  ATTACK(1000, h_host(SYS_close, 3, 0, 0, 0, 0, 0); open("/proc/self/exe", 0); mmap(0, 4096, 1, 2, 3, 0); if (!fork()) _exit(0));
  ATTACK(1000, h_host(SYS_munmap, 4096, STUB_BASE - 8192, 0, 0, 0, 0));
}
HOSTILE({
  h_scan();
  copies();
  mappings();
  edges();
  MUSTBE(ATTACK(1000, copies(); if (t_failed) _exit(98)) == 0);
  pointers();
  jumps();
  plain();
})
