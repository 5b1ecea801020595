"""One PIM memory controller: normal traffic, refresh and PIM commands of one channel."""
