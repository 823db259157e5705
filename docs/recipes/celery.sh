# Celery with redis as broker and for results: each process of the pool installs the filter.
own_install=true
export BROKER=redis://127.0.0.1:$(free_port)
prepare() {
    background redis-server --bind 127.0.0.1 --port "${BROKER##*:}" --save '' --dir "$PWD"
    await listening "${BROKER##*:}"
    cat > tasks.py <<'END'
import os
import subprocess
import time

from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])


@app.task
def count(text):
    return len(text.split())


@app.task
def fails():
    raise ValueError("it fails")


@app.task(bind=True, max_retries=1, default_retry_delay=0.2)
def again(self):
    if not self.request.retries:
        raise self.retry()
    return "again"


@app.task
def sleeps(seconds):
    time.sleep(int(seconds))


@app.task
def attack():
    subprocess.run(["id"])
END
    cat > confine.py <<'END'
from celery.signals import worker_process_init

from sandbox import confined


@worker_process_init.connect
def confine(**_):
    try:
        confined.install()
    except OSError as error:  # Celery would log it, and go on without a filter
        raise SystemExit(f"not confined: {error}") from None
END
    cat > ask.py <<'END'
import sys

import tasks

name, *words = sys.argv[1:]
result = getattr(tasks, name).apply_async(words, soft_time_limit=20 if name != "sleeps" else 1, time_limit=2 if name == "sleeps" else 30)
answer = result.get(timeout=60, propagate=False)
print(type(answer).__name__ if isinstance(answer, Exception) else answer)
END
}
program=(celery -A tasks worker --include confine --concurrency 2 --loglevel info)
ready() { grep -q 'ready\.' log; }
ask() { python3 ask.py "$@"; }
use() { expect 2 ask count "a b"; }
more() {
    python3 -c 'import tasks
print(sum(r.get(timeout=60) for r in [tasks.count.delay("a b c") for _ in range(60)]))' | grep -q 180
    expect ValueError ask fails
    expect again ask again
    expect SoftTimeLimitExceeded ask sleeps 5
}
attack() { expect PermissionError ask attack; }
