#!/bin/sh
# Tests every change in CI; run it before you push. Needs Python 3.11 or newer, and mlops.
set -eu
cd "$(dirname "$0")/.."

python3 -m unittest discover --start-directory tests
# The baseline agreed by the team; create the first one with `mlops validate --suggest`.
if [ -f baseline/constraints.json ]; then
    mlops validate data/good.csv
fi
