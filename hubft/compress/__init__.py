"""The core's methods of the hook `compress`, a file each.

In: a trained model. Out: the model with fewer bits a weight.
"""
