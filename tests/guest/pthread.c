/* pthreads as glibc uses the kernel: mutex, condition, barrier, TLS, cancel, many threads, exit races. */
#include "t.h"
#include <semaphore.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cv = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t bar;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static __thread int tls = 7;
static long counter, turn, serial, order;
static int cleaned, keyed;
static pthread_key_t key;
static void *inc(void *a) { for (int i = 0; i < 20000; i++) { pthread_mutex_lock(&m); counter++; pthread_mutex_unlock(&m); } return a; }
static void *ring(void *a) {
  long me = (long)a;
  for (int i = 0; i < 200; i++) {
    pthread_mutex_lock(&m);
    while (turn != me) pthread_cond_wait(&cv, &m);
    turn = (me + 1) % 4, order++;
    pthread_cond_broadcast(&cv);
    pthread_mutex_unlock(&m);
  }
  return 0;
}
static void *barr(void *a) { (void)a; for (int i = 0; i < 50; i++) if (pthread_barrier_wait(&bar) == PTHREAD_BARRIER_SERIAL_THREAD) serial++; return 0; }
static void *tl(void *a) { int was = tls; tls = (long)a; sched_yield(); return (void *)(long)(was == 7 && tls == (long)a); }
static void clean(void *a) { cleaned += (long)a; }
static void *cancelme(void *a) { (void)a; pthread_cleanup_push(clean, (void *)3); for (;;) sleep(1); pthread_cleanup_pop(0); return 0; }
static void *spin(void *a) { (void)a; pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, 0); for (volatile long i = 0;; i++) {} return 0; }
static void kd(void *a) { keyed += (long)a; }
static void *withkey(void *a) { pthread_setspecific(key, a); return 0; }
static void *one(void *a) { return a; }
static void *rd(void *a) { (void)a; for (int i = 0; i < 500; i++) { pthread_rwlock_rdlock(&rw); pthread_rwlock_unlock(&rw); pthread_rwlock_wrlock(&rw); counter++; pthread_rwlock_unlock(&rw); } return 0; }
static sem_t go;
static void *parked(void *a) { sem_wait(&go); return a; }
static void *quit(void *a) { (void)a; exit(21); }
static void *rest(void *a) { t_sleep(50); _exit((long)a); return 0; }
static int tasks(void) { int k = 0; DIR *d = opendir("/proc/self/task"); for (struct dirent *e; (e = readdir(d));) k += e->d_name[0] != '.'; closedir(d); return k; }
TEST {
  pthread_t t[200];
  void *v;
  for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, inc, 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
  R(counter);
  for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, ring, (void *)i);
  for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
  R(order);
  pthread_barrier_init(&bar, 0, 5);
  for (int i = 0; i < 5; i++) pthread_create(&t[i], 0, barr, 0);
  for (int i = 0; i < 5; i++) pthread_join(t[i], 0);
  R(serial);
  long ok = 0;
  for (long i = 0; i < 20; i++) pthread_create(&t[i], 0, tl, (void *)(i + 100));
  for (int i = 0; i < 20; i++) pthread_join(t[i], &v), ok += (long)v;
  R(ok);
  R(tls);
  SECTION("200 at once");
  sem_init(&go, 0, 0);
  int made = 0;
  for (long i = 0; i < 200; i++) made += !pthread_create(&t[i], 0, parked, (void *)i);
  R(made);
  R(tasks());
  for (int i = 0; i < 200; i++) sem_post(&go);
  ok = 0;
  for (int i = 0; i < 200; i++) pthread_join(t[i], &v), ok += (long)v;
  R(ok);
  CK(UNTIL(tasks() == 1));
  SECTION("one after the other");
  ok = 0;
  for (long i = 0; i < 500; i++) { pthread_create(&t[0], 0, one, (void *)i); pthread_join(t[0], &v); ok += (long)v; }
  R(ok);
  SECTION("cancel");
  pthread_create(&t[0], 0, cancelme, 0);
  t_sleep(10), pthread_cancel(t[0]), pthread_join(t[0], &v);
  CK(v == PTHREAD_CANCELED);
  R(cleaned);
  pthread_create(&t[0], 0, spin, 0);
  t_sleep(10), pthread_cancel(t[0]), pthread_join(t[0], &v);
  CK(v == PTHREAD_CANCELED);
  SECTION("keys, rwlock, timed waits");
  pthread_key_create(&key, kd);
  for (long i = 1; i <= 3; i++) pthread_create(&t[i], 0, withkey, (void *)i);
  for (int i = 1; i <= 3; i++) pthread_join(t[i], 0);
  R(keyed);
  counter = 0;
  for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, rd, 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
  R(counter);
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts), ts.tv_nsec += 30000000;
  if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
  pthread_mutex_lock(&m);
  RE(pthread_cond_timedwait(&cv, &m, &ts));
  pthread_mutex_unlock(&m);
  sem_init(&go, 0, 0);
  R(sem_timedwait(&go, &ts));
  SECTION("setuid-like calls reach every thread; detach");
  for (int i = 0; i < 5; i++) { pthread_create(&t[i], 0, parked, 0); pthread_detach(t[i]); }
  R(setuid(getuid()));
  for (int i = 0; i < 5; i++) sem_post(&go);
  CK(UNTIL(tasks() == 1));
  SECTION("exit");
  CHILDST("exit from a thread", pthread_create(&t[0], 0, quit, 0); pause());
  CHILDST("leader goes first", pthread_create(&t[0], 0, rest, (void *)22); pthread_exit(0));
  CHILDST("last pthread_exit", pthread_exit(0));
  CHILDST("leader returns over spinning threads", for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, spin, 0); t_sleep(20); _exit(23));
  CHILDST("killed", for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, spin, 0); t_sleep(5); kill(getpid(), SIGTERM); pause());
  CHILDST("fork in a thread", pthread_create(&t[0], 0, one, 0); pthread_join(t[0], 0); CHILDST("its child", R(tasks())));
  int forks = 0;
  CHILDST("forks while threads run", for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, spin, 0);
          for (int i = 0; i < 20; i++) { pid_t c = fork(); if (!c) _exit(i); forks += WEXITSTATUS(t_wait(c)); } _exit(forks == 190));
}
