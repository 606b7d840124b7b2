"""The commands of mlxctl, one module per group, imported on use."""
