"""Schemas as generators write them, and answers that a grammar makes of them."""
