/* mkdir, rmdir, rename with its flags, getdents64. */
#include "t.h"
#include <linux/fs.h>
static int cmp(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
static void list(const char *p) {
  char *n[600];
  int k = 0;
  DIR *d = opendir(p);
  if (!d) { printf("opendir %s: %s\n", p, t_res(-1)); return; }
  struct dirent *e;
  while ((e = readdir(d)) && k < 600) {
    char t[300];
    snprintf(t, sizeof t, "%s:%d", e->d_name, e->d_type);
    n[k++] = strdup(t);
  }
  closedir(d);
  qsort(n, k, sizeof *n, cmp);
  printf("%s:", p);
  for (int i = 0; i < k; i++) printf(" %s", n[i]);
  printf("\n");
}
static int nlink_of(const char *p) { struct stat s; return lstat(p, &s) ? -1 : (int)s.st_nlink; }
static long rn2(const char *a, const char *b, int f) { return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, f); }
TEST {
  t_tmpdir();
  SECTION("mkdir, rmdir");
  R(mkdir("d", 0777));
  R(mkdir("d", 0777));
  R(mkdir("d/", 0777));
  R(mkdir("e/", 0777));
  R(mkdir("x/y", 0777));
  R(mkdir("", 0777));
  R(mkdir("/", 0777));
  R(mkdir(".", 0777));
  t_write("f", "f");
  R(mkdir("f", 0777));
  R(mkdir("f/x", 0777));
  R(rmdir("f"));
  R(rmdir("."));
  R(rmdir("d/."));
  R(rmdir("d/.."));
  R(rmdir("/"));
  R(mkdir("d/s", 0700));
  R(rmdir("d"));
  R(rmdir("d/s/"));
  R(rmdir("gone"));
  R(unlink("d"));
  R(unlink("f/"));
  symlink("d", "ld");
  R(rmdir("ld"));
  R(rmdir("ld/"));
  R(mkdir("ld", 0700));
  SECTION("rename");
  R(rename("f", "g"));
  R(rename("f", "g"));
  R(rename("g", "g"));
  R(rename("g", "d"));
  R(rename("d", "g"));
  R(rename("d", "d/x"));
  R(rename("d", "e"));
  R(mkdir("d", 0755));
  t_write("e/full", "x");
  R(rename("d", "e"));
  R(rename("e", "e/full"));
  R(rename("d/.", "q"));
  R(rename("d", "."));
  R(rename("", "q"));
  R(rename("g", "gone/q"));
  R(rename("g", "q/"));
  R(rename("d", "dd/"));
  R(rename("e", "dd/in"));
  t_write("h1", "1");
  link("h1", "h2");
  R(rename("h1", "h2"));
  R(nlink_of("h1"));
  list("."), list("dd"), list("dd/in");
  SECTION("renameat2");
  t_write("a", "a"), t_write("b", "b");
  R(rn2("a", "b", RENAME_NOREPLACE));
  R(rn2("a", "c", RENAME_NOREPLACE));
  R(rn2("c", "b", RENAME_EXCHANGE));
  S(t_read("b"));
  S(t_read("c"));
  R(rn2("c", "gone", RENAME_EXCHANGE));
  R(rn2("c", "dd", RENAME_EXCHANGE));
  list("c");
  S(t_read("dd"));
  R(rn2("c", "c/in", RENAME_EXCHANGE));
  R(rn2("b", "q", RENAME_EXCHANGE | RENAME_NOREPLACE));
  R(rn2("b", "q", 0x100));
  SECTION("getdents64");
  mkdir("many", 0755);
  for (int i = 0; i < 500; i++) { char n[32]; snprintf(n, 32, "many/file-%03d", i); close(creat(n, 0644)); }
  int fd = MUST(open("many", O_RDONLY | O_DIRECTORY));
  char b[1024];
  int seen = 0, dup = 0, calls = 0;
  char got[500] = {0};
  for (long n; (n = syscall(SYS_getdents64, fd, b, sizeof b)) > 0; calls++)
    for (long o = 0; o < n;) {
      struct dirent64 *e = (void *)(b + o);
      if (!strncmp(e->d_name, "file-", 5)) { int k = atoi(e->d_name + 5); dup += got[k]; got[k] = 1; seen++; }
      o += e->d_reclen;
    }
  R(seen);
  R(dup);
  CK(calls > 10);
  R(syscall(SYS_getdents64, fd, b, sizeof b));
  R(lseek(fd, 0, SEEK_SET));
  CK(syscall(SYS_getdents64, fd, b, sizeof b) > 0);
  lseek(fd, 0, SEEK_SET);
  R(syscall(SYS_getdents64, fd, b, 10));
  R(syscall(SYS_getdents64, fd, (void *)8, 1024));
  R(syscall(SYS_getdents64, -1, b, 1024));
  R(syscall(SYS_getdents64, open("a1", O_CREAT | O_RDWR, 0600), b, 1024));
  SECTION("seekdir, removal while reading");
  DIR *d = opendir("many");
  for (int i = 0; i < 100; i++) readdir(d);
  long pos = telldir(d);
  char nm[256];
  strcpy(nm, readdir(d)->d_name);
  seekdir(d, pos);
  CK(!strcmp(nm, readdir(d)->d_name));
  rewinddir(d);
  int k = 0;
  for (struct dirent *e; (e = readdir(d));)
    if (e->d_name[0] != '.') { char n[300]; snprintf(n, 300, "many/%s", e->d_name); k += !unlink(n); }
  R(k);
  R(rmdir("many"));
  rewinddir(d);
  R(readdir(d) == NULL);
  SECTION("removed working directory");
  mkdir("w", 0755);
  MUST(chdir("w"));
  R(rmdir("../w"));
  R(open("x", O_CREAT | O_RDWR, 0600));
  R(getcwd(b, sizeof b) ? 0 : -1);
  R(mkdir("y", 0700));
  R(open("..", O_RDONLY) >= 0);
  list(".");
  MUST(chdir(t_dir));
  SECTION("link counts");
  mkdir("p", 0755), mkdir("p/1", 0755), mkdir("p/2", 0755);
  list("p");
  S(getcwd(b, sizeof b) && !strcmp(b, t_dir) ? "same" : "other");
  R(syscall(SYS_getcwd, b, 2));
  R(syscall(SYS_getcwd, b, sizeof b) == (long)strlen(t_dir) + 1);
  mkdir("sticky", 01777);
  struct stat st;
  stat("sticky", &st);
  X(st.st_mode);
}
