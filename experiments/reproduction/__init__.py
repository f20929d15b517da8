"""The paper's tables and figures: grids of runs, their records, and reports."""
