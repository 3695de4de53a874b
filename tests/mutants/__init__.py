"""Mutation testing: small faults are put into critical code, one at a time; the tests must notice each.

`subjects` says which code, and which tests reach it. `mutation`, `python_mutants` and `lua_mutants` make the faults,
`workplace` runs tests over a copy of the repository with one fault in it, `baseline` finds out which tests reach which
line, `trial` puts both together, `equal.toml` lists the faults that change nothing, and `report` gives the verdict.
"""
