"""The commands of ``atv``; a function's signature and docstring are its options and help.

A command parses, calls and prints: what it does belongs in the library.
"""
