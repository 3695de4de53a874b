"""The report of what was measured: medians of the kept runs, the documents' tables, and pictures.

`python -m tests.load.report` reads what `queue_path`, `inference_path`, `persist_path` and `footprint` printed, kept in
docs/performance/, and writes the parts of the documents that stand between its marks.
"""
