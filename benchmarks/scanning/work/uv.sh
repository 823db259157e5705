# starts: usr/bin/python3.13
export UV_CACHE_DIR="$PWD/cache" UV_PYTHON=/usr/bin/python3.13 UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
mkdir -p simple/some
python3 - <<'END'
import zipfile
with zipfile.ZipFile("simple/some/some-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("some.py", "value = 42\n")
    wheel.writestr("some-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some\nVersion: 1.0\n")
    wheel.writestr("some-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("some-1.0.dist-info/RECORD", "")
END
python3 -m http.server --bind 127.0.0.1 8081 >/dev/null 2>&1 &
server=$!
wait_for curl -sf http://127.0.0.1:8081/simple/some/
export UV_DEFAULT_INDEX=http://127.0.0.1:8081/simple
"$PROGRAM" --version
"$PROGRAM" venv -q environment
export UV_PYTHON="$PWD/environment"
echo 'some>=1' >wanted
"$PROGRAM" pip compile -q --no-header --no-annotate wanted
"$PROGRAM" pip install -q -r wanted
"$PROGRAM" pip list -q
"$PROGRAM" pip check -q && echo checked
environment/bin/python -c 'import some; print(some.value)'
"$PROGRAM" pip uninstall -q some
export UV_PYTHON=/usr/bin/python3.13
"$PROGRAM" init -q --bare --name other project
cd project
"$PROGRAM" add -q some
"$PROGRAM" lock -q --check && echo locked
"$PROGRAM" tree -q
"$PROGRAM" export -q --no-header --no-hashes
"$PROGRAM" run -q python -c 'import some; print(some.value)'
"$PROGRAM" sync -q --offline --reinstall --link-mode copy && echo synced
"$PROGRAM" version -q --bump minor 2>/dev/null || echo "ended with $?"
"$PROGRAM" pip install -q --target there --offline none 2>/dev/null || echo "ended with $?"
"$PROGRAM" cache prune -q
"$PROGRAM" cache clean -q
kill $server
