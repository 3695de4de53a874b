"""Protocols that clients speak already: faces of the same core, each below a path of its own. `operations` lists them.

They parse and render, and may import `gateway.http` and what stands below, but no other face: nothing of `gateway.api`.
"""
