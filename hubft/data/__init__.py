"""Where samples lie: folders of classes, the parts of a split, which files count and which were trained on.

In: a folder. Out: the files of each class and part, and why others do not count. Without torch.
"""
