"""Ragged data sets, streamed from Parquet and Arrow files in batches and in bounded memory."""
