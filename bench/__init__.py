"""Side-by-side benchmarks, one command each, results as JSON."""
