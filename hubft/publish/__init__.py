"""The package: what is published of a run.

In: a trained model and its facts. Out: a folder of manifest, tensors, self-test and card; read again with suspicion.
"""
