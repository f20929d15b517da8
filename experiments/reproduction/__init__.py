"""The paper's tables and figures: grids of runs, what they measured, and reports made of it."""
