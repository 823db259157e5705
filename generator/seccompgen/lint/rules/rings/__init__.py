"""What rings may do.

The section [`io_uring`](io-uring.md) permits operations of rings, each by a filter of its own. Such
a filter sees less than the name of an operation promises.
"""
