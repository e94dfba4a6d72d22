"""Layers in which steps look at the steps of another batch, or of their own."""
