"$PROGRAM" new site some >/dev/null
cd some
mkdir -p layouts/_default static assets content/posts
echo '<h1>{{ .Title }}</h1>{{ .Content }}' >layouts/_default/single.html
echo '{{ range .Pages.ByTitle }}{{ .Title }} {{ end }}{{ now.Year | lt 2000 }}' >layouts/_default/list.html
echo '{{ $s := resources.Get "a.scss" | toCSS | minify | fingerprint }}{{ $s.RelPermalink }}' >layouts/index.html
echo '$c: red; a { b { color: $c; } }' >assets/a.scss
for n in 1 2 3 4 5; do
    printf -- '---\ntitle: Post %s\n---\n# *Some* `text`\n\n```python\nprint(%s)\n```\n' "$n" "$n" >content/posts/$n.md
done
seq 1000 >static/numbers
"$PROGRAM" --minify --gc | grep -c Pages
cat public/index.html public/posts/index.html public/posts/3/index.html
cksum <public/numbers
"$PROGRAM" --profile-cpu cpu --profile-mem memory --profile-mutex mutex --trace trace --logLevel info >/dev/null
"$PROGRAM" list all | cut -d , -f 1 | sort
"$PROGRAM" config --format json | grep -c baseurl
"$PROGRAM" server --bind 127.0.0.1 -p 8081 --disableFastRender >log 2>&1 &
server=$!
wait_for curl -sf http://127.0.0.1:8081/posts/2/
curl -s http://127.0.0.1:8081/numbers | cksum
curl -s http://127.0.0.1:8081/posts/2/ | grep -c print
sleep 1
echo 'changed' >>content/posts/2.md
wait_for sh -c 'curl -s http://127.0.0.1:8081/posts/2/ | grep changed'
curl -s http://127.0.0.1:8081/posts/2/ | grep changed
curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8081/none
kill -TERM $server
wait $server || echo "ended with $?"
"$PROGRAM" none 2>/dev/null || echo "ended with $?"
