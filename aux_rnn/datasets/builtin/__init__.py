"""The built-in data sets: one module per data set, named like it, which defines a `Dataset` called `DATASET`.

A new module in this folder is a new value of `--dataset`. Data without files is a `ReadyDataset`, such as `digits`;
data with official files is an `OfficialDataset`, such as `mnist`.
"""
