"""What is chosen before a run: which backbone, and which learning rate.

In: what a run would be given. Out: a table of backbones on this data and this machine, or a rate beside that
of the recipe.
"""
