/* POSIX, OFD and flock locks: conflicts, splitting, release on close, deadlock. */
#include "t.h"
#include <sys/file.h>
static int lk(int fd, int cmd, int type, off_t s, off_t l) {
  struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = s, .l_len = l};
  return fcntl(fd, cmd, &f);
}
static void who(int fd, int cmd, int type, off_t s, off_t l, pid_t me) {
  struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = s, .l_len = l};
  if (fcntl(fd, cmd, &f)) { printf("  getlk: %s\n", t_res(-1)); return; }
  if (f.l_type == F_UNLCK) printf("  free\n");
  else printf("  %s %ld+%ld by %s\n", f.l_type == F_RDLCK ? "read" : "write", (long)f.l_start, (long)f.l_len,
              f.l_pid == me ? "parent" : f.l_pid == -1 ? "-1" : "other");
}
static void alrm(int s) { (void)s; }
TEST {
  t_tmpdir();
  t_write("f", "0123456789");
  int fd = MUST(open("f", O_RDWR)), ro = MUST(open("f", O_RDONLY));
  pid_t me = getpid();
  SECTION("POSIX");
  R(lk(fd, F_SETLK, F_WRLCK, 0, 10));
  R(lk(fd, F_SETLK, F_UNLCK, 4, 2));
  CHILDST("split", who(fd, F_GETLK, F_RDLCK, 0, 0, me); who(fd, F_GETLK, F_RDLCK, 4, 2, me);
          who(fd, F_GETLK, F_RDLCK, 5, 3, me));
  CHILDST("child", R(lk(fd, F_SETLK, F_WRLCK, 0, 1)); R(lk(fd, F_SETLK, F_RDLCK, 5, 1));
          R(lk(fd, F_SETLK, F_WRLCK, 4, 2)); R(lk(fd, F_SETLK, F_WRLCK, 4, 3)));
  R(lk(fd, F_SETLK, F_RDLCK, 0, 0));
  CHILDST("child", R(lk(fd, F_SETLK, F_RDLCK, 0, 5)); R(lk(fd, F_SETLK, F_WRLCK, 0, 5)); who(fd, F_GETLK, F_WRLCK, 0, 0, me));
  R(lk(ro, F_SETLK, F_WRLCK, 0, 1));
  R(lk(fd, F_SETLK, 77, 0, 1));
  R(lk(fd, F_SETLK, F_RDLCK, -1, 1));
  R(lk(fd, F_SETLK, F_RDLCK, 10, -5));
  R(lk(fd, F_SETLK, F_RDLCK, 10, -15));
  R(lk(-1, F_SETLK, F_RDLCK, 0, 1));
  R(fcntl(fd, F_SETLK, (void *)8));
  SECTION("closing any descriptor drops them");
  MUST(lk(fd, F_SETLK, F_WRLCK, 0, 0));
  close(open("f", O_RDONLY));
  CHILDST("after close", who(fd, F_GETLK, F_WRLCK, 0, 0, me));
  SECTION("blocking");
  int p[2];
  pipe(p);
  pid_t c = fork();
  if (!c) { lk(fd, F_SETLK, F_WRLCK, 0, 1); write(p[1], "x", 1); t_sleep(100); _exit(0); }
  char x;
  read(p[0], &x, 1);
  R(lk(fd, F_SETLK, F_WRLCK, 0, 1));
  R(lk(fd, F_SETLKW, F_WRLCK, 0, 1));
  t_wait(c);
  lk(fd, F_SETLK, F_UNLCK, 0, 0);
  struct sigaction sa = {.sa_handler = alrm};
  sigaction(SIGALRM, &sa, 0);
  c = fork();
  if (!c) { lk(fd, F_SETLK, F_WRLCK, 0, 1); write(p[1], "x", 1); pause(); }
  read(p[0], &x, 1);
  struct itimerval it = {{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &it, 0);
  R(lk(fd, F_SETLKW, F_WRLCK, 0, 1));
  kill(c, SIGKILL), t_wait(c);
  R(lk(fd, F_SETLK, F_WRLCK, 0, 1));
  SECTION("deadlock");
  c = fork();
  if (!c) { lk(fd, F_SETLK, F_WRLCK, 5, 1); write(p[1], "x", 1); lk(fd, F_SETLKW, F_WRLCK, 0, 1); _exit(0); }
  read(p[0], &x, 1);
  ASLEEP(c);
  R(lk(fd, F_SETLKW, F_WRLCK, 5, 1));
  R(lk(fd, F_SETLK, F_UNLCK, 0, 0));
  printf("waiter: %s\n", t_status(t_wait(c)));
  SECTION("fork does not inherit; exec keeps");
  MUST(lk(fd, F_SETLK, F_WRLCK, 0, 0));
  CHILDST("child", R(lk(fd, F_SETLK, F_WRLCK, 0, 1)));
  lk(fd, F_SETLK, F_UNLCK, 0, 0);
  SECTION("OFD");
  int f2 = MUST(open("f", O_RDWR)), d = dup(fd);
  R(lk(fd, F_OFD_SETLK, F_WRLCK, 0, 5));
  R(lk(f2, F_OFD_SETLK, F_WRLCK, 0, 5));
  R(lk(d, F_OFD_SETLK, F_WRLCK, 0, 5));
  who(f2, F_OFD_GETLK, F_WRLCK, 0, 5, me);
  CHILDST("child shares", R(lk(fd, F_OFD_SETLK, F_WRLCK, 0, 6)); R(lk(f2, F_OFD_SETLK, F_RDLCK, 5, 1)));
  R(lk(f2, F_SETLK, F_WRLCK, 0, 5));
  close(d);
  R(lk(f2, F_OFD_SETLK, F_WRLCK, 0, 5));
  struct flock bad = {.l_type = F_WRLCK, .l_pid = 5};
  R(fcntl(fd, F_OFD_SETLK, &bad));
  close(fd);
  R(lk(f2, F_OFD_SETLK, F_WRLCK, 0, 5));
  close(f2);
  SECTION("flock");
  int a = open("f", O_RDWR), b = open("f", O_RDONLY);
  R(flock(a, LOCK_SH));
  R(flock(b, LOCK_SH | LOCK_NB));
  R(flock(a, LOCK_EX | LOCK_NB));
  R(flock(b, LOCK_UN));
  R(flock(a, LOCK_EX | LOCK_NB));
  R(flock(b, LOCK_SH | LOCK_NB));
  CHILDST("child's own open", int q = open("f", O_RDWR); R(flock(q, LOCK_SH | LOCK_NB)); R(flock(a, LOCK_SH)));
  R(flock(b, LOCK_SH | LOCK_NB));
  d = dup(a);
  close(a);
  R(flock(b, LOCK_EX | LOCK_NB));
  close(d);
  R(flock(b, LOCK_EX | LOCK_NB));
  R(flock(b, 0));
  R(flock(b, 99));
  R(flock(-1, LOCK_SH));
  c = fork();
  if (!c) { close(b); int q = open("f", O_RDWR); write(p[1], "x", 1); flock(q, LOCK_EX); write(p[1], "y", 1); _exit(0); }
  read(p[0], &x, 1);
  ASLEEP(c);
  close(b);
  t_wait(c);
  b = open("f", O_RDONLY);
  R(flock(b, LOCK_EX | LOCK_NB));
  SECTION("/proc/locks");
  char line[512], mine[64], ino[64];
  struct stat st;
  fstat(b, &st);
  snprintf(mine, sizeof mine, " %d ", getpid());
  snprintf(ino, sizeof ino, ":%lu ", (unsigned long)st.st_ino);
  int w = MUST(open("f", O_RDWR));
  struct flock some = {.l_type = F_RDLCK, .l_start = 5, .l_len = 10};
  MUST(fcntl(w, F_SETLK, &some));
  some.l_type = F_WRLCK, some.l_start = 100, some.l_len = 0;
  MUST(fcntl(w, F_OFD_SETLK, &some));
  for (int pass = 0; pass < 2; pass++) {
    const char *kinds[] = {"FLOCK", "POSIX", "OFDLCK"};
    for (int k = 0; k < 3; k++) {
      FILE *l = fopen("/proc/locks", "r");
      while (fgets(line, sizeof line, l)) {
        char *at = strstr(line, ino);
        if (!at || !strstr(line, kinds[k]) || (k < 2 && !strstr(line, mine))) continue;
        char what[3][16];
        sscanf(line, "%*s %15s %15s %15s", what[0], what[1], what[2]);
        printf("%s %s %s %s", what[0], what[1], what[2], at + strlen(ino));
      }
      fclose(l);
    }
    close(b), close(w);
    printf("closed\n");
  }
}
