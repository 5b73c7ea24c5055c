#!/usr/bin/env bash
# The training of many_devices.py on four machines with eight GPUs each:  sbatch examples/slurm.sh
# One torchrun on each machine; they meet on the first one. When a machine is lost the others start again with those
# that are left, or Slurm puts the job back into its queue: either way it goes on from the newest checkpoint.
#SBATCH --job-name=torte
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun uv run torchrun \
    --nnodes "2:$SLURM_NNODES" \
    --nproc-per-node "${SLURM_GPUS_ON_NODE:-8}" \
    --max-restarts 10 \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$first:29500" \
    examples/many_devices.py --outputs "${OUTPUTS:-outputs}"
