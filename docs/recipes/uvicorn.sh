# uvicorn with FastAPI and asyncpg: a pool of connections to PostgreSQL that grows under load.
own_install=true
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' :)
database=$(free_port)
export DATABASE=postgres://postgres@localhost:$database/postgres
prepare() {
    "${user[@]}" initdb -D data -A trust -U postgres --no-sync > /dev/null
    printf 'unix_socket_directories = %s\nfsync = off\nport = %s\n' "''" "$database" >> data/postgresql.conf
    background exec "${user[@]}" postgres -D data
    await eval "psql $DATABASE -c 'SELECT 1' > /dev/null 2>&1"
    cat > app.py <<'END'
import os
import subprocess
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from sandbox import confined


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(os.environ["DATABASE"], min_size=1, max_size=10) as app.pool:
        confined.install()
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/double/{number}")
async def double(number: int):
    return {"double": await app.pool.fetchval("SELECT 2 * $1::int", number)}


@app.get("/slow")
async def slow():
    return {"slow": await app.pool.fetchval("SELECT 1 FROM pg_sleep(0.05)")}


@app.get("/thread/{number}")
def thread(number: int):
    return {"sum": sum(range(number))}


@app.post("/length")
async def length(request: Request):
    return {"length": len(await request.body())}


@app.get("/stream")
def stream():
    return StreamingResponse(b"x" * 10_000 for _ in range(200))


@app.get("/attack")
def attack():
    said = []
    for one in (lambda: subprocess.run(["id"]), lambda: open("made", "w"), lambda: os.kill(os.getppid(), 9)):
        try:
            one()
        except OSError as error:
            said.append(type(error).__name__)
    return said
END
}
program=(uvicorn app:app --port "$port" --workers 2 --lifespan on)
ready() { [ "$(grep -c 'startup complete' log)" = 2 ]; }
use() {
    for n in 1 2 3; do expect '{"double":42}' get /double/21; done
    expect '"type":"int_parsing"' get /double/x
}
more() {
    load /slow 200
    load /thread/1000 100
    expect 3000000 get /length --data-binary @<(head -c 3000000 /dev/zero)
    [ "$(get /stream | wc -c)" = 2000000 ] || fail "a stream"
    psql "$DATABASE" -qc "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()" > /dev/null
    sleep 1
    load /double/1 40
    pkill -P "$main" -KILL -n # a worker dies
    await eval "[ \"\$(grep -c 'startup complete' log)\" = 3 ]"
    load /double/1 40
}
attack() { expect '["PermissionError","PermissionError","PermissionError"]' get /attack; }
