"""What `benchmark.py` is made of: ways to run an iteration, processes that take turns, tables, reference programs."""
