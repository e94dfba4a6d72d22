"""What asv runs. `track_` benchmarks are ratios to a limit: what one could at best reach."""
