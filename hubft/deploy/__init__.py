"""A package on its way to where it works.

In: a package. Out: files that other runtimes run, proved; and what a package or such a file says of images.
"""
