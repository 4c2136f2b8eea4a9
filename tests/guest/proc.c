/* /proc as programs read it: fields and shapes, not values. */
#include "t.h"
static int has(const char *p, const char *w) {
  static char b[1 << 20];
  int fd = open(p, O_RDONLY), n = 0, r;
  if (fd < 0) return -1;
  while ((r = read(fd, b + n, sizeof b - 1 - n)) > 0) n += r;
  close(fd);
  b[n] = 0;
  return !!strstr(b, w);
}
#define HAS(p, w) CK(has(p, w) == 1)
static int fields(const char *s) { int n = 0, in = 0; for (; *s; s++) { if (*s > ' ' && !in) n++; in = *s > ' '; } return n; }
static void *th(void *a) { prctl(PR_SET_NAME, "worker"); write(*(int *)a, "x", 1); pause(); return 0; }
TEST {
  t_tmpdir();
  char b[4096] = {0};
  SECTION("self");
  int n = readlink("/proc/self", b, sizeof b);
  b[n > 0 ? n : 0] = 0;
  CK(atoi(b) == getpid());
  char *st = strdup(t_read("/proc/self/stat"));
  CK(atoi(st) == getpid());
  R(fields(st));
  R(strrchr(st, ')')[2]);
  int pp, pg, ss;
  CK(sscanf(strrchr(st, ')') + 3, "%d %d %d", &pp, &pg, &ss) == 3 && pp == getppid() && pg == getpgrp() && ss == getsid(0));
  R(fields(t_read("/proc/self/statm")));
  const char *keys[] = {"Name:", "State:", "Tgid:", "Pid:", "PPid:", "Uid:", "Gid:", "FDSize:", "VmPeak:", "VmSize:", "VmRSS:", "VmData:", "VmStk:", "Threads:", "SigPnd:",
                        "SigBlk:", "SigIgn:", "SigCgt:", "CapEff:", "NoNewPrivs:", "Cpus_allowed:", "voluntary_ctxt_switches:"};
  for (int i = 0; i < 22; i++) printf("status %s %d\n", keys[i], has("/proc/self/status", keys[i]));
  signal(SIGUSR1, SIG_IGN);
  HAS("/proc/self/status", "SigIgn:\t0000000000000200");
  HAS("/proc/self/maps", "[stack]");
  HAS("/proc/self/maps", "[vdso]");
  HAS("/proc/self/maps", "[heap]");
  HAS("/proc/self/limits", "Max open files");
  HAS("/proc/self/mountinfo", " / ");
  HAS("/proc/self/mounts", "proc");
  HAS("/proc/self/smaps", "Rss:");
  HAS("/proc/self/io", "rchar:");
  R(has("/proc/self/cgroup", "/") >= 0);
  int fd = open("/proc/self/cmdline", O_RDONLY);
  n = read(fd, b, sizeof b);
  CK(n == (int)strlen(argv[0]) + 1 && !strcmp(b, argv[0]));
  setenv("ADDED", "later", 1);
  R(has("/proc/self/environ", "ADDED"));
  CK(fields(t_read("/proc/self/auxv")) > 0);
  R(open("/proc/self/mem", O_RDONLY) >= 0);
  long v = 0x1234;
  fd = open("/proc/self/mem", O_RDWR);
  long w = 0;
  R(pread(fd, &w, 8, (long)&v));
  X(w);
  w = 0x9999;
  R(pwrite(fd, &w, 8, (long)&v));
  X(v);
  R(pread(fd, &w, 8, 8));
  SECTION("comm, fd, fdinfo, task");
  fd = open("/proc/self/comm", O_WRONLY);
  R(write(fd, "renamed\n", 8));
  S(t_read("/proc/self/comm"));
  t_write("f", "0123456789");
  fd = open("f", O_RDONLY | O_CLOEXEC);
  lseek(fd, 4, SEEK_SET);
  char p[64];
  snprintf(p, sizeof p, "/proc/self/fdinfo/%d", fd);
  HAS(p, "pos:\t4\n");
  HAS(p, "flags:\t0");
  int q[2];
  pipe(q);
  pthread_t t;
  pthread_create(&t, 0, th, &q[1]);
  read(q[0], b, 1);
  int tasks = 0, worker = 0;
  DIR *d = opendir("/proc/self/task");
  for (struct dirent *e; (e = readdir(d));) if (atoi(e->d_name)) { tasks++; snprintf(p, sizeof p, "/proc/self/task/%.10s/comm", e->d_name); worker += !strcmp(t_read(p), "worker\n"); }
  R(tasks);
  R(worker);
  HAS("/proc/self/status", "Threads:\t2");
  SECTION("another process");
  pid_t c = fork();
  if (!c) { prctl(PR_SET_NAME, "kid)with (paren"); write(q[1], "x", 1); for (;;) pause(); }
  read(q[0], b, 1);
  CK(ASLEEP(c));
  snprintf(p, sizeof p, "/proc/%d/status", c);
  HAS(p, "Name:\tkid)with (paren");
  snprintf(p, sizeof p, "/proc/%d/exe", c);
  CK(readlink(p, b, sizeof b) > 0);
  kill(c, SIGKILL);
  CK(UNTIL(t_state(c) == 'Z'));
  snprintf(p, sizeof p, "/proc/%d/cmdline", c);
  R(strlen(t_read(p)));
  t_wait(c);
  R(access(p, F_OK));
  SECTION("the system");
  HAS("/proc/meminfo", "MemTotal:");
  HAS("/proc/meminfo", "MemAvailable:");
  HAS("/proc/meminfo", "SwapTotal:");
  HAS("/proc/stat", "cpu ");
  HAS("/proc/stat", "btime ");
  HAS("/proc/stat", "processes ");
  R(fields(t_read("/proc/uptime")));
  R(fields(t_read("/proc/loadavg")));
  HAS("/proc/cpuinfo", "processor\t: 0");
  HAS("/proc/cpuinfo", "flags");
  HAS("/proc/version", "Linux version");
  HAS("/proc/filesystems", "nodev\tproc");
  HAS("/proc/filesystems", "tmpfs");
  CK(atol(t_read("/proc/sys/kernel/pid_max")) >= 1024);
  S(t_read("/proc/sys/kernel/ostype"));
  CK(atol(t_read("/proc/sys/fs/file-max")) > 0);
  CK(strlen(t_read("/proc/sys/kernel/random/boot_id")) == 37);
  CK(strcmp(strdup(t_read("/proc/sys/kernel/random/uuid")), t_read("/proc/sys/kernel/random/uuid")));
  CK(atol(t_read("/proc/sys/vm/overcommit_memory")) >= 0);
  R(access("/proc/self/ns/pid", F_OK));
  R(mkdir("/proc/x", 0700));
  R(unlink("/proc/version"));
  R(open("/proc/version", O_CREAT | O_EXCL | O_RDWR, 0600));
  R(open("/proc/nonesuch", O_CREAT | O_RDWR, 0600));
}
