"""What the commands share: flags, exit codes, tables, subprocesses, and the environment of JAX."""
