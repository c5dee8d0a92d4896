"""Export: from a package to a file of another runtime, proved before it is put in place.

A format is a file here, a small program in `runners/` that runs its files without hubft, and a line in `formats.py`.
"""
