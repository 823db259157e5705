"""Linux's own files at the pinned tag, made into system call tables; the lock and the matrix."""
