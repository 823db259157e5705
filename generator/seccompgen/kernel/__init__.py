"""System call tables from Linux's own files at the pinned tag; the lock and the matrix."""
