echo '{"includes": ["**/*.json"], "plugins": []}' >dprint.json
mkdir -p a/b
for n in 1 2 3; do echo '{"a":1}' >a/b/$n.json; done
"$PROGRAM" --version
"$PROGRAM" help | head -n 3
"$PROGRAM" completions bash | cksum
"$PROGRAM" license | wc -l
"$PROGRAM" output-file-paths || echo "ended with $?"
"$PROGRAM" check 2>/dev/null || echo "ended with $?"
"$PROGRAM" fmt --incremental=false 2>/dev/null || echo "ended with $?"
"$PROGRAM" fmt --plugins "$PWD/none.wasm" 2>/dev/null || echo "ended with $?"
echo '{}' | "$PROGRAM" fmt --stdin some.json || echo "ended with $?"
"$PROGRAM" output-resolved-config || echo "ended with $?"
"$PROGRAM" clear-cache >/dev/null
"$PROGRAM" none 2>/dev/null || echo "ended with $?"
