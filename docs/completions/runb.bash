# bash completion for runb, made by `runb completion bash`.

_runb_containers() {
    runb list -q 2>/dev/null
}

_runb() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local verb='' flags='' value='' operands='' count=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --log | --log-format | --root | --rootless) [ -n "$verb" ] || ((i++)) ;;
        -*) ;;
        *)
            if [ -n "$verb" ]; then ((count++)); else verb=${COMP_WORDS[i]}; fi
            ;;
        esac
    done
    case $verb in
    '')
        flags='--debug --log --log-format --root --systemd-cgroup --rootless --version -v --help -h'
        case $prev in
            --log) value='@files' ;;
            --log-format) value='text json' ;;
            --root) value='@directories' ;;
            --rootless) value='true false auto' ;;
        esac
        operands='checkpoint create delete events exec kill list pause ps restore resume run spec start state update features plan check gc completion help'
        ;;
    checkpoint)
        flags='--image-path --work-path --parent-path --leave-running --tcp-established --tcp-skip-in-flight --link-remap --ext-unix-sk --shell-job --lazy-pages --status-fd --page-server --file-locks --pre-dump --manage-cgroups-mode --empty-ns --auto-dedup --help -h'
        case $prev in
            --image-path) value='@directories' ;;
            --work-path) value='@directories' ;;
            --parent-path) value='@directories' ;;
            --status-fd) value='@any' ;;
            --page-server) value='@any' ;;
            --manage-cgroups-mode) value='soft full strict ignore' ;;
            --empty-ns) value='network' ;;
        esac
        operands='@containers'
        ;;
    create)
        flags='--bundle -b --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --help -h'
        case $prev in
            --bundle | -b) value='@directories' ;;
            --console-socket) value='@files' ;;
            --pidfd-socket) value='@files' ;;
            --pid-file) value='@files' ;;
            --preserve-fds) value='@any' ;;
        esac
        operands=''
        ;;
    delete)
        flags='--force -f --help -h'
        operands='@containers'
        ;;
    events)
        flags='--interval --stats --help -h'
        case $prev in
            --interval) value='@any' ;;
        esac
        operands='@containers'
        ;;
    exec)
        flags='--console-socket --pidfd-socket --cwd --env -e --tty -t --user -u --additional-gids -g --process -p --detach -d --pid-file --process-label --apparmor --no-new-privs --cap -c --preserve-fds --cgroup --ignore-paused --help -h'
        case $prev in
            --console-socket) value='@files' ;;
            --pidfd-socket) value='@files' ;;
            --cwd) value='@any' ;;
            --env | -e) value='@any' ;;
            --user | -u) value='@any' ;;
            --additional-gids | -g) value='@any' ;;
            --process | -p) value='@files' ;;
            --pid-file) value='@files' ;;
            --process-label) value='@any' ;;
            --apparmor) value='@any' ;;
            --cap | -c) value='@any' ;;
            --preserve-fds) value='@any' ;;
            --cgroup) value='@any' ;;
        esac
        operands='@containers'
        ;;
    kill)
        flags='--help -h'
        operands='@signal'
        ;;
    list)
        flags='--format -f --quiet -q --help -h'
        case $prev in
            --format | -f) value='table json' ;;
        esac
        operands=''
        ;;
    pause)
        flags='--help -h'
        operands='@containers'
        ;;
    ps)
        flags='--format -f --help -h'
        case $prev in
            --format | -f) value='table json' ;;
        esac
        operands='@containers'
        ;;
    restore)
        flags='--console-socket --image-path --work-path --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode --bundle -b --detach -d --pid-file --no-subreaper --no-pivot --empty-ns --auto-dedup --lazy-pages --lsm-profile --lsm-mount-context --help -h'
        case $prev in
            --console-socket) value='@files' ;;
            --image-path) value='@directories' ;;
            --work-path) value='@directories' ;;
            --manage-cgroups-mode) value='soft full strict ignore' ;;
            --bundle | -b) value='@directories' ;;
            --pid-file) value='@files' ;;
            --empty-ns) value='network' ;;
            --lsm-profile) value='@any' ;;
            --lsm-mount-context) value='@any' ;;
        esac
        operands=''
        ;;
    resume)
        flags='--help -h'
        operands='@containers'
        ;;
    run)
        flags='--bundle -b --console-socket --pidfd-socket --detach -d --keep --pid-file --no-subreaper --no-pivot --no-new-keyring --preserve-fds --help -h'
        case $prev in
            --bundle | -b) value='@directories' ;;
            --console-socket) value='@files' ;;
            --pidfd-socket) value='@files' ;;
            --pid-file) value='@files' ;;
            --preserve-fds) value='@any' ;;
        esac
        operands=''
        ;;
    spec)
        flags='--bundle -b --rootless --help -h'
        case $prev in
            --bundle | -b) value='@directories' ;;
        esac
        operands=''
        ;;
    start)
        flags='--help -h'
        operands='@containers'
        ;;
    state)
        flags='--help -h'
        operands='@containers'
        ;;
    update)
        flags='--resources -r --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --memory --cpu-idle --memory-reservation --memory-swap --pids-limit --l3-cache-schema --mem-bw-schema --help -h'
        case $prev in
            --resources | -r) value='@files' ;;
            --blkio-weight) value='@any' ;;
            --cpu-period) value='@any' ;;
            --cpu-quota) value='@any' ;;
            --cpu-burst) value='@any' ;;
            --cpu-share) value='@any' ;;
            --cpu-rt-period) value='@any' ;;
            --cpu-rt-runtime) value='@any' ;;
            --cpuset-cpus) value='@any' ;;
            --cpuset-mems) value='@any' ;;
            --memory) value='@any' ;;
            --cpu-idle) value='@any' ;;
            --memory-reservation) value='@any' ;;
            --memory-swap) value='@any' ;;
            --pids-limit) value='@any' ;;
            --l3-cache-schema) value='@any' ;;
            --mem-bw-schema) value='@any' ;;
        esac
        operands='@containers'
        ;;
    features)
        flags='--help -h'
        operands=''
        ;;
    plan)
        flags='--bundle -b --help -h'
        case $prev in
            --bundle | -b) value='@directories' ;;
        esac
        operands=''
        ;;
    check)
        flags='--bundle -b --help -h'
        case $prev in
            --bundle | -b) value='@directories' ;;
        esac
        operands=''
        ;;
    gc)
        flags='--dry-run --help -h'
        operands=''
        ;;
    completion)
        flags='--help -h'
        operands='bash zsh fish'
        ;;
    help)
        flags='--help -h'
        operands='checkpoint create delete events exec kill list pause ps restore resume run spec start state update features plan check gc completion help'
        ;;
    esac
    case $verb in
    exec | ps)
        # Behind the container everything belongs to the command that runs in it.
        if [ "$count" -gt 0 ]; then
            flags='' value='' operands=@files
        fi
        ;;
    esac
    case $value in
    '') ;;
    @files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
    @directories) mapfile -t COMPREPLY < <(compgen -d -- "$cur") && return ;;
    @any) return ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$value" -- "$cur") && return ;;
    esac
    case $cur in
    -*) operands=$flags ;;
    esac
    case $operands in
    @files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    @directories) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    @containers) mapfile -t COMPREPLY < <(compgen -W "$(_runb_containers)" -- "$cur") ;;
    @signal)
        if [ "$count" -gt 0 ]; then
            mapfile -t COMPREPLY < <(compgen -W 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -W "$(_runb_containers)" -- "$cur")
        fi
        ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$operands" -- "$cur") ;;
    esac
}

complete -o filenames -o bashdefault -F _runb runb
