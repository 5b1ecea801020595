"""Coverage of a regression: bins that monitors heard, code of the RTL, code in Python; merged, judged and shown."""
