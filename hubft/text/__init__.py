"""Texts, from rows of a table to token ids.

In: labelled texts. Out: proved samples, tokenised once by the tokenizer that the model was trained with, and batches
of them, each as long as the longest text in it.
"""
