/* futex: wait, wake, requeue, bitset, timeouts, shared, robust lists, PI. */
#include "t.h"
#include <linux/futex.h>
static long fx(int *u, int op, int v, void *t, int *u2, int v3) { return syscall(SYS_futex, u, op, v, t, u2, v3); }
#define ONE (void *)1l
static int w1, w2, woken;
static void *waiter(void *a) { fx(a, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0); __sync_fetch_and_add(&woken, 1); return 0; }
static void *bits(void *a) { fx(&w1, FUTEX_WAIT_BITSET_PRIVATE, 0, 0, 0, (long)a); __sync_fetch_and_add(&woken, (long)a); return 0; }
static int nwait(void) { int k = 0; DIR *d = opendir("/proc/self/task"); for (struct dirent *e; (e = readdir(d));) if (atoi(e->d_name) > 0) k += t_state(atoi(e->d_name)) == 'S'; closedir(d); return k; }
static pthread_mutex_t *rm;
static void *piw(void *a) { (void)a; long r = fx(&w2, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0); if (!r && w2 != 0 && (w2 & FUTEX_TID_MASK) == syscall(SYS_gettid)) woken = 77; fx(&w2, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0); return 0; }
static int cv, pl, got;
static void *rqw(void *a) {
  (void)a;
  long r = fx(&cv, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, 0, &pl, 0);
  if (r || (pl & FUTEX_TID_MASK) != syscall(SYS_gettid)) printf("  a waiter without its lock: %s\n", t_res(r));
  __sync_fetch_and_add(&got, 1);
  fx(&pl, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0);
  return 0;
}
static int pa, pb;
static void *locks_a_then_b(void *a) {
  (void)a;
  fx(&pa, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0), woken = 1;
  fx(&pb, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0);
  fx(&pb, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0), fx(&pa, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0);
  return 0;
}
TEST {
  struct timespec t = {0, 30000000};
  pthread_t th[8];
  SECTION("wait");
  R(fx(&w1, FUTEX_WAIT, 1, 0, 0, 0));
  long t0 = t_ms();
  R(fx(&w1, FUTEX_WAIT, 0, &t, 0, 0));
  CK(t_ms() - t0 >= 29);
  t.tv_nsec = -1;
  R(fx(&w1, FUTEX_WAIT, 0, &t, 0, 0));
  R(fx((int *)1, FUTEX_WAIT, 0, 0, 0, 0));
  R(fx((int *)8, FUTEX_WAIT, 0, 0, 0, 0));
  R(fx((int *)8, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0));
  R(fx(&w1, 99, 0, 0, 0, 0));
  R(fx(&w1, FUTEX_WAKE, 1, 0, 0, 0));
  R(fx((int *)1, FUTEX_WAKE, 1, 0, 0, 0));
  R(fx(&w1, FUTEX_WAIT_BITSET, 0, 0, 0, 0));
  R(fx(&w1, FUTEX_WAKE_BITSET, 1, 0, 0, 0));
  clock_gettime(CLOCK_MONOTONIC, &t);
  R(fx(&w1, FUTEX_WAIT_BITSET, 0, &t, 0, -1));
  clock_gettime(CLOCK_REALTIME, &t);
  R(fx(&w1, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, 0, -1));
  R(fx(&w1, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, &t, 0, -1));
  SECTION("wake");
  for (int i = 0; i < 4; i++) pthread_create(&th[i], 0, waiter, &w1);
  CK(UNTIL(nwait() >= 4));
  t_sleep(20);
  R(fx(&w1, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
  CK(UNTIL(woken == 1));
  R(fx(&w1, FUTEX_WAKE_PRIVATE, 2, 0, 0, 0));
  CK(UNTIL(woken == 3));
  R(fx(&w1, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0));
  for (int i = 0; i < 4; i++) pthread_join(th[i], 0);
  SECTION("requeue");
  woken = 0;
  for (int i = 0; i < 4; i++) pthread_create(&th[i], 0, waiter, &w1);
  CK(UNTIL(nwait() >= 4));
  t_sleep(20);
  R(fx(&w1, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &w2, 5));
  R(fx(&w1, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &w2, 0));
  CK(UNTIL(woken == 1));
  R(fx(&w2, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0));
  R(fx(&w1, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0));
  for (int i = 0; i < 4; i++) pthread_join(th[i], 0);
  R(fx(&w1, FUTEX_CMP_REQUEUE_PRIVATE, -1, (void *)2, &w2, 0));
  SECTION("bitset");
  woken = 0;
  for (long i = 0; i < 3; i++) pthread_create(&th[i], 0, bits, (void *)(1l << i));
  CK(UNTIL(nwait() >= 3));
  t_sleep(20);
  R(fx(&w1, FUTEX_WAKE_BITSET_PRIVATE, 10, 0, 0, 2));
  CK(UNTIL(woken == 2));
  R(fx(&w1, FUTEX_WAKE_BITSET_PRIVATE, 10, 0, 0, 5));
  for (int i = 0; i < 3; i++) pthread_join(th[i], 0);
  SECTION("wake_op");
  w1 = 0, w2 = 5;
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, ONE, &w2, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)));
  R(w2);
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, ONE, &w2, FUTEX_OP(FUTEX_OP_XOR, 1, FUTEX_OP_CMP_GT, 5)));
  R(w2);
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, ONE, (int *)8, 0));
  SECTION("between processes");
  int *sh = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t c = fork();
  if (!c) { while (!sh[0]) fx(sh, FUTEX_WAIT, 0, 0, 0, 0); _exit(5); }
  ASLEEP(c);
  sh[0] = 1;
  R(fx(sh, FUTEX_WAKE, 1, 0, 0, 0));
  S(t_status(t_wait(c)));
  t_tmpdir();
  t_write("f", "0000000000000000");
  int fd = open("f", O_RDWR);
  int *a = mmap(0, 4096, 3, MAP_SHARED, fd, 0), *b = mmap(0, 4096, 3, MAP_SHARED, fd, 0);
  a[0] = 0;
  c = fork();
  if (!c) { fx(a, FUTEX_WAIT, 0, 0, 0, 0); _exit(6); }
  ASLEEP(c);
  R(fx(b, FUTEX_WAKE, 1, 0, 0, 0));
  S(t_status(t_wait(c)));
  SECTION("robust mutex");
  rm = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t at;
  pthread_mutexattr_init(&at), pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST), pthread_mutexattr_setpshared(&at, 1);
  pthread_mutex_init(rm, &at);
  CHILDST("dies with it", pthread_mutex_lock(rm); _exit(0));
  RE(pthread_mutex_lock(rm));
  RE(pthread_mutex_consistent(rm));
  RE(pthread_mutex_unlock(rm));
  c = fork();
  if (!c) { pthread_mutex_lock(rm); sh[1] = 1; pause(); }
  UNTIL(sh[1]);
  RE(pthread_mutex_trylock(rm));
  pid_t k = fork();
  if (!k) { t_sleep(40); kill(c, SIGKILL); _exit(0); }
  RE(pthread_mutex_lock(rm));
  RE(pthread_mutex_unlock(rm));
  RE(pthread_mutex_lock(rm));
  t_wait(c), t_wait(k);
  void *head;
  size_t len;
  R(syscall(SYS_get_robust_list, 0, &head, &len));
  R(len);
  R(syscall(SYS_set_robust_list, head, 12));
  R(syscall(SYS_get_robust_list, 999999, &head, &len));
  SECTION("PI");
  w2 = 0, woken = 0;
  R(fx(&w2, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  CK((w2 & FUTEX_TID_MASK) == getpid());
  R(fx(&w2, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  R(fx(&w2, FUTEX_TRYLOCK_PI_PRIVATE, 0, 0, 0, 0));
  pthread_create(&th[0], 0, piw, 0);
  CK(UNTIL(w2 & FUTEX_WAITERS));
  R(fx(&w2, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0));
  pthread_join(th[0], 0);
  R(woken);
  R(w2);
  R(fx(&w2, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0));
  w2 = 999999;
  R(fx(&w2, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  pthread_mutexattr_init(&at), pthread_mutexattr_setprotocol(&at, PTHREAD_PRIO_INHERIT);
  pthread_mutex_t pm;
  RE(pthread_mutex_init(&pm, &at));
  RE(pthread_mutex_lock(&pm));
  RE(pthread_mutex_unlock(&pm));
  SECTION("PI, a circle");
  woken = 0;
  R(fx(&pb, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  pthread_create(&th[0], 0, locks_a_then_b, 0);
  CK(UNTIL(woken && (pb & FUTEX_WAITERS)));
  t_sleep(20);
  R(fx(&pa, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  R(fx(&pb, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0));
  pthread_join(th[0], 0);
  R(pa), R(pb);
  SECTION("requeue to a PI lock");
  t = (struct timespec){0, 30000000};
  R(fx(&cv, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 1, 0, &pl, 0));
  R(fx(&cv, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, 0, &cv, 0));
  clock_gettime(CLOCK_MONOTONIC, &t);
  R(fx(&cv, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &t, &pl, 0));
  R(fx(&cv, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)5, &cv, 0));
  R(fx(&cv, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, (void *)5, &pl, 0));
  R(fx(&cv, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)5, &pl, 9));
  R(fx(&cv, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)5, &pl, 0));
  for (int i = 0; i < 4; i++) pthread_create(&th[i], 0, rqw, 0);
  CK(UNTIL(nwait() >= 4));
  t_sleep(30);
  R(fx(&cv, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
  R(fx(&pl, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  /* The lock is taken: one more is moved. */
  R(fx(&cv, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)0, &pl, 0));
  CK(pl & FUTEX_WAITERS);
  R(got);
  R(fx(&pl, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0));
  CK(UNTIL(got == 1));
  CK(UNTIL(pl == 0));
  /* It is free: the first gets it, the others wait for it, one after the other. */
  R(fx(&cv, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &pl, 0));
  for (int i = 0; i < 4; i++) pthread_join(th[i], 0);
  R(got);
  R(pl);
  woken = 0;
  pthread_create(&th[0], 0, waiter, &w1);
  w1 = 0;
  CK(UNTIL(nwait() >= 1));
  t_sleep(20);
  R(fx(&w1, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)1, &pl, 0));
  R(fx(&w1, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
  pthread_join(th[0], 0);
}
