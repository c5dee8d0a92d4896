"""The frozen part of a model, computed once.

In: a model and what of it trains. Out: the place where it is cut, proved, and cached features for what is behind.
"""
