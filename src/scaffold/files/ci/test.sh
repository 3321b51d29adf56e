#!/bin/sh
# What CI runs for every change; run it before you push. Needs Python 3.11 or newer, and mlops.
set -eu
cd "$(dirname "$0")/.."

python3 -m unittest discover --start-directory tests
# The baseline is what the team agreed on; `mlops validate --suggest` makes the first one.
if [ -f baseline/constraints.json ]; then
    mlops validate data/good.csv
fi
