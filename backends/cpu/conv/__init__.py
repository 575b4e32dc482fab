"""The ways to convolve: one algorithm per file, all of them on blocked maps and behind one interface."""
