#!/usr/bin/env bash
# The jobs of a sweep as a plain Slurm array, without Snakemake. From the project's root:
#
#   mkdir -p runs
#   LAST=$(($(.venv/bin/python -m rin.sweep --profile paper --list | wc -l) - 1))
#   sbatch --array=0-$LAST cluster/array.sh --profile paper
#
# Arguments go to `rin.sweep`; each task of the array runs the job of its number. Change what
# follows to what your cluster has.
#SBATCH --job-name=rin
#SBATCH --partition=gpu
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=runs/array-%A_%a.txt
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
exec .venv/bin/python -m rin.sweep "$@" --job "$SLURM_ARRAY_TASK_ID"
