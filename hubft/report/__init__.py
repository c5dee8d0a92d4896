"""The report of a run: its figures, what it keeps of the validation samples, and one page of HTML made of both.

The page is made of the run's folder alone, so that it can be written again; only pictures of samples need the data.
"""
