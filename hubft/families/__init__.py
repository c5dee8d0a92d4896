"""Model families: found, kept apart, registered; and what they share.

In: the reference of a model. Out: `Loaded`, the model with its head and stages, built with weights or without.
"""
