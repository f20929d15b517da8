"""Storage of runs: folders, checkpoints, records and buckets."""
