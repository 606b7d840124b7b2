"""Measuring servers of OpenAI's API: what `mlxctl bench` and `benchmarks/` share."""
