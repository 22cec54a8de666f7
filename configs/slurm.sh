#!/bin/bash
# Train one row on a cluster, one array job per seed; preempted or timed-out jobs requeue themselves and go on. Packs,
# statistics and embeddings are read from where `prepare` left them ($QUINTET_CACHE, else .cache): the same for both.
#   sbatch --array=0-2 configs/slurm.sh configs/tagging/mtat_spec_att.yaml --data.root $DATA/mtat
#SBATCH --job-name=quintet
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.log
set -u
config=$1; shift
task=$(basename "$(dirname "$config")")
seed=${SLURM_ARRAY_TASK_ID:-0}
name=$(basename "$config" .yaml)-seed$seed
export TORCH_NCCL_ASYNC_ERROR_HANDLING=1

# `--ckpt_path last` starts afresh when the run folder is empty, so the first start and every restart are one command.
srun python -m "tasks.$task" fit --config "$config" --name "$name" --ckpt_path last --seed_everything "$seed" \
  --trainer.accelerator gpu --trainer.devices "$SLURM_NTASKS_PER_NODE" --trainer.num_nodes "$SLURM_NNODES" \
  --trainer.strategy ddp "$@"
status=$?
# 138 = stopped by USR1 (time limit near), 143 = stopped by TERM (preempted): both left a whole last.ckpt.
if [ $status -eq 138 ] || [ $status -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
