#!/bin/sh
# Runs in CI when a branch has changed: pushes the image and trains a model version. BRANCH is its name.
set -eu
cd "$(dirname "$0")/.."

if mlops config show --output json | grep -q '"local": true'; then
    # The local cloud of a CI machine starts empty.
    mlops init
    mlops data push data/train
fi
mlops image push --branch "$BRANCH"
mlops train --branch "$BRANCH"
