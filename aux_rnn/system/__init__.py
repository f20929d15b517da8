"""The machine: memory, processors, time and signals."""
