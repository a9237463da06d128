# bash completion for brig, made by `brig completion bash`.

_brig_images() {
    brig images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep -v '<none>'
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
                image | system | completion) path="$path $word" ;;
                esac
                depth=2
            fi
            ;;
        esac
    done
    case $path in
    '')
        flags='--config --debug -D --log-level -l --root --version -v --help'
        operands='pull push images login logout search version info image system completion bundle unbundle history import inspect load rmi save tag'
        case $prev in
        --config) value='@directories' ;;
        --log-level | -l) value='debug info warn error fatal' ;;
        --root) value='@directories' ;;
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
    'image')
        flags='--help'
        operands='history import inspect load ls mount prune pull push rm save tag unmount'
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
    'system')
        flags='--help'
        operands='check df info prune'
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
        operands='@images'
        case $prev in
        --format | -f) value='@any' ;;
        --type) value='image' ;;
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
    'tag')
        flags='--help'
        operands='@images'
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
