//! Completion scripts, made from the tables.
//!
//! May not: run anything but `images` and `ps` when a shell asks for names.

use crate::command::Command;
use crate::commands::ROOT;
use crate::flags::{Flag, HELP, Offers, Shown, Takes};

/// Who will read the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The script for a shell. It completes the program of that name.
pub fn script(shell: Shell, name: &str) -> String {
    match shell {
        Shell::Bash => bash(name),
        Shell::Zsh => zsh(name),
        Shell::Fish => fish(name),
    }
}

/// Every command with the words that lead to it; the program itself has none.
fn every() -> Vec<(Vec<&'static str>, &'static Command)> {
    let mut all = vec![(Vec::new(), &ROOT)];
    for command in ROOT.shown() {
        all.push((vec![command.name], command));
        all.extend(command.shown().map(|c| (vec![command.name, c.name], c)));
    }
    all
}

fn shown(command: &'static Command) -> impl Iterator<Item = &'static Flag> {
    command
        .flags
        .iter()
        .filter(|f| f.shown == Shown::Yes)
        .chain([&HELP])
}

fn spellings(flag: &Flag) -> Vec<String> {
    let short = flag.short.filter(|_| flag.name != HELP.name);
    std::iter::once(format!("--{}", flag.name))
        .chain(short.map(|c| format!("-{c}")))
        .collect()
}

fn takes_value(flag: &Flag) -> bool {
    !matches!(flag.takes, Takes::Switch(_))
}

/// What bash and zsh understand: words, or a name with an at sign.
fn offered(offers: Offers, command: &'static Command) -> String {
    match offers {
        Offers::Nothing => String::new(),
        Offers::Files => "@files".to_owned(),
        Offers::Directories => "@directories".to_owned(),
        Offers::Choice(words) => words.join(" "),
        Offers::Images => "@images".to_owned(),
        Offers::Containers => "@containers".to_owned(),
        Offers::Networks => "@networks".to_owned(),
        Offers::Volumes => "@volumes".to_owned(),
        Offers::ImageAndDirectory => "@images-and-directories".to_owned(),
        Offers::Commands => command.shown().map(|c| c.name).collect::<Vec<_>>().join(" "),
    }
}

// ---- bash --------------------------------------------------------------------------------------------------------

fn bash(name: &str) -> String {
    let mut cases = String::new();
    for (path, command) in every() {
        let flags: Vec<String> = shown(command).flat_map(spellings).collect();
        let values: String = shown(command)
            .filter(|f| takes_value(f))
            .map(|f| {
                format!(
                    "        {}) value='{}' ;;\n",
                    spellings(f).join(" | "),
                    match offered(f.offers, command).as_str() {
                        "" => "@any",
                        offered => offered,
                    }
                )
            })
            .collect();
        let values = match values.as_str() {
            "" => String::new(),
            values => format!("        case $prev in\n{values}        esac\n"),
        };
        cases.push_str(&format!(
            "    '{}')\n        flags='{}'\n        operands='{}'\n{values}        ;;\n",
            path.join(" "),
            flags.join(" "),
            offered(command.offers, command),
        ));
    }
    let groups: Vec<&str> = ROOT.shown().filter(|c| c.is_group()).map(|c| c.name).collect();
    let with_value: Vec<String> = shown(&ROOT)
        .filter(|f| takes_value(f))
        .flat_map(spellings)
        .collect();
    format!(
        r#"# bash completion for {name}, made by `{name} completion bash`.

_{name}_images() {{
    {name} images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' 2>/dev/null | grep -v '<none>'
}}

_{name}_containers() {{
    {name} ps -a --format '{{{{.Names}}}}' 2>/dev/null
}}

_{name}_networks() {{
    {name} network ls --format '{{{{.Name}}}}' 2>/dev/null
}}

_{name}_volumes() {{
    {name} volume ls -q 2>/dev/null
}}

_{name}() {{
    local cur prev words=() word i path='' depth=0 flags='' value='' operands=''
    # A colon is part of a name here, so the line is taken apart at spaces alone.
    read -ra words <<<"${{COMP_LINE:0:COMP_POINT}}"
    case ${{COMP_LINE:0:COMP_POINT}} in
    *' ') cur='' prev=${{words[${{#words[@]}} - 1]}} ;;
    *)
        cur=${{words[${{#words[@]}} - 1]}} prev=${{words[${{#words[@]}} - 2]:-}}
        unset "words[${{#words[@]}}-1]"
        ;;
    esac
    COMPREPLY=()
    for ((i = 1; i < ${{#words[@]}}; i++)); do
        word=${{words[i]}}
        case $word in
        {with_value}) [ "$depth" -gt 0 ] || ((i++)) ;;
        -*) ;;
        *)
            [ "$depth" -lt 2 ] || break
            if [ "$depth" -eq 0 ]; then
                path=$word depth=1
            else
                case $path in
                {groups}) path="$path $word" ;;
                esac
                depth=2
            fi
            ;;
        esac
    done
    case $path in
{cases}    esac
    [ -z "$value" ] || operands=$value
    [ "$value" != @any ] || return
    case $cur in
    -*) [ -n "$value" ] || operands=$flags ;;
    esac
    case $operands in
    @files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    @directories) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    @images) mapfile -t COMPREPLY < <(compgen -W "$(_{name}_images)" -- "$cur") ;;
    @containers) mapfile -t COMPREPLY < <(compgen -W "$(_{name}_containers)" -- "$cur") ;;
    @networks) mapfile -t COMPREPLY < <(compgen -W "$(_{name}_networks)" -- "$cur") ;;
    @volumes) mapfile -t COMPREPLY < <(compgen -W "$(_{name}_volumes)" -- "$cur") ;;
    @images-and-directories) mapfile -t COMPREPLY < <(compgen -d -W "$(_{name}_images)" -- "$cur") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$operands" -- "$cur") ;;
    esac
    # What bash takes for words ends at a colon, so what stands before it must not come again.
    case $cur in
    *:*)
        local before=${{cur%"${{cur##*:}}"}}
        for i in "${{!COMPREPLY[@]}}"; do COMPREPLY[i]=${{COMPREPLY[i]#"$before"}}; done
        ;;
    esac
}}

complete -o filenames -o bashdefault -F _{name} {name}
"#,
        with_value = with_value.join(" | "),
        groups = groups.join(" | "),
    )
}

// ---- zsh ---------------------------------------------------------------------------------------------------------

fn zsh(name: &str) -> String {
    let mut functions = String::new();
    for (path, command) in every().into_iter().filter(|(_, c)| !c.is_group()) {
        functions.push_str(&format!(
            "_{name}_{}() {{\n    _arguments -s -S : \\\n{}        {}\n}}\n\n",
            path.join("_"),
            zsh_flags(command),
            zsh_operands(name, command)
        ));
    }
    for (path, command) in every().into_iter().filter(|(_, c)| c.is_group()) {
        functions.push_str(&zsh_group(name, &path, command));
    }
    format!(
        "#compdef {name}\n# zsh completion for {name}, made by `{name} completion zsh`.\n\n\
         _{name}_images() {{\n    local -a images\n    images=(${{(f)\"$({name} images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' 2>/dev/null | grep -v '<none>')\"}})\n    compadd -a images\n}}\n\n\
         _{name}_containers() {{\n    local -a containers\n    containers=(${{(f)\"$({name} ps -a --format '{{{{.Names}}}}' 2>/dev/null)\"}})\n    compadd -a containers\n}}\n\n\
         _{name}_networks() {{\n    local -a networks\n    networks=(${{(f)\"$({name} network ls --format '{{{{.Name}}}}' 2>/dev/null)\"}})\n    compadd -a networks\n}}\n\n\
         _{name}_volumes() {{\n    local -a volumes\n    volumes=(${{(f)\"$({name} volume ls -q 2>/dev/null)\"}})\n    compadd -a volumes\n}}\n\n\
         {functions}_{name} \"$@\"\n"
    )
}

fn zsh_group(name: &str, path: &[&str], command: &'static Command) -> String {
    let own = std::iter::once(name)
        .chain(path.iter().copied())
        .collect::<Vec<_>>()
        .join("_");
    let list: String = command
        .shown()
        .map(|c| format!("        '{}:{}'\n", c.name, zsh_quote(c.summary)))
        .collect();
    let calls: String = command
        .shown()
        .map(|c| format!("        {}) _{own}_{} ;;\n", c.name, c.name))
        .collect();
    format!(
        "_{own}() {{\n    local curcontext=$curcontext state line\n    local -a commands\n    commands=(\n{list}    )\n    \
         _arguments -C -s : \\\n{}        '1: :->command' '*:: :->rest'\n    case $state in\n    command) _describe command commands ;;\n    rest)\n        case $words[1] in\n{calls}        esac\n        ;;\n    esac\n}}\n\n",
        zsh_flags(command)
    )
}

fn zsh_flags(command: &'static Command) -> String {
    let mut out = String::new();
    for flag in shown(command) {
        let about = zsh_quote(flag.about.lines().next().unwrap_or_default());
        let value = if takes_value(flag) {
            zsh_value(flag)
        } else {
            String::new()
        };
        let repeat = if flag.takes.many() { "*" } else { "" };
        for spelling in spellings(flag) {
            let joint = match (takes_value(flag), spelling.starts_with("--")) {
                (true, true) => "=",
                (true, false) => "+",
                _ => "",
            };
            out.push_str(&format!(
                "        '{repeat}{spelling}{joint}[{about}]{value}' \\\n"
            ));
        }
    }
    out
}

fn zsh_value(flag: &Flag) -> String {
    let what = match flag.offers {
        Offers::Files => "_files".to_owned(),
        Offers::Directories => "_files -/".to_owned(),
        Offers::Choice(words) => format!("({})", words.join(" ")),
        _ => String::new(),
    };
    format!(":{}:{what}", flag.takes.name())
}

fn zsh_operands(name: &str, command: &Command) -> String {
    match command.offers {
        Offers::Images => format!("'*: :_{name}_images'"),
        Offers::Containers => format!("'*: :_{name}_containers'"),
        Offers::Networks => format!("'*: :_{name}_networks'"),
        Offers::Volumes => format!("'*: :_{name}_volumes'"),
        Offers::ImageAndDirectory => format!("'1: :_{name}_images' '2: :_files -/'"),
        Offers::Files => "'*: :_files'".to_owned(),
        Offers::Directories => "'*: :_files -/'".to_owned(),
        _ => "':'".to_owned(),
    }
}

fn zsh_quote(text: &str) -> String {
    text.replace('\'', "'\\''")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace(':', "\\:")
}

// ---- fish --------------------------------------------------------------------------------------------------------

fn fish(name: &str) -> String {
    let mut out = format!(
        "# fish completion for {name}, made by `{name} completion fish`.\n\n\
         function __{name}_images\n    {name} images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' 2>/dev/null | string match -v '*<none>*'\nend\n\n\
         function __{name}_containers\n    {name} ps -a --format '{{{{.Names}}}}' 2>/dev/null\nend\n\n\
         function __{name}_networks\n    {name} network ls --format '{{{{.Name}}}}' 2>/dev/null\nend\n\n\
         function __{name}_volumes\n    {name} volume ls -q 2>/dev/null\nend\n\n\
         # The words of the command so far, without flags and their values.\n\
         function __{name}_path\n    set -l words (commandline -opc)\n    set -e words[1]\n    set -l path\n    set -l skip 0\n    for word in $words\n        \
         if test $skip -eq 1\n            set skip 0\n            continue\n        end\n        switch $word\n            case {with_value}\n                set skip 1\n            case '-*'\n            case '*'\n                set -a path $word\n        end\n    end\n    \
         switch \"$path[1]\"\n        case {groups}\n            echo \"$path[1..2]\"\n        case '*'\n            echo \"$path[1]\"\n    end\nend\n\n\
         function __{name}_at\n    test (__{name}_path | string trim) = \"$argv\"\nend\n\ncomplete -c {name} -f\n",
        with_value = shown(&ROOT)
            .filter(|f| takes_value(f))
            .flat_map(spellings)
            .collect::<Vec<_>>()
            .join(" "),
        groups = ROOT
            .shown()
            .filter(|c| c.is_group())
            .map(|c| c.name)
            .collect::<Vec<_>>()
            .join(" "),
    );
    for (path, command) in every() {
        let at = format!("complete -c {name} -n '__{name}_at {}'", path.join(" "));
        for inner in command.shown() {
            out.push_str(&format!(
                "{at} -a {} -d {}\n",
                inner.name,
                fish_quote(inner.summary)
            ));
        }
        for flag in shown(command) {
            let short = flag
                .short
                .filter(|_| flag.name != HELP.name)
                .map_or_else(String::new, |c| format!(" -s {c}"));
            let value = match (takes_value(flag), flag.offers) {
                (false, _) => String::new(),
                (true, Offers::Choice(words)) => format!(" -x -a '{}'", words.join(" ")),
                (true, Offers::Files) => " -r -F".to_owned(),
                (true, Offers::Directories) => " -x -a '(__fish_complete_directories)'".to_owned(),
                (true, _) => " -x".to_owned(),
            };
            let about = fish_quote(flag.about.lines().next().unwrap_or_default());
            out.push_str(&format!("{at}{short} -l {}{value} -d {about}\n", flag.name));
        }
        match command.offers {
            Offers::Images => out.push_str(&format!("{at} -a '(__{name}_images)'\n")),
            Offers::Containers => out.push_str(&format!("{at} -a '(__{name}_containers)'\n")),
            Offers::Networks => out.push_str(&format!("{at} -a '(__{name}_networks)'\n")),
            Offers::Volumes => out.push_str(&format!("{at} -a '(__{name}_volumes)'\n")),
            Offers::ImageAndDirectory => out.push_str(&format!("{at} -a '(__{name}_images)' -F\n")),
            Offers::Files | Offers::Directories => out.push_str(&format!("{at} -F\n")),
            _ => {}
        }
    }
    out
}

fn fish_quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
