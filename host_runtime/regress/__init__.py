"""The regression as a user runs it: seeds, failures repeated, a test plan, one page (``ianus regress``)."""
