mkdir -p some/inner
for n in 1 2 3 4 5 6 7 8; do
    printf 'import os, sys\nfrom inner import a%s\n\ndef f( x ):\n    l = lambda: 1\n    return x\n' "$n" >some/m$n.py
    printf 'a%s = "b"\n' "$n" >some/inner/a$n.py
done
touch some/inner/__init__.py
printf '[lint]\nselect = ["ALL"]\nignore = ["D", "INP001"]\n' >some/ruff.toml
cd some
"$PROGRAM" check --output-format concise | sort | cksum
"$PROGRAM" check --statistics | sort
"$PROGRAM" check --select I,E --fix -q || echo "ended with $?"
"$PROGRAM" check --output-format sarif m1.py | wc -l
"$PROGRAM" format --diff 2>/dev/null | grep -c '^@@'
"$PROGRAM" format
cat m3.py
"$PROGRAM" format --check
"$PROGRAM" check --no-cache --isolated --exit-zero --show-files . | wc -l
"$PROGRAM" analyze graph --preview 2>/dev/null | wc -l
echo 'x=  1' | "$PROGRAM" format -
echo 'import os' | "$PROGRAM" check --quiet --output-format json - | grep -c F401
"$PROGRAM" rule F401 | head -n 1
"$PROGRAM" config lint.select | head -n 1
"$PROGRAM" linter | wc -l
"$PROGRAM" --version
{
    send() { printf 'Content-Length: %d\r\n\r\n%s' "${#1}" "$1"; }
    send '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
    send '{"jsonrpc":"2.0","method":"initialized","params":{}}'
    send '{"jsonrpc":"2.0","id":2,"method":"shutdown"}'
    send '{"jsonrpc":"2.0","method":"exit"}'
} | "$PROGRAM" server 2>/dev/null | grep -c codeActionProvider
"$PROGRAM" clean 2>/dev/null
test -e .ruff_cache || echo clean
"$PROGRAM" check none.py 2>/dev/null || echo "ended with $?"
