"""The loop, and all that a step of it needs: batches, optimizer, averaging, probe, checkpoints.

In: a model, batches and a recipe. Out: a trained model, bit for bit the same whether it was interrupted or not.
"""
