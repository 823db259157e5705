# gunicorn with Flask: answers that are computed, from workers that install the filter.
own_install=true
prepare() {
    cat > app.py <<'END'
import os
import socket

from flask import Flask, render_template_string, request

app = Flask(__name__)


@app.get("/double/<int:number>")
def double(number):
    return {"double": 2 * number}


@app.get("/page")
def page():
    return render_template_string("{% for n in range(1000) %}<b>{{ n }}</b>{% endfor %}")


@app.post("/length")
def length():
    return {"length": len(request.get_data())}


@app.get("/error")
def error():
    return {}["missing"]


@app.get("/attack")
def attack():
    attacks = (
        lambda: os.popen("id").read(),
        lambda: open("made", "w").close(),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: os.kill(os.getppid(), 9),
    )
    said = []
    for one in attacks:
        try:
            one()
        except OSError as error:
            said.append(type(error).__name__)
    return said
END
    cat > gunicorn.conf.py <<'END'
def post_worker_init(worker):
    from sandbox import confined

    confined.install()
END
}
program=(gunicorn --bind "127.0.0.1:$port" --workers 2 app:app)
use() {
    expect '{"double":42}' get /double/21
    expect '404 Not Found' get /missing
    expect 999 get /page
    sleep 2 # a worker shows every second that it is alive
}
more() {
    load /double/1 200
    load /page 50
    expect 400000 get /length --data-binary @<(head -c 400000 /dev/zero)
    expect '500 Internal' get /error
    kill -HUP "$main" # new workers
    sleep 2
    expect '{"double":42}' get /double/21
    kill -TTIN "$main"
    pkill -P "$main" -KILL -o
    sleep 1
    load /double/1 20
}
attack() { expect '["PermissionError","PermissionError","PermissionError","PermissionError"]' get /attack; }
