#!/bin/bash
# Whole programs, as people run them: `programs.sh NAME…` prints `BENCH name-cold ns` for the first run in a new folder, and
# `BENCH name-warm ns` for the least of the next ones. The same script runs natively and in a guest.
set -eu
warm_runs=${WARM_RUNS:-5}
work=$(mktemp -d /dev/shm/ruml-programs.XXXXXX)
trap 'cd /; rm -rf "$work"' EXIT
cd "$work"
export HOME=$work LC_ALL=C GIT_CONFIG_NOSYSTEM=1

# A C file of about 5,000 lines, with functions that the optimizer has work with.
source_of() {
    awk -v n="$1" 'BEGIN { print "#include <stdio.h>\n#include <string.h>"
        for (i = 0; i < n; i++) printf "int f%d(int a, const char *s)\n{\n int i, t = a;\n for (i = 0; s[i]; i++) {\n  t = t * 31 + s[i] + %d;\n  if (t & 1) t ^= a << (i & 7);\n }\n printf(\"%%d\\n\", t);\n return t;\n}\n", i, i }'
}

prepare_gcc() { source_of 500 >big.c; }
run_gcc() { gcc -O2 -c big.c -o big.o; }

prepare_make() {
    for i in $(seq 20); do source_of 10 | sed "s/int f/int m${i}_f/" >"m$i.c"; done
    echo 'int main(void) { return 0; }' >main.c
    printf 'OBJECTS := $(patsubst %%.c,%%.o,$(wildcard m*.c))\nall: prog\nprog: $(OBJECTS)\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -O1 -c $< -o $@\nclean:\n\trm -f *.o prog\n' >Makefile
}
run_make() { make -s clean && make -s -j2; }

prepare_find() { :; }
# Folders that the user may not read are no failure.
run_find() { find /usr >/dev/null 2>&1 || true; }

prepare_tar() { :; }
run_tar() { tar cf - -C /usr include | cat >/dev/null; } # tar knows /dev/null, and would not read

prepare_git() {
    git init -q . 2>/dev/null
    for d in $(seq 50); do mkdir "d$d"; for f in $(seq 100); do echo "$d $f" >"d$d/f$f"; done; done
    git add . && git -c user.name=b -c user.email=b@example.org commit -qm all
}
run_git() { git status --porcelain >/dev/null; }

prepare_python() { :; }
run_python() { python3 -c 'import asyncio'; }

prepare_sqlite() {
    awk 'BEGIN { print "drop table if exists t; create table t(a integer primary key, b text); begin;"
        for (i = 0; i < 20000; i++) printf "insert into t values(%d, \"row %d\");\n", i, i
        print "commit;" }' >rows.sql
}
run_sqlite() { sqlite3 db.sqlite <rows.sql; }

prepare_redis() {
    redis-server --port 0 --unixsocket "$PWD/redis.sock" --save '' --daemonize yes --pidfile "$PWD/redis.pid" >/dev/null
    until redis-cli -s redis.sock ping >/dev/null 2>&1; do sleep 0.05; done
}
run_redis() { redis-benchmark -s redis.sock -q -n 20000 -t set,get >/dev/null; }
end_redis() { redis-cli -s redis.sock shutdown nosave || true; }

now() { echo "${EPOCHREALTIME/./}"; }
timed() {
    local before
    before=$(now)
    "run_$1"
    took=$(($(now) - before))
}

for name in "$@"; do
    mkdir "$name" && cd "$name"
    "prepare_$name"
    timed "$name"
    echo "BENCH $name-cold $((took * 1000))"
    least=
    for _ in $(seq "$warm_runs"); do
        timed "$name"
        if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
    done
    echo "BENCH $name-warm $((least * 1000))"
    if declare -F "end_$name" >/dev/null; then "end_$name"; fi
    cd ..
done
