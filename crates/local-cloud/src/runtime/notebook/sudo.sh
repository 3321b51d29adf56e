#!/bin/sh
# sudo of a notebook instance of the local cloud. Users are names here: all of them are the user of the
# machine that started the local cloud, so `root` has no more rights over the machine than `ec2-user`.
tools=$(dirname "$(dirname "$0")")
user=root login= shell=
fail() { echo "sudo: $1" >&2; exit 1; }
while [ $# -gt 0 ]; do
    case "$1" in
        -u | --user | -[iEHnS]u)
            [ $# -ge 2 ] || fail "the option $1 needs a user"
            case "$1" in -iu) login=1 ;; esac
            user=$2; shift 2 ;;
        --user=*) user=${1#--user=}; shift ;;
        -u*) user=${1#-u}; shift ;;
        -i | --login) login=1; shift ;;
        -s | --shell) shell=1; shift ;;
        -E | -H | -n | -S | --preserve-env* | --set-home | --non-interactive | --stdin) shift ;;
        --) shift; break ;;
        -*) fail "the option $1 is not supported by the local cloud" ;;
        [A-Za-z_]*=*) export "$1"; shift ;;
        *) break ;;
    esac
done
case "$user" in
    root | '#0') id=0 user=root ;;
    ec2-user | '#1000') id=1000 user=ec2-user ;;
    *) fail "unknown user $user" ;;
esac
own=$(id -u)
if [ "$id" = 0 ] && [ "${USER:-}" = ec2-user ] && [ "$(cat "$tools/root-access")" != Enabled ]; then
    fail "ec2-user is not in the sudoers file (RootAccess is Disabled)"
fi
if [ "$id" = 0 ]; then HOME=$MLOPS_ROOT_HOME; else HOME=$MLOPS_USER_HOME; fi
export HOME USER="$user" LOGNAME="$user"
if [ -n "$login" ]; then
    cd "$HOME" || exit 1
    if [ $# -gt 0 ]; then
        # As sudo does: a login shell runs the words, with everything but letters, digits, `_`, `-` and `$`
        # escaped.
        words=
        for word in "$@"; do
            words="$words $(printf %s "$word" | sed 's/[^[:alnum:]_$-]/\\&/g')"
        done
        set -- /bin/bash -l -c "${words# }"
    else
        set -- /bin/bash -l
    fi
elif [ -n "$shell" ]; then
    if [ $# -gt 0 ]; then set -- /bin/bash -c "$*"; else set -- /bin/bash; fi
fi
[ $# -gt 0 ] || fail "a command is needed"
if [ "$own" != "$id" ] && unshare --user --map-user="$id" --map-group="$id" true 2>/dev/null; then
    exec unshare --user --map-user="$id" --map-group="$id" -- "$@"
fi
exec "$@"
