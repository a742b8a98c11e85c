"""Pure rules: values in, values out. No module here does I/O, or reads a clock, chance or environment."""
