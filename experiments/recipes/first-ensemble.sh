#!/usr/bin/env bash
# The first ensemble on real Mars data: five members that differ in architecture and loss, three of them trained with
# pasted rocks; the drawn outliers left out of training and score; one grouped 20 % hold-out.
# Usage: experiments/recipes/first-ensemble.sh mars.npz [runs]      (about 25 minutes on two idle cores with bf16 units)
set -euo pipefail
data=$1
runs=${2:-runs}
ens data check "$data" --out "$runs"
train() { ens train "$data" --out "$runs" --optimiser adamw --exclude "$runs/suspects.csv:repeated-mask" --exclude-from-score "$@"; }
rocks=(--augment "flips + copy-paste" --sampler rare)
train --arch attention-unet --loss unified --epochs 18 "${rocks[@]}"
train --arch linknet --loss tversky --epochs 20 "${rocks[@]}"
train --arch pspnet --loss weighted-ce --epochs 24 --augment flips
train --arch unet --loss ce --epochs 20 --augment flips
train --arch residual-unet --loss "0.5*dice + 0.5*ce" --epochs 18 "${rocks[@]}"
ens combine --method average --runs "$runs"
ens combine --method learned --runs "$runs"
ens results --runs "$runs"
ens results --runs "$runs" --format csv --out "$(dirname "$0")/../results/first-ensemble.csv"
