"""The programs that gates and tests need beyond .venv: which, at what version, and where they are.

    from scripts.tools.kit import find
    find("helm")  # its path; raises ToolMissing, which says how to get it

`make tools` installs them all below .cache/tools, `python -m scripts.tools helm` one kit. Only the standard library.
"""
