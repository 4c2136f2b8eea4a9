/* Resource limits, usage and times. */
#include "t.h"
#include <sys/times.h>
static volatile int n;
static void h(int s) { (void)s; n++; }
TEST {
  t_tmpdir();
  struct rlimit r, o;
  SECTION("get, set");
  R(getrlimit(RLIMIT_NOFILE, &r));
  CK(r.rlim_cur <= r.rlim_max);
  R(getrlimit(99, &r));
  R(setrlimit(99, &r));
  R(getrlimit(RLIMIT_NOFILE, (void *)8));
  r = (struct rlimit){20, 10};
  R(setrlimit(RLIMIT_NOFILE, &r));
  R(prlimit(0, RLIMIT_CORE, NULL, &o));
  r = (struct rlimit){0, o.rlim_max};
  R(prlimit(0, RLIMIT_CORE, &r, &o));
  R(prlimit(999999, RLIMIT_CORE, NULL, &o));
  CHILDST("a lowered hard limit stays", r = (struct rlimit){50, 50}; R(setrlimit(RLIMIT_NOFILE, &r)); r = (struct rlimit){50, 60};
          if (geteuid()) R(setrlimit(RLIMIT_NOFILE, &r)); R(getrlimit(RLIMIT_NOFILE, &o)); R(o.rlim_max); CHILDST("inherited", getrlimit(RLIMIT_NOFILE, &o); R(o.rlim_cur)));
  R(sysconf(_SC_OPEN_MAX) > 0);
  SECTION("NOFILE");
  CHILDST("child", r = (struct rlimit){10, 10}; setrlimit(RLIMIT_NOFILE, &r); int k = 0; while (dup(0) >= 0) k++; printf("%d %s\n", k, t_res(-1)); R(dup2(0, 10)); R(fcntl(0, F_DUPFD, 10)));
  SECTION("FSIZE");
  int fd = open("f", O_RDWR | O_CREAT, 0644);
  CHILDST("signal", r = (struct rlimit){1000, 1000}; setrlimit(RLIMIT_FSIZE, &r); signal(SIGXFSZ, SIG_DFL); char b[2000]; R(pwrite(fd, b, 2000, 0)); R(pwrite(fd, b, 1, 1000)));
  CHILDST("errno", r = (struct rlimit){1000, 1000}; setrlimit(RLIMIT_FSIZE, &r); signal(SIGXFSZ, h); R(pwrite(fd, "x", 1, 5000)); R(n); R(ftruncate(fd, 2000)); R(n); R(ftruncate(fd, 1000)); R(fallocate(fd, 0, 0, 5000)); R(n));
  SECTION("CPU");
  CHILDST("SIGXCPU", r = (struct rlimit){1, 5}; setrlimit(RLIMIT_CPU, &r); signal(SIGXCPU, SIG_DFL); for (volatile long i = 0;; i++) {});
  CHILDST("handled, then killed", r = (struct rlimit){1, 2}; setrlimit(RLIMIT_CPU, &r); signal(SIGXCPU, h); while (!n) {} write(1, "xcpu\n", 5); for (volatile long i = 0;; i++) {});
  SECTION("NPROC");
  if (geteuid()) CHILDST("child", r = (struct rlimit){1, 1}; setrlimit(RLIMIT_NPROC, &r); R(fork()); pthread_t t; RE(pthread_create(&t, 0, (void *(*)(void *))(void *)getpid, 0)));
  SECTION("NICE, MEMLOCK");
  CHILDST("child", R(nice(5)); errno = 0; R(nice(-30)); R(getpriority(PRIO_PROCESS, 0)); R(setpriority(PRIO_PROCESS, 0, 100)); R(getpriority(PRIO_PROCESS, 0)); R(getpriority(9, 0)); R(getpriority(PRIO_PROCESS, 999999)));
  if (geteuid()) CHILDST("MEMLOCK", r = (struct rlimit){8192, 8192}; setrlimit(RLIMIT_MEMLOCK, &r); char *m = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); R(mlock(m, 8192)); R(mlock(m, 65536)));
  SECTION("rusage");
  struct rusage u, v;
  R(getrusage(RUSAGE_SELF, &u));
  clock_t c = clock();
  while (clock() - c < CLOCKS_PER_SEC / 20) {}
  getrusage(RUSAGE_SELF, &v);
  CK((v.ru_utime.tv_sec - u.ru_utime.tv_sec) * 1000000 + v.ru_utime.tv_usec - u.ru_utime.tv_usec + (v.ru_stime.tv_sec - u.ru_stime.tv_sec) * 1000000 + v.ru_stime.tv_usec - u.ru_stime.tv_usec >= 40000);
  char *m = malloc(32 << 20);
  memset(m, 1, 32 << 20);
  getrusage(RUSAGE_SELF, &v);
  CK(v.ru_maxrss >= 32 << 10);
  CK(v.ru_minflt - u.ru_minflt > 0);
  long vc = v.ru_nvcsw;
  t_sleep(5), t_sleep(5);
  getrusage(RUSAGE_SELF, &v);
  CK(v.ru_nvcsw >= vc + 2);
  R(getrusage(RUSAGE_THREAD, &v));
  R(getrusage(5, &v));
  struct tms a;
  CK(times(&a) != (clock_t)-1);
  CHILDST("burn", clock_t b = clock(); while (clock() - b < CLOCKS_PER_SEC / 10) {});
  struct tms b;
  times(&b);
  CK(b.tms_cutime + b.tms_cstime >= a.tms_cutime + a.tms_cstime + 8);
}
