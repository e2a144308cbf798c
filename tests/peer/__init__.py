"""Foreign peers for the loop and interop tests: every end of the wire that is not ours, with every mistake it can make.

Standard library only. A test file imports what it needs, defines functions `test_…` that each make the one claim
of their docstring, and ends with `claims.main(globals())`.
"""
