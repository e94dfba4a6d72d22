"""Arrays wherever they live: those that callers pass, and what has to be done with them."""
