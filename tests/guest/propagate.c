/* Mount propagation: shared, slave, private, unbindable; across name spaces; mountinfo's optional fields. As root. */
#include "t.h"
#include <sys/mount.h>

/* The optional fields of the mount on PATH, with group numbers made small in the order they are met. */
static char seen[64][32];
static int groups;
static int number(const char *id) {
  for (int i = 0; i < groups; i++) if (!strcmp(seen[i], id)) return i + 1;
  snprintf(seen[groups++], 32, "%s", id);
  return groups;
}
static void show(const char *path) {
  FILE *f = fopen("/proc/self/mountinfo", "r");
  char line[4096], dir[512], full[600];
  snprintf(full, sizeof full, "%s/%s", t_dir, path);
  int found = 0;
  while (fgets(line, sizeof line, f)) {
    char *p = line;
    for (int i = 0; i < 4; i++) p = strchr(p, ' ') + 1;
    sscanf(p, "%511s", dir);
    if (strcmp(dir, full)) continue;
    found = 1;
    p = strchr(p, ' ') + 1;
    p = strchr(p, ' ') + 1;
    p[-1] = ' ';
    *strstr(p - 1, " - ") = 0;
    if (p[-1] == 0) *p = 0;
    printf("%s:", path);
    for (char *w = strtok(p, " "); w; w = strtok(NULL, " ")) {
      char *c = strchr(w, ':');
      if (!c) { printf(" %s", w); continue; }
      *c = 0;
      printf(" %s:%d", w, number(c + 1));
    }
    printf("\n");
  }
  if (!found) printf("%s: not mounted\n", path);
  fclose(f);
}
static void tmpfs(const char *p) { MUST(mount("t", p, "tmpfs", 0, NULL)); }

TEST {
  if (geteuid() || unshare(CLONE_NEWNS)) exit(77);
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) exit(77);
  t_tmpdir();
  mkdir("a", 0755); mkdir("b", 0755); mkdir("c", 0755); mkdir("d", 0755);
  SECTION("kinds");
  tmpfs("a");
  show("a");
  R(mount(NULL, "a", NULL, MS_SHARED, NULL));
  show("a");
  R(mount(NULL, "a", NULL, MS_SHARED | MS_PRIVATE, NULL));
  R(mount(NULL, "a", NULL, MS_SHARED | MS_NOSUID, NULL));
  R(mount(NULL, "b", NULL, MS_SHARED, NULL));
  R(mount("a", "b", NULL, MS_BIND, NULL));
  show("b");
  R(mount("a", "c", NULL, MS_BIND, NULL));
  R(mount(NULL, "c", NULL, MS_SLAVE, NULL));
  show("c");
  R(mount("a", "d", NULL, MS_BIND, NULL));
  R(mount(NULL, "d", NULL, MS_PRIVATE, NULL));
  show("d");

  SECTION("mounts travel");
  mkdir("a/x", 0755);
  tmpfs("a/x");
  show("a/x"); show("b/x"); show("c/x"); show("d/x");
  R(umount("b/x"));
  show("a/x"); show("b/x"); show("c/x");
  SECTION("not upwards from a slave");
  tmpfs("c/x");
  show("a/x"); show("c/x");
  R(umount("c/x"));
  SECTION("a slave that is shared too");
  R(mount(NULL, "c", NULL, MS_SHARED, NULL));
  show("c");
  mkdir("e", 0755);
  R(mount("c", "e", NULL, MS_BIND, NULL));
  show("e");
  tmpfs("a/x");
  show("a/x"); show("c/x"); show("e/x");
  mkdir("a/x/y", 0755);
  tmpfs("a/x/y");
  show("c/x/y"); show("e/x/y");
  R(umount("a/x"));
  R(umount2("a/x", MNT_DETACH));
  show("a/x"); show("c/x"); show("e/x"); show("e/x/y");
  SECTION("a peer in use keeps all");
  tmpfs("a/x");
  int fd = MUST(open("e/x", O_RDONLY));
  R(umount("a/x"));
  close(fd);
  R(umount("a/x"));
  SECTION("part of a file system");
  mkdir("a/p", 0755); mkdir("a/p/q", 0755); mkdir("f", 0755);
  R(mount("a/p", "f", NULL, MS_BIND, NULL));
  tmpfs("a/x");
  show("f/x");
  tmpfs("a/p/q");
  show("f/q");
  R(umount("f/q"));
  show("a/p/q");
  R(umount("a/x"));
  R(umount("f"));

  SECTION("unbindable");
  mkdir("u", 0755); mkdir("v", 0755);
  tmpfs("u");
  R(mount(NULL, "u", NULL, MS_UNBINDABLE, NULL));
  show("u");
  R(mount("u", "v", NULL, MS_BIND, NULL));
  R(mount("u", "a/x", NULL, MS_MOVE, NULL));
  R(mount(NULL, "u", NULL, MS_SHARED, NULL));
  show("u");
  SECTION("moving");
  mkdir("a/m", 0755);
  tmpfs("a/m");
  R(mount("a/m", "v", NULL, MS_MOVE, NULL));
  R(umount("a/m"));
  R(mount("u", "a/m", NULL, MS_MOVE, NULL));
  show("u"); show("a/m"); show("b/m"); show("c/m");
  R(umount("a/m"));

  SECTION("name spaces");
  int go[2], back[2];
  MUST(pipe(go)); MUST(pipe(back));
  pid_t p = fork();
  if (!p) {
    char c;
    MUST(unshare(CLONE_NEWNS));
    show("a"); show("c");
    R(mount(NULL, "b", NULL, MS_SLAVE, NULL));
    write(back[1], "", 1);
    read(go[0], &c, 1);
    show("a/x"); show("b/x");
    R(umount("b/x"));
    show("a/x");
    R(umount("a/x"));
    _exit(0);
  }
  char c;
  read(back[0], &c, 1);
  tmpfs("a/x");
  write(go[1], "", 1);
  t_wait(p);
  show("a/x"); show("b/x");

  SECTION("the last peer goes");
  R(umount("e"));
  R(umount("c"));
  R(umount("b"));
  R(mount("a", "c", NULL, MS_BIND, NULL));
  R(mount(NULL, "c", NULL, MS_SLAVE, NULL));
  show("c");
  R(mount(NULL, "a", NULL, MS_SLAVE, NULL));
  show("a"); show("c");
  umount("c"); umount("d"); umount("a"); umount("u");
}
