/* Many things at once, with an answer that can only be one: races show as a wrong sum or a hang. */
#include "t.h"
static int wait_all(void) { int s = 0, st; while (wait(&st) > 0) s += WIFEXITED(st) ? WEXITSTATUS(st) : 1000; return s; }
static volatile int sigs;
static void h(int s) { (void)s; sigs++; }
static void *mapper(void *a) {
  long bad = 0;
  for (int i = 0; i < 300; i++) {
    char *m = mmap(0, 16384, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(m, (long)a, 16384);
    sched_yield();
    for (int j = 0; j < 16384; j += 512) bad += m[j] != (char)(long)a;
    munmap(m, 16384);
  }
  return (void *)bad;
}
TEST {
  t_tmpdir();
  SECTION("forks in parallel trees");
  for (int i = 0; i < 4; i++) if (!fork()) { for (int j = 0; j < 25; j++) if (!fork()) _exit(j & 1); _exit(wait_all()); }
  R(wait_all());
  SECTION("one file, O_APPEND from eight");
  for (int i = 0; i < 8; i++) if (!fork()) { int f = open("log", O_WRONLY | O_APPEND | O_CREAT, 0644); char l[17]; memset(l, 'a' + i, 16); l[15] = '\n'; for (int j = 0; j < 100; j++) write(f, l, 16); _exit(0); }
  R(wait_all());
  FILE *f = fopen("log", "r");
  char l[64];
  int lines = 0, bad = 0;
  while (fgets(l, sizeof l, f)) { lines++; bad += strlen(l) != 16; for (int i = 1; i < 15; i++) bad += l[i] != l[0]; }
  R(lines);
  R(bad);
  SECTION("create, rename, unlink of the same names");
  for (int i = 0; i < 4; i++) if (!fork()) { for (int j = 0; j < 200; j++) { close(open("a", O_CREAT | O_RDWR, 0644)); rename("a", "b"); link("b", "c"); unlink("c"); unlink("b"); mkdir("d", 0700); rmdir("d"); } _exit(0); }
  R(wait_all());
  SECTION("exclusive creation: one winner a name");
  for (int i = 0; i < 4; i++) if (!fork()) { int won = 0; for (int j = 0; j < 50; j++) { char n[16]; snprintf(n, 16, "x%d", j); won += open(n, O_CREAT | O_EXCL | O_RDWR, 0600) >= 0; } _exit(won); }
  R(wait_all());
  SECTION("maps in four threads");
  pthread_t t[4];
  for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, mapper, (void *)(i + 1));
  long wrong = 0;
  for (int i = 0; i < 4; i++) { void *v; pthread_join(t[i], &v); wrong += (long)v; }
  R(wrong);
  SECTION("a token round a ring of twenty");
  int p[20][2];
  for (int i = 0; i < 20; i++) pipe(p[i]);
  for (int i = 0; i < 20; i++) if (!fork()) { int v; for (int j = 0; j < 100; j++) { read(p[i][0], &v, 4); v++; write(p[(i + 1) % 20][1], &v, 4); } _exit(0); }
  int v = 0;
  write(p[0][1], &v, 4);
  R(wait_all());
  read(p[0][0], &v, 4);
  R(v);
  SECTION("signals while forking");
  struct sigaction sa = {.sa_handler = h, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &sa, 0);
  struct itimerval it = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &it, 0);
  for (int i = 0; i < 100; i++) if (!fork()) _exit(1);
  int got = wait_all();
  UNTIL(sigs > 5);
  setitimer(ITIMER_REAL, &off, 0);
  R(got);
  CK(sigs > 5);
  SECTION("kill storms");
  for (int r = 0; r < 20; r++) { pid_t c = fork(); if (!c) for (;;) getppid(); kill(c, SIGSTOP), kill(c, SIGCONT), kill(c, SIGKILL); bad += !WIFSIGNALED(t_wait(c)); }
  R(bad);
}
