"""What is chosen before a run: which backbone, which learning rate, and which other options.

In: what a run would be given. Out: a table of backbones on this data and this machine, a rate beside that of the
recipe, or the best of many trials and how much of its gain is luck.
"""
