"""The phases of a run around the loop: its folder, preparation, plan, training, safeguard, report.

In: a job. Out: a trained model that was measured, and a folder that a later process can go on with.
"""
