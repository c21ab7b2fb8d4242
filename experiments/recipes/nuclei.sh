#!/usr/bin/env bash
# A second domain: a folder of PNG pairs whose class 0 is a real background, split by near-duplicate groups.
# Usage: experiments/recipes/nuclei.sh FOLDER [runs]      (about 3 minutes on two idle cores with bf16 units)
set -euo pipefail
data=$1
runs=${2:-runs}
ens train "$data" --optimiser adamw --arch unet --loss "0.5*dice + 0.5*ce" --epochs 15 --augment flips --out "$runs"
ens results --runs "$runs"
ens results --runs "$runs" --format csv --out "$(dirname "$0")/../results/nuclei.csv"
