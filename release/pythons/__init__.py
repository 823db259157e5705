"""Try a wheel with every Python that can be had here: ``make pythons``.

Debian sid has the newest releases, and their sources: free-threaded ones are built of these, in a
root directory that debootstrap makes. Older releases are this machine's.
"""
