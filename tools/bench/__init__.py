"""The parts of `benchmark.py`: ways to run an iteration, processes that take turns, tables, reference programs."""
