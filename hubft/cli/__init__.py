"""The commands, a file a group. What needs torch is imported when it is used.

In: words of a command line. Out: what is printed, and an exit code.
"""
