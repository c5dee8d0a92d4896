"""A page on which a package is tried: at home (`hubft try`), and as a Space of the Hub (`hubft push --space`).

In: a model that answers, and labelled data whose samples stand beside its answers. Out: a page in a browser.
"""
