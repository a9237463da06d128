//! Completion scripts, made from the tables.
//!
//! May not: run anything but `runb list -q` when a shell asks for container ids.

use super::args::Shell;
use super::flags::{Flag, HELP, Offers, Order, Shown, Takes};
use super::signals;
use super::verbs::{GLOBAL, VERBS, Verb};

/// The script for a shell. It completes the program of that name.
pub fn script(shell: Shell, name: &str) -> String {
    match shell {
        Shell::Bash => bash(name),
        Shell::Zsh => zsh(name),
        Shell::Fish => fish(name),
    }
}

fn shown() -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(|v| v.shown == Shown::Yes)
}

fn shown_flags(flags: &'static [Flag]) -> impl Iterator<Item = &'static Flag> {
    flags.iter().filter(|f| f.shown == Shown::Yes).chain([&HELP])
}

fn spellings(flag: &Flag) -> Vec<String> {
    let long = format!("--{}", flag.name);
    flag.short
        .map_or_else(|| vec![long.clone()], |c| vec![long.clone(), format!("-{c}")])
}

fn command_names() -> String {
    shown().map(Verb::first_name).collect::<Vec<_>>().join(" ")
}

// ---- bash --------------------------------------------------------------------------------------------------------

fn bash(name: &str) -> String {
    let mut verbs = String::new();
    for verb in shown() {
        verbs.push_str(&format!(
            "    {})\n        flags='{}'\n{}        operands='{}'\n        ;;\n",
            verb.first_name(),
            words_of(verb.flags),
            bash_values(verb.flags, "        "),
            bash_operands(verb),
        ));
    }
    let payload: Vec<&str> = shown()
        .filter(|v| v.order == Order::UntilFirstOperand)
        .map(|v| v.first_name())
        .collect();
    format!(
        r#"# bash completion for {name}, made by `{name} completion bash`.

_{name}_containers() {{
    {name} list -q 2>/dev/null
}}

_{name}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    local verb='' flags='' value='' operands='' count=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
        {global_with_value}) [ -n "$verb" ] || ((i++)) ;;
        -*) ;;
        *)
            if [ -n "$verb" ]; then ((count++)); else verb=${{COMP_WORDS[i]}}; fi
            ;;
        esac
    done
    case $verb in
    '')
        flags='{global}'
{global_values}        operands='{commands}'
        ;;
{verbs}    esac
    case $verb in
    {payload})
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
    @containers) mapfile -t COMPREPLY < <(compgen -W "$(_{name}_containers)" -- "$cur") ;;
    @signal)
        if [ "$count" -gt 0 ]; then
            mapfile -t COMPREPLY < <(compgen -W '{signals}' -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -W "$(_{name}_containers)" -- "$cur")
        fi
        ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$operands" -- "$cur") ;;
    esac
}}

complete -o filenames -o bashdefault -F _{name} {name}
"#,
        global_with_value = with_value(&GLOBAL)
            .map(|f| spellings(f).join(" | "))
            .collect::<Vec<_>>()
            .join(" | "),
        global = words_of(&GLOBAL),
        global_values = bash_values(&GLOBAL, "        "),
        commands = command_names(),
        payload = payload.join(" | "),
        signals = signals::names().join(" "),
    )
}

