"""Small programs, one a format, that run an exported file with nothing but its runtime and numpy.

Each has `load(path, threads, exact)`, which returns a function from a batch, an array for each input, to the list of
the file's outputs, and `metadata(path)`, which returns the texts in the file by name. None imports hubft: a fresh
process runs them as files.
"""
