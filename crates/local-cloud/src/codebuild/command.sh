# Runs one command in the state that the last one left: variables, functions, options and directory. Arguments: the
# directory of the control files, the file of the command, and CODEBUILD_BUILD_SUCCEEDING. Written for sh and bash.
if [ -f "$1/state/variables" ]; then
    . "$1/state/variables"
fi
_codebuild_control=$1 _codebuild_file=$2 _codebuild_saved=
export CODEBUILD_BUILD_SUCCEEDING="$3"
set --

_codebuild_save() {
    if [ -n "$_codebuild_saved" ]; then
        return 0
    fi
    _codebuild_saved=1
    # Not by $(set +o): bash switches errexit off there.
    set +o >"$_codebuild_control/state/options"
    set +xeu
    {
        if [ -n "$BASH_VERSION" ]; then
            _codebuild_ifs=$IFS
            IFS='
'
            for _codebuild_name in $(compgen -v); do
                case $_codebuild_name in
                BASH | BASH_* | BASHOPTS | BASHPID | COMP_* | DIRSTACK | EPOCH* | EUID | FUNCNAME | GROUPS | \
                    HISTCMD | IFS | LINENO | OPTIND | PIPESTATUS | PPID | RANDOM | SECONDS | SHELLOPTS | SRANDOM | UID | \
                    _ | _codebuild_*) ;;
                *) declare -p "$_codebuild_name" ;;
                esac
            done
            printf 'IFS=%q\n' "$_codebuild_ifs"
            declare -f
        else
            export -p
            set
        fi
    } >"$_codebuild_control/state/variables"
    pwd >"$_codebuild_control/state/directory"
}

if [ -f "$_codebuild_control/state/directory" ]; then
    # Without a program: a command may have changed PATH.
    IFS= read -r _codebuild_directory <"$_codebuild_control/state/directory"
    cd "$_codebuild_directory" || cd "$CODEBUILD_SRC_DIR" || exit 1
fi
# Nothing that saves the state is part of the log, also not with xtrace.
trap '{ _codebuild_save; } 2>/dev/null' EXIT
if [ -f "$_codebuild_control/state/options" ]; then
    { . "$_codebuild_control/state/options"; } 2>/dev/null
fi
. "$_codebuild_file"
{
    _codebuild_code=$?
    _codebuild_save
    exit "$_codebuild_code"
} 2>/dev/null
