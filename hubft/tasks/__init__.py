"""What labels mean, a file a kind: targets, loss, metrics and words.

In: columns of labels, then outputs of a model. Out: targets and losses, then metrics with intervals and answers.
"""
