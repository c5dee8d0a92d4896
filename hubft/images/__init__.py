"""Images, from files to inputs of a model.

In: labelled files. Out: proved samples and their views as tensors, the same for training, evaluation and publishing.
"""
