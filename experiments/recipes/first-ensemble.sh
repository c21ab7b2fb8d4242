#!/usr/bin/env bash
# The first ensemble on real Mars data: five members that differ in architecture and loss, one grouped 20 % hold-out.
# Usage: experiments/recipes/first-ensemble.sh mars.npz [runs]      (about 30 minutes on two idle cores with bf16 units)
set -euo pipefail
data=$1
runs=${2:-runs}
train() { ens train "$data" --out "$runs" --augment flips "$@"; }
train --arch attention-unet --loss unified --epochs 18
train --arch linknet --loss tversky --epochs 20
train --arch pspnet --loss weighted-ce --epochs 24
train --arch unet --loss ce --epochs 16
train --arch residual-unet --loss "0.5*dice + 0.5*ce" --epochs 14
ens combine --method average --runs "$runs"
ens combine --method learned --runs "$runs"
ens results --runs "$runs"
ens results --runs "$runs" --format csv --out "$(dirname "$0")/../results/first-ensemble.csv"
