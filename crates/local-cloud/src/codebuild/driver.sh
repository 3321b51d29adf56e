# Runs the phases of a build. Arguments: the directory of the control files, the prefix of the lines that report
# progress, and the shell of the commands. All variables have the prefix _codebuild_, which no variable of a build has.
_codebuild_control=$1 _codebuild_marker=$2 _codebuild_shell=$3
_codebuild_succeeding=1
# The exit code, which no command can report.
_codebuild_has_failed=0

_codebuild_report() {
    printf '\n%s %s\n' "$_codebuild_marker" "$*"
}

# Starts the shell with a command file. The state of the last command is its whole environment.
_codebuild_run_file() {
    if [[ -f $_codebuild_control/state/variables ]]; then
        env -i "$_codebuild_shell" "$_codebuild_control/command.sh" "$_codebuild_control" "$1" "$_codebuild_succeeding"
    else
        "$_codebuild_shell" "$_codebuild_control/command.sh" "$_codebuild_control" "$1" "$_codebuild_succeeding"
    fi
}

# Runs the commands with these numbers, up to the first that fails.
_codebuild_run_commands() {
    local _codebuild_number _codebuild_code
    for ((_codebuild_number = $1; _codebuild_number < $2; _codebuild_number++)); do
        _codebuild_report "command $_codebuild_number"
        _codebuild_run_file "$_codebuild_control/commands/$_codebuild_number"
        _codebuild_code=$?
        if ((_codebuild_code != 0)); then
            _codebuild_succeeding=0
            _codebuild_report "failed $_codebuild_number $_codebuild_code"
            return 1
        fi
    done
}

# Runs a phase: its name, what happens after a failure, the number of retries, the numbers of the first command, of
# the first command of `finally`, and after the last one. Ends the build if the phase demands it.
_codebuild_phase() {
    local _codebuild_before=$_codebuild_succeeding _codebuild_attempt=0 _codebuild_failed
    _codebuild_report "begin $1"
    while :; do
        _codebuild_failed=0
        _codebuild_run_commands "$4" "$5" || _codebuild_failed=1
        _codebuild_run_commands "$5" "$6" || _codebuild_failed=1
        if ((_codebuild_failed == 0 || _codebuild_attempt >= $3)); then
            break
        fi
        _codebuild_attempt=$((_codebuild_attempt + 1)) _codebuild_succeeding=$_codebuild_before
        _codebuild_report "retry $_codebuild_attempt"
    done
    _codebuild_report "end $1 $_codebuild_failed"
    if ((_codebuild_failed == 1)); then
        _codebuild_has_failed=1
        if [[ $2 == stop ]]; then
            _codebuild_finish
        fi
    fi
}

# Writes what the server reads after the build.
_codebuild_finish() {
    _codebuild_report "commands-done"
    _codebuild_run_file "$_codebuild_control/expand"
    exit "$_codebuild_has_failed"
}

. "$_codebuild_control/plan"
_codebuild_finish
