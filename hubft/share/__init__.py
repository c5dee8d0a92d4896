"""The hubs, and what comes from them.

In: a package, of a folder or of a Hub. Out: its model, its answers, its place on a Hub or in a catalogue.
"""
