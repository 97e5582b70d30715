"""The commands of ``atv``; a function's signature and docstring are its options and help."""
