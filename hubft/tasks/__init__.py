"""What labels mean.

In: outputs of a model and targets. Out: metrics with their intervals.
"""
