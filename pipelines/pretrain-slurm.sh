#!/bin/bash
# wsi-tower pretrain on several nodes with several GPUs each, under SLURM:
#
#   sbatch --nodes 2 --gpus-per-node 4 pipelines/pretrain-slurm.sh --method tower -w study
#
# What follows the file's name is handed to `wsi-tower pretrain`. The workspace must lie where every
# node sees it. Submit it again after a time limit, with as many nodes and GPUs as you like: it goes
# on from the last checkpoint.
#SBATCH --job-name=wsi-tower-pretrain
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
# One task a node: torchrun, which starts a process for each GPU. Cores read and decode tiles.
# Two minutes before the time is up, the step is finished and a checkpoint left.
set -euo pipefail

first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Jobs that share a node must not meet at one port.
port=$((20000 + SLURM_JOB_ID % 20000))

srun torchrun \
  --nnodes "$SLURM_JOB_NUM_NODES" \
  --nproc-per-node "${SLURM_GPUS_ON_NODE:?ask for GPUs with --gpus-per-node}" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$first_node:$port" \
  --rdzv-id "$SLURM_JOB_ID" \
  -m wsi_tower pretrain --resume "$@"
