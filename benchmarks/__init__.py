"Measurements on real and synthetic data, each a command: `python -m benchmarks.covers --help`"
