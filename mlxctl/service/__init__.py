"""The service managers mlxctl can drive, one module each."""
