//! Help texts and shell completion.

use std::process::ExitCode;

/// `ruml --help`
pub const TOP: &str = "\
Usage: ruml [run [OPTIONS] [--] [COMMAND [ARGUMENTS…]]]
       ruml PARAMETER…

A Linux machine in one ordinary program: no root, no KVM, no ptrace.

ruml run boots a machine whose root is a copy-on-write view of the host's own
files and runs COMMAND there ('ruml run --help'). Without arguments, ruml is
'ruml run'.

With kernel parameters it boots as User-Mode Linux does:
  mem=SIZE ncpus=N        memory and processors
  rootfstype=hostfs rootflags=FOLDER
                          a host folder as the root file system
  ubdN[FLAGS]=FILE[,BACKING][,SERIAL]
                          a disk image (raw, copy-on-write, qcow2) or block
                          device as disk N (0 to 15): /dev/ubda…; with BACKING, a
                          copy-on-write file over it, made if it isn't there;
                          flags: r read-only, s synchronous, c shared, t no
                          trim, d a raw image, whatever it looks like;
                          ubd=sync for all
  root=DEVICE rootfstype=TYPE rootflags=OPTIONS
                          the root file system (the first disk)
  initrd=FILE             initial cpio archive (plain, gzip, xz or zstd)
  init=PROGRAM rdinit=PROGRAM
                          first program
  con0=IN,OUT con1=CHANNEL con=CHANNEL
                          where /dev/tty0, /dev/tty1 and the others are: fd:N,
                          tty:PATH, null, none [con0=fd:0,fd:1 con=null]
  umid=NAME uml_dir=FOLDER
                          where the machine's pid file is (~/.uml/NAME)
  hostname=NAME ro rw quiet debug loglevel=N panic=SECONDS noreboot
  ruml.trace[=CALLS]      print syscalls as they are made: 'ruml run --help'
  ruml.lockdown=off       as --no-lockdown of 'ruml run'
Other words go to init: K=V to its environment, the rest to its arguments.

Other commands:
  ruml image create FILE  make a bootable disk image
  ruml mkcow COW BACKING  make a copy-on-write file over a disk image
  ruml moo COW NEW        merge a copy-on-write file with its backing file
  ruml syscalls           the syscalls that guests have, by number
  ruml completion bash|zsh|fish
  ruml --version
";

/// `ruml run --help`
pub const RUN: &str = "\
Usage: ruml run [OPTIONS] [--] [COMMAND [ARGUMENTS…]]

Boots a virtual machine whose root is a copy-on-write view of the host's / and
runs COMMAND in it (by default your shell) as root. Nothing that it does changes
the host, and its changes are gone when it ends. Standard input, output and
error pass through.

  -m, --mem SIZE              guest memory [half of the host's]
  -c, --ncpus N               processors [as many as the host has]
  -e, --env K=V               set an environment variable; K alone passes it on
  -w, --workdir FOLDER        working directory in the guest [/]
      --hostname NAME         name of the machine [ruml]
  -v, --volume HOST:GUEST[:ro]
                              show a host folder; writes go through unless :ro
      --disk FILE[:ro]        give the guest a disk image or block device: /dev/ubda,
                              the next one /dev/ubdb
  -u, --user UID[:GID]        run as this user [0:0]
  -t, --tty, --no-tty         give the guest a terminal, or pass files through
                              [a terminal if standard input and output are one]
      --root FOLDER           show this folder as / instead of the host's
      --trace[=CALLS]         print syscalls, signals and exits as strace does
      --trace-output FILE     print them to a file of the host, not to standard
                              error; without --trace all calls
      --verbose               print kernel messages
      --no-lockdown           don't take from ruml itself what it doesn't need of
                              the host (seccomp, Landlock): for debugging
  -h, --help

CALLS are names of syscalls and classes, with commas between: %file, %desc,
%process, %memory, %network, %signal, %ipc, %clock. !NAME leaves one out, as in
--trace=%file,!getcwd or --trace='!%memory'.

Exit status: the command's own, 128+N if signal N ended it, 125 for an error of
ruml, 126 if the command cannot be run, 127 if it isn't found.
";

const OPTIONS: &str = "--mem --ncpus --env --workdir --hostname --volume --disk --user --tty --no-tty --root --trace --trace-output \
                       --verbose --no-lockdown --help";

/// Prints the completion script of a shell.
pub fn completion(shell: Option<&str>) -> ExitCode {
    match shell {
        Some("bash") => println!(
            "_ruml() {{ local cur=${{COMP_WORDS[COMP_CWORD]}}; \
             if [ $COMP_CWORD -eq 1 ]; then COMPREPLY=($(compgen -W 'run image mkcow moo help completion syscalls --help --version' -- \"$cur\")); \
             else case $cur in -*) COMPREPLY=($(compgen -W '{OPTIONS}' -- \"$cur\"));; \
             *) COMPREPLY=($(compgen -c -f -- \"$cur\"));; esac; fi; }}\ncomplete -F _ruml ruml"
        ),
        Some("zsh") => println!(
            "#compdef ruml\n_arguments '1:command:(run image mkcow moo help completion syscalls)' \
             '*::option:(({OPTIONS}))' '*:file:_files'"
        ),
        Some("fish") => {
            println!(
                "complete -c ruml -n __fish_use_subcommand -a 'run image mkcow moo help completion syscalls'"
            );
            for option in OPTIONS.split_whitespace() {
                println!(
                    "complete -c ruml -n '__fish_seen_subcommand_from run' -l {}",
                    option.trim_start_matches('-')
                );
            }
        }
        _ => {
            eprintln!("ruml: completion needs bash, zsh or fish");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
