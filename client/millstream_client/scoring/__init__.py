"""Scoring a file: a prediction for each of its rows, written to another file, in a memory that does not grow with it.

It may be interrupted at any moment, and goes on where it was: no row is computed or written twice. `tables` reads rows,
`plan` says what is asked and by which keys, `output` makes lines of answers, `checkpoint` remembers how far it is, and
`run` puts them together.
"""
