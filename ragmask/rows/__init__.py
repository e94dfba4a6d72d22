"""Rows: values laid end to end, where each row lies in them, and what is known of that."""
