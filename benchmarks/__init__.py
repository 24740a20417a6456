"Measurements on real and made data, each a command: `python -m benchmarks.covers --help`"
