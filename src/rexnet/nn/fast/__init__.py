"""A network's fast forms: training on a CPU, evaluation by oneDNN, the form for other runtimes."""
