"""`mlxctl top`: what the daemon does, asked once a second and drawn to fit the terminal."""
