"""`make validate`: the tools' own checks of what no test runs, each also shown to refuse what is known to be bad.

`check.py` says what a check is, the modules named after what they read hold them, `__main__.py` runs them all.
"""
