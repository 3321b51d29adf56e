#!/bin/sh
# The AWS CLI of the instance: that of JupyterLab's environment, or of the machine. A script in the background may
# look for it before JupyterLab is installed, and again later.
IFS=:
for directory in $PATH; do
    if [ "$directory/aws" != "$0" ] && [ -x "$directory/aws" ]; then
        exec "$directory/aws" "$@"
    fi
done
echo "aws: not found; the local cloud installs the AWS CLI with JupyterLab, when it is first opened" >&2
exit 127
