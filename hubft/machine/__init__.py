"""What was measured of this machine.

In: a model and a job. Out: device, precision, memory format, threads and workers that a run computes with.
"""
