"""From a network to the machine that runs it: what timings depend on, export, benchmarks."""
