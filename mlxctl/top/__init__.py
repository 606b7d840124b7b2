"""`mlxctl top`: what the daemon does, asked once a second and drawn to fit the terminal.

live      asks and draws, until a key ends it
events    keys and signals
overview  what is shown, and how the daemon is asked for it
drawing   the whole view as lines
plots     its plots
tables    its tables
columns   tables that fit a width
figures   numbers in few characters
"""
