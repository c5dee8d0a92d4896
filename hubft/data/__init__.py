"""Where samples lie: folders of classes, tables, the parts of a split, which files count and which were trained on.

In: a folder or a table. Out: the samples of each class and part, and why others do not count. Without torch.
"""
