"""Several processes on this machine, a Cloud TPU slice, a SLURM job. Only the standard library is imported."""
