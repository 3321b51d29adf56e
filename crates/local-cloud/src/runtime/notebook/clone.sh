#!/bin/sh
# Clones a repository into the volume, unless its directory exists: clone.sh URL DIRECTORY [BRANCH]
url=$1 directory=$2 branch=${3:-}
[ -e "$directory" ] && exit 0
export GIT_TERMINAL_PROMPT=0
set --
# Credentials of the local cloud, for the time of the clone only; afterwards git asks the credential helper of
# /etc/gitconfig.
if [ -n "${MLOPS_GIT_USER:-}" ]; then
    key="credential.$AWS_ENDPOINT_URL.helper"
    set -- -c "$key=" \
        -c "$key="'!f() { echo "username=$MLOPS_GIT_USER"; echo "password=$MLOPS_GIT_PASSWORD"; }; f'
fi
exec git "$@" clone --quiet ${branch:+--branch "$branch"} -- "$url" "$directory"
