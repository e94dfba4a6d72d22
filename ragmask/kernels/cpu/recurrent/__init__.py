"""Recurrent layers: one loop and one product for all, and a file for each cell."""
