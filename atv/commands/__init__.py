"""The commands of ``atv``, one function each; its signature and docstring define the command's options and help.

A command only parses, calls the library and prints; anything more belongs in the library.
"""