fn with_value(flags: &'static [Flag]) -> impl Iterator<Item = &'static Flag> {
    shown_flags(flags).filter(|f| f.takes != Takes::Nothing)
}

fn words_of(flags: &'static [Flag]) -> String {
    shown_flags(flags)
        .flat_map(spellings)
        .collect::<Vec<_>>()
        .join(" ")
}

fn bash_values(flags: &'static [Flag], indent: &str) -> String {
    let mut out = String::new();
    for flag in with_value(flags) {
        let value = match flag.offers {
            Offers::Files => "@files".to_string(),
            Offers::Directories => "@directories".to_string(),
            Offers::Words(words) => words.join(" "),
            _ => "@any".to_string(),
        };
        out.push_str(&format!(
            "{indent}    {}) value='{value}' ;;\n",
            spellings(flag).join(" | ")
        ));
    }
    if out.is_empty() {
        return out;
    }
    format!("{indent}case $prev in\n{out}{indent}esac\n")
}

fn bash_operands(verb: &Verb) -> String {
    match verb.offers {
        Offers::Nothing => String::new(),
        Offers::Files => "@files".to_string(),
        Offers::Directories => "@directories".to_string(),
        Offers::Words(words) => words.join(" "),
        Offers::Containers => "@containers".to_string(),
        Offers::ContainerAndSignal => "@signal".to_string(),
        Offers::Commands => command_names(),
    }
}

// ---- zsh ---------------------------------------------------------------------------------------------------------

fn zsh(name: &str) -> String {
    let mut commands = String::new();
    let mut verbs = String::new();
    for verb in shown() {
        commands.push_str(&format!(
            "                {}\n",
            zsh_quote(&format!("{}:{}", verb.first_name(), verb.summary))
        ));
        verbs.push_str(&format!(
            "                ({})\n                    _arguments -s{}\\\n{}                        {}\n                    ;;\n",
            verb.first_name(),
            // Behind the first operand nothing is a flag of ours.
            if verb.order == Order::UntilFirstOperand { " -A '-*' " } else { " " },
            zsh_flags(verb.flags, "                        "),
            zsh_operands(name, verb),
        ));
    }
    format!(
        r#"#compdef {name}
# zsh completion for {name}, made by `{name} completion zsh`.

_{name}_containers() {{
    local -a ids
    ids=(${{(f)"$({name} list -q 2>/dev/null)"}})
    _describe -t containers container ids
}}

_{name}() {{
    local context state state_descr line
    typeset -A opt_args
    _arguments -C \
{global}        '1:command:->command' \
        '*::argument:->argument'
    case $state in
        (command)
            local -a commands
            commands=(
{commands}            )
            _describe -t commands command commands
            ;;
        (argument)
            case $words[1] in
{verbs}            esac
            ;;
    esac
}}

if [ "$funcstack[1]" = "_{name}" ]; then
    _{name} "$@"
else
    compdef _{name} {name}
fi
"#,
        global = zsh_flags(&GLOBAL, "        "),
    )
}

fn zsh_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn zsh_flags(flags: &'static [Flag], indent: &str) -> String {
    let mut out = String::new();
    for flag in shown_flags(flags) {
        let repeated = matches!(flag.takes, Takes::Texts | Takes::Ints);
        let about = flag
            .about
            .replace('[', "\\[")
            .replace(']', "\\]")
            .replace(':', "\\:");
        let value = match (flag.takes, flag.offers) {
            (Takes::Nothing, _) => String::new(),
            (_, Offers::Files) => ":file:_files".to_string(),
            (_, Offers::Directories) => ":directory:_directories".to_string(),
            (_, Offers::Words(words)) => format!(":value:({})", words.join(" ")),
            _ => ":value: ".to_string(),
        };
        for spelling in spellings(flag) {
            let equals = if flag.takes != Takes::Nothing && spelling.starts_with("--") {
                "="
            } else {
                ""
            };
            let exclusive = if repeated {
                "*".to_string()
            } else {
                format!("({})", spellings(flag).join(" "))
            };
            out.push_str(&format!(
                "{indent}{} \\\n",
                zsh_quote(&format!("{exclusive}{spelling}{equals}[{about}]{value}"))
            ));
        }
    }
    out
}

fn zsh_operands(name: &str, verb: &Verb) -> String {
    match verb.offers {
        Offers::Nothing if verb.operands.is_empty() => "'*: :'".to_string(),
        Offers::Nothing => "'1:container: '".to_string(),
        Offers::Files => "'*:file:_files'".to_string(),
        Offers::Directories => "'1:directory:_directories'".to_string(),
        Offers::Words(words) => format!("'1:value:({})'", words.join(" ")),
        Offers::Containers if verb.order == Order::UntilFirstOperand => {
            format!("'1:container:_{name}_containers' '*::command:_normal'")
        }
        Offers::Containers => format!("'1:container:_{name}_containers'"),
        Offers::ContainerAndSignal => {
            format!(
                "'1:container:_{name}_containers' '2:signal:({})'",
                signals::names().join(" ")
            )
        }
        Offers::Commands => format!("'1:command:({})'", command_names()),
    }
}

// ---- fish --------------------------------------------------------------------------------------------------------

fn fish(name: &str) -> String {
    let mut out = format!(
        "# fish completion for {name}, made by `{name} completion fish`.\n\n\
         function __{name}_containers\n    {name} list -q 2>/dev/null\nend\n\n\
         complete -c {name} -f\n"
    );
    for flag in shown_flags(&GLOBAL) {
        out.push_str(&fish_flag(name, "__fish_use_subcommand", flag));
    }
    for verb in shown() {
        let verb_name = verb.first_name();
        out.push_str(&format!(
            "\ncomplete -c {name} -n __fish_use_subcommand -a {verb_name} -d {}\n",
            fish_quote(verb.summary)
        ));
        let condition = fish_quote(&format!("__fish_seen_subcommand_from {verb_name}"));
        for flag in shown_flags(verb.flags) {
            out.push_str(&fish_flag(name, &condition, flag));
        }
        let operands = match verb.offers {
            Offers::Nothing => continue,
            Offers::Files => "'(__fish_complete_path)'".to_string(),
            Offers::Directories => "'(__fish_complete_directories)'".to_string(),
            Offers::Words(words) => fish_quote(&words.join(" ")),
            Offers::Containers => format!("'(__{name}_containers)'"),
            Offers::ContainerAndSignal => {
                out.push_str(&format!(
                    "complete -c {name} -n {condition} -a {} -d signal\n",
                    fish_quote(&signals::names().join(" "))
                ));
                format!("'(__{name}_containers)'")
            }
            Offers::Commands => fish_quote(&command_names()),
        };
        out.push_str(&format!("complete -c {name} -n {condition} -a {operands}\n"));
    }
    out
}

fn fish_quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn fish_flag(name: &str, condition: &str, flag: &Flag) -> String {
    let mut out = format!("complete -c {name} -n {condition} -l {}", flag.name);
    if let Some(short) = flag.short {
        out.push_str(&format!(" -s {short}"));
    }
    match (flag.takes, flag.offers) {
        (Takes::Nothing, _) => {}
        (_, Offers::Files) => out.push_str(" -r -F"),
        (_, Offers::Directories) => out.push_str(" -r -a '(__fish_complete_directories)'"),
        (_, Offers::Words(words)) => out.push_str(&format!(" -x -a {}", fish_quote(&words.join(" ")))),
        _ => out.push_str(" -x"),
    }
    out.push_str(&format!(" -d {}\n", fish_quote(flag.about)));
    out
}
