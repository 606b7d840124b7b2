"""mlxctl, the control CLI of the mlxd daemon."""
