"""Have the worker do something: ``ask.py TASK [ARGUMENT]...``; prints what it answers."""

import json
import sys

import tasks

name, *arguments = sys.argv[1:]
print(json.dumps(getattr(tasks, name).delay(*arguments).get(timeout=30)))
