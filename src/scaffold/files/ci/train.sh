#!/bin/sh
# Runs in CI when a branch has changed: pushes the image and trains a model version. BRANCH is the branch's name.
set -eu
cd "$(dirname "$0")/.."

# CI systems check out a commit. Train this one, even if the branch has moved in the meantime.
git checkout --quiet -B "$BRANCH"
mlops image push --branch "$BRANCH"
# AWS ends a session of a chained role after an hour. The run would continue (exit code 5).
mlops train --branch "$BRANCH" --timeout 3300
