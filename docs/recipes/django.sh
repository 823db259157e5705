# Django with SQLite, under gunicorn: sessions, templates, an upload that is kept.
own_install=true
prepare() {
    python3 -m django startproject mysite .
    python3 manage.py migrate -v0
    cat > mysite/urls.py <<'END'
import os

from django.contrib import admin
from django.core.files.storage import FileSystemStorage
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


@csrf_exempt
def upload(request):
    kept = FileSystemStorage("media").save("upload", request.FILES["file"])
    return HttpResponse(kept)


def attack(request):
    os.popen("id")


urlpatterns = [
    path("visits", visits),
    path("upload", upload),
    path("attack", attack),
    path("admin/", admin.site.urls),
]
END
    cat >> mysite/wsgi.py <<'END'

from sandbox import confined

confined.install()
END
}
program=(gunicorn --bind "127.0.0.1:$port" --workers 2 mysite.wsgi)
use() {
    expect 1 get /visits
    expect 'Page not found' get /missing
    expect 'Log in' get /admin/login/
    head -c 1000 /dev/zero > small
    expect upload get /upload -F file=@small
    sleep 2
}
more() {
    load /visits 100
    head -c 5000000 /dev/zero > large # by a temporary file
    expect upload_ get /upload -F file=@large
    expect '(403)' get /admin/login/ -d username=a -d password=b
    kill -HUP "$main"
    sleep 3
    expect 1 get /visits
}
attack() {
    expect PermissionError get /attack
}
