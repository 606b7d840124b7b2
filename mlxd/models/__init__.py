"""Which models exist, which one is in memory, and the process that holds it."""
