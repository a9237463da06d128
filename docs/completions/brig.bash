# bash completion for brig, made by `brig completion bash`.

_brig_images() {
    brig images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep -v '<none>'
}

_brig_containers() {
    brig ps -a --format '{{.Names}}' 2>/dev/null
}

_brig_networks() {
    brig network ls --format '{{.Name}}' 2>/dev/null
}

_brig_volumes() {
    brig volume ls -q 2>/dev/null
}

_brig() {
    local cur prev words=() word i path='' depth=0 flags='' value='' operands=''
    # A colon is part of a name here, so the line is taken apart at spaces alone.
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    case ${COMP_LINE:0:COMP_POINT} in
    *' ') cur='' prev=${words[${#words[@]} - 1]} ;;
    *)
        cur=${words[${#words[@]} - 1]} prev=${words[${#words[@]} - 2]:-}
        unset "words[${#words[@]}-1]"
        ;;
    esac
    COMPREPLY=()
    for ((i = 1; i < ${#words[@]}; i++)); do
        word=${words[i]}
        case $word in
        --config | --log-level | -l | --root) [ "$depth" -gt 0 ] || ((i++)) ;;
        -*) ;;
        *)
            [ "$depth" -lt 2 ] || break
            if [ "$depth" -eq 0 ]; then
                path=$word depth=1
            else
                case $path in
                builder | buildx | container | image | network | system | volume | completion) path="$path $word" ;;
                esac
                depth=2
            fi
            ;;
        esac
    done
    case $path in
    '')
        flags='--config --debug -D --log-level -l --root --version -v --help'
        operands='run exec ps build pull push images login logout search version info builder buildx container image network system volume attach completion bundle unbundle commit cp create diff export events history import inspect kill load logs pause port rename restart rm rmi save start stats stop tag top unpause update wait'
        case $prev in
        --config) value='@directories' ;;
        --log-level | -l) value='debug info warn error fatal' ;;
        --root) value='@directories' ;;
        esac
        ;;
    'run')
        flags='--add-host --annotation --attach -a --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --platform --privileged --publish -p --publish-all -P --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --detach -d --detach-keys --sig-proxy --help'
        operands='@images'
        case $prev in
        --add-host) value='@any' ;;
        --annotation) value='@any' ;;
        --attach | -a) value='@any' ;;
        --blkio-weight-device) value='@any' ;;
        --cap-add) value='@any' ;;
        --cap-drop) value='@any' ;;
        --cgroup-parent) value='@any' ;;
        --cgroupns) value='host private' ;;
        --cidfile) value='@files' ;;
        --device) value='@files' ;;
        --device-cgroup-rule) value='@any' ;;
        --device-read-bps) value='@any' ;;
        --device-read-iops) value='@any' ;;
        --device-write-bps) value='@any' ;;
        --device-write-iops) value='@any' ;;
        --dns) value='@any' ;;
        --dns-option) value='@any' ;;
        --dns-search) value='@any' ;;
        --domainname) value='@any' ;;
        --entrypoint) value='@any' ;;
        --env | -e) value='@any' ;;
        --env-file) value='@files' ;;
        --expose) value='@any' ;;
        --gpus) value='@any' ;;
        --group-add) value='@any' ;;
        --health-cmd) value='@any' ;;
        --health-interval) value='@any' ;;
        --health-retries) value='@any' ;;
        --health-start-interval) value='@any' ;;
        --health-start-period) value='@any' ;;
        --health-timeout) value='@any' ;;
        --hostname | -h) value='@any' ;;
        --ip) value='@any' ;;
        --ip6) value='@any' ;;
        --ipc) value='@any' ;;
        --label | -l) value='@any' ;;
        --label-file) value='@files' ;;
        --link) value='@any' ;;
        --link-local-ip) value='@any' ;;
        --log-driver) value='json-file local journald none' ;;
        --log-opt) value='@any' ;;
        --mac-address) value='@any' ;;
        --memory-swappiness) value='@any' ;;
        --mount) value='@any' ;;
        --name) value='@any' ;;
        --network) value='@any' ;;
        --network-alias) value='@any' ;;
        --oom-score-adj) value='@any' ;;
        --pid) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --publish | -p) value='@any' ;;
        --pull) value='always missing never' ;;
        --restart) value='no always unless-stopped on-failure' ;;
        --runtime) value='@any' ;;
        --security-opt) value='@any' ;;
        --shm-size) value='@any' ;;
        --stop-signal) value='@any' ;;
        --stop-timeout) value='@any' ;;
        --storage-opt) value='@any' ;;
        --sysctl) value='@any' ;;
        --tmpfs) value='@any' ;;
        --ulimit) value='@any' ;;
        --user | -u) value='@any' ;;
        --userns) value='@any' ;;
        --uts) value='@any' ;;
        --volume | -v) value='@any' ;;
        --volume-driver) value='@any' ;;
        --volumes-from) value='@any' ;;
        --workdir | -w) value='@any' ;;
        --blkio-weight) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpu-rt-period) value='@any' ;;
        --cpu-rt-runtime) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpus) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-reservation) value='@any' ;;
        --memory-swap) value='@any' ;;
        --pids-limit) value='@any' ;;
        --detach-keys) value='@any' ;;
        esac
        ;;
    'exec')
        flags='--detach -d --detach-keys --env -e --env-file --interactive -i --privileged --tty -t --user -u --workdir -w --help'
        operands='@containers'
        case $prev in
        --detach-keys) value='@any' ;;
        --env | -e) value='@any' ;;
        --env-file) value='@files' ;;
        --user | -u) value='@any' ;;
        --workdir | -w) value='@any' ;;
        esac
        ;;
    'ps')
        flags='--all -a --filter -f --format --last -n --latest -l --no-trunc --quiet -q --size -s --help'
        operands=''
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        --last | -n) value='@any' ;;
        esac
        ;;
    'build')
        flags='--add-host --allow --annotation --attest --build-arg --build-context --cache-from --cache-to --call --cgroup-parent --check --debug -D --file -f --iidfile --label --load --metadata-file --network --no-cache --no-cache-filter --output -o --platform --progress --provenance --pull --push --quiet -q --resource --sbom --secret --shm-size --ssh --tag -t --target --ulimit --memory -m --memory-swap --cpu-shares -c --cpu-period --cpu-quota --cpuset-cpus --cpuset-mems --squash --jobs --help'
        operands='@directories'
        case $prev in
        --add-host) value='@any' ;;
        --allow) value='network.host security.insecure device' ;;
        --annotation) value='@any' ;;
        --attest) value='@any' ;;
        --build-arg) value='@any' ;;
        --build-context) value='@any' ;;
        --cache-from) value='@any' ;;
        --cache-to) value='@any' ;;
        --call) value='build check outline targets' ;;
        --cgroup-parent) value='@any' ;;
        --file | -f) value='@files' ;;
        --iidfile) value='@files' ;;
        --label) value='@any' ;;
        --metadata-file) value='@files' ;;
        --network) value='default none host' ;;
        --no-cache-filter) value='@any' ;;
        --output | -o) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --progress) value='auto none plain quiet rawjson tty' ;;
        --provenance) value='@any' ;;
        --resource) value='@any' ;;
        --sbom) value='@any' ;;
        --secret) value='@any' ;;
        --shm-size) value='@any' ;;
        --ssh) value='@any' ;;
        --tag | -t) value='@any' ;;
        --target) value='@any' ;;
        --ulimit) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-swap) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --jobs) value='@any' ;;
        esac
        ;;
    'pull')
        flags='--all-tags -a --platform --quiet -q --help'
        operands='@images'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'push')
        flags='--all-tags -a --platform --quiet -q --help'
        operands='@images'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'images')
        flags='--all -a --digests --filter -f --format --no-trunc --quiet -q --help'
        operands='@images'
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        esac
        ;;
    'login')
        flags='--password -p --password-stdin --username -u --help'
        operands=''
        case $prev in
        --password | -p) value='@any' ;;
        --username | -u) value='@any' ;;
        esac
        ;;
    'logout')
        flags='--help'
        operands=''
        ;;
    'search')
        flags='--filter -f --format --limit --no-trunc --help'
        operands=''
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        --limit) value='@any' ;;
        esac
        ;;
    'version')
        flags='--format -f --help'
        operands=''
        case $prev in
        --format | -f) value='@any' ;;
        esac
        ;;
    'info')
        flags='--format -f --help'
        operands=''
        case $prev in
        --format | -f) value='@any' ;;
        esac
        ;;
    'builder')
        flags='--help'
        operands='build prune'
        ;;
    'builder build')
        flags='--add-host --allow --annotation --attest --build-arg --build-context --cache-from --cache-to --call --cgroup-parent --check --debug -D --file -f --iidfile --label --load --metadata-file --network --no-cache --no-cache-filter --output -o --platform --progress --provenance --pull --push --quiet -q --resource --sbom --secret --shm-size --ssh --tag -t --target --ulimit --memory -m --memory-swap --cpu-shares -c --cpu-period --cpu-quota --cpuset-cpus --cpuset-mems --squash --jobs --help'
        operands='@directories'
        case $prev in
        --add-host) value='@any' ;;
        --allow) value='network.host security.insecure device' ;;
        --annotation) value='@any' ;;
        --attest) value='@any' ;;
        --build-arg) value='@any' ;;
        --build-context) value='@any' ;;
        --cache-from) value='@any' ;;
        --cache-to) value='@any' ;;
        --call) value='build check outline targets' ;;
        --cgroup-parent) value='@any' ;;
        --file | -f) value='@files' ;;
        --iidfile) value='@files' ;;
        --label) value='@any' ;;
        --metadata-file) value='@files' ;;
        --network) value='default none host' ;;
        --no-cache-filter) value='@any' ;;
        --output | -o) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --progress) value='auto none plain quiet rawjson tty' ;;
        --provenance) value='@any' ;;
        --resource) value='@any' ;;
        --sbom) value='@any' ;;
        --secret) value='@any' ;;
        --shm-size) value='@any' ;;
        --ssh) value='@any' ;;
        --tag | -t) value='@any' ;;
        --target) value='@any' ;;
        --ulimit) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-swap) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --jobs) value='@any' ;;
        esac
        ;;
    'builder prune')
        flags='--all -a --filter --force -f --max-used-space --min-free-space --reserved-space --verbose --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        --max-used-space) value='@any' ;;
        --min-free-space) value='@any' ;;
        --reserved-space) value='@any' ;;
        esac
        ;;
    'buildx')
        flags='--help'
        operands='build du inspect ls prune version'
        ;;
    'buildx build')
        flags='--add-host --allow --annotation --attest --build-arg --build-context --cache-from --cache-to --call --cgroup-parent --check --debug -D --file -f --iidfile --label --load --metadata-file --network --no-cache --no-cache-filter --output -o --platform --progress --provenance --pull --push --quiet -q --resource --sbom --secret --shm-size --ssh --tag -t --target --ulimit --memory -m --memory-swap --cpu-shares -c --cpu-period --cpu-quota --cpuset-cpus --cpuset-mems --squash --jobs --help'
        operands='@directories'
        case $prev in
        --add-host) value='@any' ;;
        --allow) value='network.host security.insecure device' ;;
        --annotation) value='@any' ;;
        --attest) value='@any' ;;
        --build-arg) value='@any' ;;
        --build-context) value='@any' ;;
        --cache-from) value='@any' ;;
        --cache-to) value='@any' ;;
        --call) value='build check outline targets' ;;
        --cgroup-parent) value='@any' ;;
        --file | -f) value='@files' ;;
        --iidfile) value='@files' ;;
        --label) value='@any' ;;
        --metadata-file) value='@files' ;;
        --network) value='default none host' ;;
        --no-cache-filter) value='@any' ;;
        --output | -o) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --progress) value='auto none plain quiet rawjson tty' ;;
        --provenance) value='@any' ;;
        --resource) value='@any' ;;
        --sbom) value='@any' ;;
        --secret) value='@any' ;;
        --shm-size) value='@any' ;;
        --ssh) value='@any' ;;
        --tag | -t) value='@any' ;;
        --target) value='@any' ;;
        --ulimit) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-swap) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --jobs) value='@any' ;;
        esac
        ;;
    'buildx du')
        flags='--filter --format --verbose --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        --format) value='@any' ;;
        esac
        ;;
    'buildx inspect')
        flags='--help'
        operands=''
        ;;
    'buildx ls')
        flags='--format --help'
        operands=''
        case $prev in
        --format) value='@any' ;;
        esac
        ;;
    'buildx prune')
        flags='--all -a --filter --force -f --max-used-space --min-free-space --reserved-space --verbose --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        --max-used-space) value='@any' ;;
        --min-free-space) value='@any' ;;
        --reserved-space) value='@any' ;;
        esac
        ;;
    'buildx version')
        flags='--help'
        operands=''
        ;;
    'container')
        flags='--help'
        operands='attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run start stats stop top unpause update wait'
        ;;
    'container attach')
        flags='--detach-keys --no-stdin --sig-proxy --help'
        operands='@containers'
        case $prev in
        --detach-keys) value='@any' ;;
        esac
        ;;
    'container commit')
        flags='--author -a --change -c --message -m --no-pause --help'
        operands='@containers'
        case $prev in
        --author | -a) value='@any' ;;
        --change | -c) value='@any' ;;
        --message | -m) value='@any' ;;
        esac
        ;;
    'container cp')
        flags='--archive -a --follow-link -L --quiet -q --help'
        operands='@files'
        ;;
    'container create')
        flags='--add-host --annotation --attach -a --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --platform --privileged --publish -p --publish-all -P --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --help'
        operands='@images'
        case $prev in
        --add-host) value='@any' ;;
        --annotation) value='@any' ;;
        --attach | -a) value='@any' ;;
        --blkio-weight-device) value='@any' ;;
        --cap-add) value='@any' ;;
        --cap-drop) value='@any' ;;
        --cgroup-parent) value='@any' ;;
        --cgroupns) value='host private' ;;
        --cidfile) value='@files' ;;
        --device) value='@files' ;;
        --device-cgroup-rule) value='@any' ;;
        --device-read-bps) value='@any' ;;
        --device-read-iops) value='@any' ;;
        --device-write-bps) value='@any' ;;
        --device-write-iops) value='@any' ;;
        --dns) value='@any' ;;
        --dns-option) value='@any' ;;
        --dns-search) value='@any' ;;
        --domainname) value='@any' ;;
        --entrypoint) value='@any' ;;
        --env | -e) value='@any' ;;
        --env-file) value='@files' ;;
        --expose) value='@any' ;;
        --gpus) value='@any' ;;
        --group-add) value='@any' ;;
        --health-cmd) value='@any' ;;
        --health-interval) value='@any' ;;
        --health-retries) value='@any' ;;
        --health-start-interval) value='@any' ;;
        --health-start-period) value='@any' ;;
        --health-timeout) value='@any' ;;
        --hostname | -h) value='@any' ;;
        --ip) value='@any' ;;
        --ip6) value='@any' ;;
        --ipc) value='@any' ;;
        --label | -l) value='@any' ;;
        --label-file) value='@files' ;;
        --link) value='@any' ;;
        --link-local-ip) value='@any' ;;
        --log-driver) value='json-file local journald none' ;;
        --log-opt) value='@any' ;;
        --mac-address) value='@any' ;;
        --memory-swappiness) value='@any' ;;
        --mount) value='@any' ;;
        --name) value='@any' ;;
        --network) value='@any' ;;
        --network-alias) value='@any' ;;
        --oom-score-adj) value='@any' ;;
        --pid) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --publish | -p) value='@any' ;;
        --pull) value='always missing never' ;;
        --restart) value='no always unless-stopped on-failure' ;;
        --runtime) value='@any' ;;
        --security-opt) value='@any' ;;
        --shm-size) value='@any' ;;
        --stop-signal) value='@any' ;;
        --stop-timeout) value='@any' ;;
        --storage-opt) value='@any' ;;
        --sysctl) value='@any' ;;
        --tmpfs) value='@any' ;;
        --ulimit) value='@any' ;;
        --user | -u) value='@any' ;;
        --userns) value='@any' ;;
        --uts) value='@any' ;;
        --volume | -v) value='@any' ;;
        --volume-driver) value='@any' ;;
        --volumes-from) value='@any' ;;
        --workdir | -w) value='@any' ;;
        --blkio-weight) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpu-rt-period) value='@any' ;;
        --cpu-rt-runtime) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpus) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-reservation) value='@any' ;;
        --memory-swap) value='@any' ;;
        --pids-limit) value='@any' ;;
        esac
        ;;
    'container diff')
        flags='--help'
        operands='@containers'
        ;;
    'container exec')
        flags='--detach -d --detach-keys --env -e --env-file --interactive -i --privileged --tty -t --user -u --workdir -w --help'
        operands='@containers'
        case $prev in
        --detach-keys) value='@any' ;;
        --env | -e) value='@any' ;;
        --env-file) value='@files' ;;
        --user | -u) value='@any' ;;
        --workdir | -w) value='@any' ;;
        esac
        ;;
    'container export')
        flags='--output -o --help'
        operands='@containers'
        case $prev in
        --output | -o) value='@files' ;;
        esac
        ;;
    'container inspect')
        flags='--format -f --size -s --help'
        operands='@containers'
        case $prev in
        --format | -f) value='@any' ;;
        esac
        ;;
    'container kill')
        flags='--signal -s --help'
        operands='@containers'
        case $prev in
        --signal | -s) value='TERM KILL INT QUIT HUP USR1 USR2' ;;
        esac
        ;;
    'container logs')
        flags='--details --follow -f --since --tail -n --timestamps -t --until --help'
        operands='@containers'
        case $prev in
        --since) value='@any' ;;
        --tail | -n) value='@any' ;;
        --until) value='@any' ;;
        esac
        ;;
    'container ls')
        flags='--all -a --filter -f --format --last -n --latest -l --no-trunc --quiet -q --size -s --help'
        operands=''
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        --last | -n) value='@any' ;;
        esac
        ;;
    'container pause')
        flags='--help'
        operands='@containers'
        ;;
    'container port')
        flags='--help'
        operands='@containers'
        ;;
    'container prune')
        flags='--filter --force -f --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        esac
        ;;
    'container rename')
        flags='--help'
        operands='@containers'
        ;;
    'container restart')
        flags='--signal -s --timeout -t --help'
        operands='@containers'
        case $prev in
        --signal | -s) value='TERM KILL INT QUIT HUP USR1 USR2' ;;
        --timeout | -t) value='@any' ;;
        esac
        ;;
    'container rm')
        flags='--force -f --link -l --volumes -v --help'
        operands='@containers'
        ;;
    'container run')
        flags='--add-host --annotation --attach -a --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --platform --privileged --publish -p --publish-all -P --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --detach -d --detach-keys --sig-proxy --help'
        operands='@images'
        case $prev in
        --add-host) value='@any' ;;
        --annotation) value='@any' ;;
        --attach | -a) value='@any' ;;
        --blkio-weight-device) value='@any' ;;
        --cap-add) value='@any' ;;
        --cap-drop) value='@any' ;;
        --cgroup-parent) value='@any' ;;
        --cgroupns) value='host private' ;;
        --cidfile) value='@files' ;;
        --device) value='@files' ;;
        --device-cgroup-rule) value='@any' ;;
        --device-read-bps) value='@any' ;;
        --device-read-iops) value='@any' ;;
        --device-write-bps) value='@any' ;;
        --device-write-iops) value='@any' ;;
        --dns) value='@any' ;;
        --dns-option) value='@any' ;;
        --dns-search) value='@any' ;;
        --domainname) value='@any' ;;
        --entrypoint) value='@any' ;;
        --env | -e) value='@any' ;;
        --env-file) value='@files' ;;
        --expose) value='@any' ;;
        --gpus) value='@any' ;;
        --group-add) value='@any' ;;
        --health-cmd) value='@any' ;;
        --health-interval) value='@any' ;;
        --health-retries) value='@any' ;;
        --health-start-interval) value='@any' ;;
        --health-start-period) value='@any' ;;
        --health-timeout) value='@any' ;;
        --hostname | -h) value='@any' ;;
        --ip) value='@any' ;;
        --ip6) value='@any' ;;
        --ipc) value='@any' ;;
        --label | -l) value='@any' ;;
        --label-file) value='@files' ;;
        --link) value='@any' ;;
        --link-local-ip) value='@any' ;;
        --log-driver) value='json-file local journald none' ;;
        --log-opt) value='@any' ;;
        --mac-address) value='@any' ;;
        --memory-swappiness) value='@any' ;;
        --mount) value='@any' ;;
        --name) value='@any' ;;
        --network) value='@any' ;;
        --network-alias) value='@any' ;;
        --oom-score-adj) value='@any' ;;
        --pid) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --publish | -p) value='@any' ;;
        --pull) value='always missing never' ;;
        --restart) value='no always unless-stopped on-failure' ;;
        --runtime) value='@any' ;;
        --security-opt) value='@any' ;;
        --shm-size) value='@any' ;;
        --stop-signal) value='@any' ;;
        --stop-timeout) value='@any' ;;
        --storage-opt) value='@any' ;;
        --sysctl) value='@any' ;;
        --tmpfs) value='@any' ;;
        --ulimit) value='@any' ;;
        --user | -u) value='@any' ;;
        --userns) value='@any' ;;
        --uts) value='@any' ;;
        --volume | -v) value='@any' ;;
        --volume-driver) value='@any' ;;
        --volumes-from) value='@any' ;;
        --workdir | -w) value='@any' ;;
        --blkio-weight) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpu-rt-period) value='@any' ;;
        --cpu-rt-runtime) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpus) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-reservation) value='@any' ;;
        --memory-swap) value='@any' ;;
        --pids-limit) value='@any' ;;
        --detach-keys) value='@any' ;;
        esac
        ;;
    'container start')
        flags='--attach -a --detach-keys --interactive -i --help'
        operands='@containers'
        case $prev in
        --detach-keys) value='@any' ;;
        esac
        ;;
    'container stats')
        flags='--all -a --format --no-stream --no-trunc --help'
        operands='@containers'
        case $prev in
        --format) value='@any' ;;
        esac
        ;;
    'container stop')
        flags='--signal -s --timeout -t --help'
        operands='@containers'
        case $prev in
        --signal | -s) value='TERM KILL INT QUIT HUP USR1 USR2' ;;
        --timeout | -t) value='@any' ;;
        esac
        ;;
    'container top')
        flags='--help'
        operands='@containers'
        ;;
    'container unpause')
        flags='--help'
        operands='@containers'
        ;;
    'container update')
        flags='--blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --restart --help'
        operands='@containers'
        case $prev in
        --blkio-weight) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpu-rt-period) value='@any' ;;
        --cpu-rt-runtime) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpus) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-reservation) value='@any' ;;
        --memory-swap) value='@any' ;;
        --pids-limit) value='@any' ;;
        --restart) value='no always unless-stopped on-failure' ;;
        esac
        ;;
    'container wait')
        flags='--help'
        operands='@containers'
        ;;
    'image')
        flags='--help'
        operands='build history import inspect load ls mount prune pull push rm save tag unmount'
        ;;
    'image build')
        flags='--add-host --allow --annotation --attest --build-arg --build-context --cache-from --cache-to --call --cgroup-parent --check --debug -D --file -f --iidfile --label --load --metadata-file --network --no-cache --no-cache-filter --output -o --platform --progress --provenance --pull --push --quiet -q --resource --sbom --secret --shm-size --ssh --tag -t --target --ulimit --memory -m --memory-swap --cpu-shares -c --cpu-period --cpu-quota --cpuset-cpus --cpuset-mems --squash --jobs --help'
        operands='@directories'
        case $prev in
        --add-host) value='@any' ;;
        --allow) value='network.host security.insecure device' ;;
        --annotation) value='@any' ;;
        --attest) value='@any' ;;
        --build-arg) value='@any' ;;
        --build-context) value='@any' ;;
        --cache-from) value='@any' ;;
        --cache-to) value='@any' ;;
        --call) value='build check outline targets' ;;
        --cgroup-parent) value='@any' ;;
        --file | -f) value='@files' ;;
        --iidfile) value='@files' ;;
        --label) value='@any' ;;
        --metadata-file) value='@files' ;;
        --network) value='default none host' ;;
        --no-cache-filter) value='@any' ;;
        --output | -o) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --progress) value='auto none plain quiet rawjson tty' ;;
        --provenance) value='@any' ;;
        --resource) value='@any' ;;
        --sbom) value='@any' ;;
        --secret) value='@any' ;;
        --shm-size) value='@any' ;;
        --ssh) value='@any' ;;
        --tag | -t) value='@any' ;;
        --target) value='@any' ;;
        --ulimit) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-swap) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --jobs) value='@any' ;;
        esac
        ;;
    'image history')
        flags='--format --human -H --no-trunc --platform --quiet -q --help'
        operands='@images'
        case $prev in
        --format) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image import')
        flags='--change -c --message -m --platform --help'
        operands='@files'
        case $prev in
        --change | -c) value='@any' ;;
        --message | -m) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image inspect')
        flags='--format -f --platform --help'
        operands='@images'
        case $prev in
        --format | -f) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image load')
        flags='--input -i --platform --quiet -q --help'
        operands=''
        case $prev in
        --input | -i) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image ls')
        flags='--all -a --digests --filter -f --format --no-trunc --quiet -q --help'
        operands='@images'
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        esac
        ;;
    'image mount')
        flags='--platform --help'
        operands='@images-and-directories'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image prune')
        flags='--all -a --filter --force -f --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        esac
        ;;
    'image pull')
        flags='--all-tags -a --platform --quiet -q --help'
        operands='@images'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image push')
        flags='--all-tags -a --platform --quiet -q --help'
        operands='@images'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image rm')
        flags='--force -f --no-prune --platform --help'
        operands='@images'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image save')
        flags='--output -o --platform --help'
        operands='@images'
        case $prev in
        --output | -o) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'image tag')
        flags='--help'
        operands='@images'
        ;;
    'image unmount')
        flags='--help'
        operands='@images'
        ;;
    'network')
        flags='--help'
        operands='connect create disconnect inspect ls prune reload rm'
        ;;
    'network connect')
        flags='--alias --driver-opt --gw-priority --ip --ip6 --link --link-local-ip --help'
        operands='@networks'
        case $prev in
        --alias) value='@any' ;;
        --driver-opt) value='@any' ;;
        --gw-priority) value='@any' ;;
        --ip) value='@any' ;;
        --ip6) value='@any' ;;
        --link) value='@any' ;;
        --link-local-ip) value='@any' ;;
        esac
        ;;
    'network create')
        flags='--attachable --aux-address --driver -d --gateway --internal --ip-range --ipam-driver --ipam-opt --ipv4 --ipv6 --label --opt -o --subnet --help'
        operands=''
        case $prev in
        --aux-address) value='@any' ;;
        --driver | -d) value='bridge macvlan ipvlan' ;;
        --gateway) value='@any' ;;
        --ip-range) value='@any' ;;
        --ipam-driver) value='@any' ;;
        --ipam-opt) value='@any' ;;
        --label) value='@any' ;;
        --opt | -o) value='@any' ;;
        --subnet) value='@any' ;;
        esac
        ;;
    'network disconnect')
        flags='--force -f --help'
        operands='@networks'
        ;;
    'network inspect')
        flags='--format -f --verbose -v --help'
        operands='@networks'
        case $prev in
        --format | -f) value='@any' ;;
        esac
        ;;
    'network ls')
        flags='--filter -f --format --no-trunc --quiet -q --help'
        operands=''
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        esac
        ;;
    'network prune')
        flags='--filter --force -f --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        esac
        ;;
    'network reload')
        flags='--help'
        operands=''
        ;;
    'network rm')
        flags='--force -f --help'
        operands='@networks'
        ;;
    'system')
        flags='--help'
        operands='check df info prune start stop events'
        ;;
    'system check')
        flags='--quick --repair --help'
        operands=''
        ;;
    'system df')
        flags='--format --verbose -v --help'
        operands=''
        case $prev in
        --format) value='@any' ;;
        esac
        ;;
    'system info')
        flags='--format -f --help'
        operands=''
        case $prev in
        --format | -f) value='@any' ;;
        esac
        ;;
    'system prune')
        flags='--all -a --filter --force -f --volumes --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        esac
        ;;
    'system start')
        flags='--help'
        operands=''
        ;;
    'system stop')
        flags='--timeout -t --help'
        operands=''
        case $prev in
        --timeout | -t) value='@any' ;;
        esac
        ;;
    'system events')
        flags='--filter -f --format --since --until --help'
        operands=''
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        --since) value='@any' ;;
        --until) value='@any' ;;
        esac
        ;;
    'volume')
        flags='--help'
        operands='create inspect ls prune rm update'
        ;;
    'volume create')
        flags='--driver -d --label --opt -o --help'
        operands=''
        case $prev in
        --driver | -d) value='@any' ;;
        --label) value='@any' ;;
        --opt | -o) value='@any' ;;
        esac
        ;;
    'volume inspect')
        flags='--format -f --help'
        operands='@volumes'
        case $prev in
        --format | -f) value='@any' ;;
        esac
        ;;
    'volume ls')
        flags='--filter -f --format --quiet -q --help'
        operands=''
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        esac
        ;;
    'volume prune')
        flags='--all -a --filter --force -f --help'
        operands=''
        case $prev in
        --filter) value='@any' ;;
        esac
        ;;
    'volume rm')
        flags='--force -f --help'
        operands='@volumes'
        ;;
    'volume update')
        flags='--availability --help'
        operands='@volumes'
        case $prev in
        --availability) value='@any' ;;
        esac
        ;;
    'attach')
        flags='--detach-keys --no-stdin --sig-proxy --help'
        operands='@containers'
        case $prev in
        --detach-keys) value='@any' ;;
        esac
        ;;
    'completion')
        flags='--help'
        operands='bash fish zsh'
        ;;
    'completion bash')
        flags='--help'
        operands=''
        ;;
    'completion fish')
        flags='--help'
        operands=''
        ;;
    'completion zsh')
        flags='--help'
        operands=''
        ;;
    'bundle')
        flags='--platform --help'
        operands='@images-and-directories'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'unbundle')
        flags='--help'
        operands='@directories'
        ;;
    'commit')
        flags='--author -a --change -c --message -m --no-pause --help'
        operands='@containers'
        case $prev in
        --author | -a) value='@any' ;;
        --change | -c) value='@any' ;;
        --message | -m) value='@any' ;;
        esac
        ;;
    'cp')
        flags='--archive -a --follow-link -L --quiet -q --help'
        operands='@files'
        ;;
    'create')
        flags='--add-host --annotation --attach -a --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --platform --privileged --publish -p --publish-all -P --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --help'
        operands='@images'
        case $prev in
        --add-host) value='@any' ;;
        --annotation) value='@any' ;;
        --attach | -a) value='@any' ;;
        --blkio-weight-device) value='@any' ;;
        --cap-add) value='@any' ;;
        --cap-drop) value='@any' ;;
        --cgroup-parent) value='@any' ;;
        --cgroupns) value='host private' ;;
        --cidfile) value='@files' ;;
        --device) value='@files' ;;
        --device-cgroup-rule) value='@any' ;;
        --device-read-bps) value='@any' ;;
        --device-read-iops) value='@any' ;;
        --device-write-bps) value='@any' ;;
        --device-write-iops) value='@any' ;;
        --dns) value='@any' ;;
        --dns-option) value='@any' ;;
        --dns-search) value='@any' ;;
        --domainname) value='@any' ;;
        --entrypoint) value='@any' ;;
        --env | -e) value='@any' ;;
        --env-file) value='@files' ;;
        --expose) value='@any' ;;
        --gpus) value='@any' ;;
        --group-add) value='@any' ;;
        --health-cmd) value='@any' ;;
        --health-interval) value='@any' ;;
        --health-retries) value='@any' ;;
        --health-start-interval) value='@any' ;;
        --health-start-period) value='@any' ;;
        --health-timeout) value='@any' ;;
        --hostname | -h) value='@any' ;;
        --ip) value='@any' ;;
        --ip6) value='@any' ;;
        --ipc) value='@any' ;;
        --label | -l) value='@any' ;;
        --label-file) value='@files' ;;
        --link) value='@any' ;;
        --link-local-ip) value='@any' ;;
        --log-driver) value='json-file local journald none' ;;
        --log-opt) value='@any' ;;
        --mac-address) value='@any' ;;
        --memory-swappiness) value='@any' ;;
        --mount) value='@any' ;;
        --name) value='@any' ;;
        --network) value='@any' ;;
        --network-alias) value='@any' ;;
        --oom-score-adj) value='@any' ;;
        --pid) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        --publish | -p) value='@any' ;;
        --pull) value='always missing never' ;;
        --restart) value='no always unless-stopped on-failure' ;;
        --runtime) value='@any' ;;
        --security-opt) value='@any' ;;
        --shm-size) value='@any' ;;
        --stop-signal) value='@any' ;;
        --stop-timeout) value='@any' ;;
        --storage-opt) value='@any' ;;
        --sysctl) value='@any' ;;
        --tmpfs) value='@any' ;;
        --ulimit) value='@any' ;;
        --user | -u) value='@any' ;;
        --userns) value='@any' ;;
        --uts) value='@any' ;;
        --volume | -v) value='@any' ;;
        --volume-driver) value='@any' ;;
        --volumes-from) value='@any' ;;
        --workdir | -w) value='@any' ;;
        --blkio-weight) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpu-rt-period) value='@any' ;;
        --cpu-rt-runtime) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpus) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-reservation) value='@any' ;;
        --memory-swap) value='@any' ;;
        --pids-limit) value='@any' ;;
        esac
        ;;
    'diff')
        flags='--help'
        operands='@containers'
        ;;
    'export')
        flags='--output -o --help'
        operands='@containers'
        case $prev in
        --output | -o) value='@files' ;;
        esac
        ;;
    'events')
        flags='--filter -f --format --since --until --help'
        operands=''
        case $prev in
        --filter | -f) value='@any' ;;
        --format) value='@any' ;;
        --since) value='@any' ;;
        --until) value='@any' ;;
        esac
        ;;
    'history')
        flags='--format --human -H --no-trunc --platform --quiet -q --help'
        operands='@images'
        case $prev in
        --format) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'import')
        flags='--change -c --message -m --platform --help'
        operands='@files'
        case $prev in
        --change | -c) value='@any' ;;
        --message | -m) value='@any' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'inspect')
        flags='--format -f --size -s --type --help'
        operands='@containers'
        case $prev in
        --format | -f) value='@any' ;;
        --type) value='container image network volume' ;;
        esac
        ;;
    'kill')
        flags='--signal -s --help'
        operands='@containers'
        case $prev in
        --signal | -s) value='TERM KILL INT QUIT HUP USR1 USR2' ;;
        esac
        ;;
    'load')
        flags='--input -i --platform --quiet -q --help'
        operands=''
        case $prev in
        --input | -i) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'logs')
        flags='--details --follow -f --since --tail -n --timestamps -t --until --help'
        operands='@containers'
        case $prev in
        --since) value='@any' ;;
        --tail | -n) value='@any' ;;
        --until) value='@any' ;;
        esac
        ;;
    'pause')
        flags='--help'
        operands='@containers'
        ;;
    'port')
        flags='--help'
        operands='@containers'
        ;;
    'rename')
        flags='--help'
        operands='@containers'
        ;;
    'restart')
        flags='--signal -s --timeout -t --help'
        operands='@containers'
        case $prev in
        --signal | -s) value='TERM KILL INT QUIT HUP USR1 USR2' ;;
        --timeout | -t) value='@any' ;;
        esac
        ;;
    'rm')
        flags='--force -f --link -l --volumes -v --help'
        operands='@containers'
        ;;
    'rmi')
        flags='--force -f --no-prune --platform --help'
        operands='@images'
        case $prev in
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'save')
        flags='--output -o --platform --help'
        operands='@images'
        case $prev in
        --output | -o) value='@files' ;;
        --platform) value='linux/amd64 linux/arm64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x' ;;
        esac
        ;;
    'start')
        flags='--attach -a --detach-keys --interactive -i --help'
        operands='@containers'
        case $prev in
        --detach-keys) value='@any' ;;
        esac
        ;;
    'stats')
        flags='--all -a --format --no-stream --no-trunc --help'
        operands='@containers'
        case $prev in
        --format) value='@any' ;;
        esac
        ;;
    'stop')
        flags='--signal -s --timeout -t --help'
        operands='@containers'
        case $prev in
        --signal | -s) value='TERM KILL INT QUIT HUP USR1 USR2' ;;
        --timeout | -t) value='@any' ;;
        esac
        ;;
    'tag')
        flags='--help'
        operands='@images'
        ;;
    'top')
        flags='--help'
        operands='@containers'
        ;;
    'unpause')
        flags='--help'
        operands='@containers'
        ;;
    'update')
        flags='--blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --restart --help'
        operands='@containers'
        case $prev in
        --blkio-weight) value='@any' ;;
        --cpu-period) value='@any' ;;
        --cpu-quota) value='@any' ;;
        --cpu-rt-period) value='@any' ;;
        --cpu-rt-runtime) value='@any' ;;
        --cpu-shares | -c) value='@any' ;;
        --cpus) value='@any' ;;
        --cpuset-cpus) value='@any' ;;
        --cpuset-mems) value='@any' ;;
        --memory | -m) value='@any' ;;
        --memory-reservation) value='@any' ;;
        --memory-swap) value='@any' ;;
        --pids-limit) value='@any' ;;
        --restart) value='no always unless-stopped on-failure' ;;
        esac
        ;;
    'wait')
        flags='--help'
        operands='@containers'
        ;;
    esac
    [ -z "$value" ] || operands=$value
    [ "$value" != @any ] || return
    case $cur in
    -*) [ -n "$value" ] || operands=$flags ;;
    esac
    case $operands in
    @files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    @directories) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    @images) mapfile -t COMPREPLY < <(compgen -W "$(_brig_images)" -- "$cur") ;;
    @containers) mapfile -t COMPREPLY < <(compgen -W "$(_brig_containers)" -- "$cur") ;;
    @networks) mapfile -t COMPREPLY < <(compgen -W "$(_brig_networks)" -- "$cur") ;;
    @volumes) mapfile -t COMPREPLY < <(compgen -W "$(_brig_volumes)" -- "$cur") ;;
    @images-and-directories) mapfile -t COMPREPLY < <(compgen -d -W "$(_brig_images)" -- "$cur") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$operands" -- "$cur") ;;
    esac
    # What bash takes for words ends at a colon, so what stands before it must not come again.
    case $cur in
    *:*)
        local before=${cur%"${cur##*:}"}
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"$before"}; done
        ;;
    esac
}

complete -o filenames -o bashdefault -F _brig brig
