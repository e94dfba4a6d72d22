"""Layers that put batches together: number by number, side by side, by products."""
