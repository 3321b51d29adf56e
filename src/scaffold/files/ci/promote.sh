#!/bin/sh
# Deploys a model version that was approved, if it is better than the live one. VERSION is its number.
set -eu
cd "$(dirname "$0")/.."

mlops promote "$VERSION" --if-better rmse
