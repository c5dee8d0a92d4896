"""What every room may use: errors, files, digests, random draws by counter, the console.

In: plain values. Out: plain values. Knows no model, no data and no run.
"""
