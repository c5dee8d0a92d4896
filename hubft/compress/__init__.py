"""The core's methods of the hook `compress`, a file each, and the records by which what they changed is built again.

In: a trained model. Out: the model with fewer bits a weight or fewer weights, and what a package must state of it.
"""
