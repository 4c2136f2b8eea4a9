/* timerfd: one-shot, periodic, absolute, disarming. */
#include "t.h"
#include <sys/timerfd.h>
static struct itimerspec its(long first_ms, long every_ms) {
  return (struct itimerspec){{every_ms / 1000, every_ms % 1000 * 1000000}, {first_ms / 1000, first_ms % 1000 * 1000000}};
}
TEST {
  uint64_t n = 0;
  struct itimerspec o, s;
  int t = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  R(timerfd_create(77, 0));
  R(timerfd_create(CLOCK_MONOTONIC, 1));
  R(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
  OK(timerfd_create(CLOCK_REALTIME, 0));
  OK(timerfd_create(CLOCK_BOOTTIME, 0));
  R(read(t, &n, 8));
  R(timerfd_gettime(t, &o));
  R(o.it_value.tv_sec + o.it_value.tv_nsec);
  s = its(30, 0);
  R(timerfd_settime(t, 0, &s, &o));
  R(timerfd_gettime(t, &o));
  CK(o.it_value.tv_sec == 0 && o.it_value.tv_nsec > 0 && o.it_value.tv_nsec <= 30000000);
  struct pollfd p = {t, POLLIN, 0};
  R(poll(&p, 1, 5000));
  R(read(t, &n, 4));
  R(read(t, &n, 8));
  R(n);
  R(read(t, &n, 8));
  SECTION("periodic");
  s = its(10, 10);
  R(timerfd_settime(t, 0, &s, NULL));
  t_sleep(105);
  R(read(t, &n, 8));
  CK(n >= 9 && n < 300);
  R(timerfd_gettime(t, &o));
  R(o.it_interval.tv_nsec);
  s = its(0, 0);
  R(timerfd_settime(t, 0, &s, &o));
  R(o.it_interval.tv_nsec);
  t_sleep(20);
  R(read(t, &n, 8));
  SECTION("absolute");
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  s = its(0, 0), s.it_value = now;
  R(timerfd_settime(t, TFD_TIMER_ABSTIME, &s, NULL));
  R(poll(&p, 1, 1000));
  R(read(t, &n, 8));
  R(n);
  s.it_value.tv_sec += 1000;
  R(timerfd_settime(t, TFD_TIMER_ABSTIME, &s, NULL));
  R(poll(&p, 1, 10));
  SECTION("re-arming forgets an expiry");
  s = its(1, 0);
  timerfd_settime(t, 0, &s, 0), t_sleep(20);
  s = its(100000, 0);
  timerfd_settime(t, 0, &s, 0);
  R(read(t, &n, 8));
  SECTION("errors, blocking");
  s.it_value.tv_nsec = 1000000000;
  R(timerfd_settime(t, 0, &s, NULL));
  s.it_value.tv_nsec = -1;
  R(timerfd_settime(t, 0, &s, NULL));
  s = its(1, 0);
  R(timerfd_settime(t, 0x80, &s, NULL));
  R(timerfd_settime(0, 0, &s, NULL));
  R(timerfd_settime(-1, 0, &s, NULL));
  R(timerfd_settime(t, 0, (void *)8, NULL));
  R(write(t, &n, 8));
  int b = timerfd_create(CLOCK_REALTIME, 0);
  s = its(20, 0);
  timerfd_settime(b, 0, &s, 0);
  R(read(b, &n, 8));
  R(n);
  int seek = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
  R(lseek(seek, 5, SEEK_SET));
  R(lseek(seek, -7, SEEK_END));
  R(pread(seek, &seek, 4, 0));
}
