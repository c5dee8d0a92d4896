"""Small programs, one a format, that write an exported file in an environment of its own.

They are for libraries that cannot share an environment with hubft, of which they import nothing: a process of that
environment's Python runs them as files.
"""
