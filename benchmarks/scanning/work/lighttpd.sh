mkdir html
chmod 755 . html
seq 5000 >html/numbers
cat >conf <<END
server.document-root = "$PWD/html"
server.port = 8081
server.bind = "127.0.0.1"
server.username = "nobody"
server.errorlog = "$PWD/errors"
server.modules = ("mod_access", "mod_redirect", "mod_setenv")
url.redirect = ("^/old" => "/numbers")
END
touch errors
chmod 666 errors
"$PROGRAM" -tt -f conf
"$PROGRAM" -D -f conf &
server=$!
wait_for curl -sf http://127.0.0.1:8081/numbers
curl -s http://127.0.0.1:8081/numbers | cksum
curl -sL -r 10-20 http://127.0.0.1:8081/old
curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8081/none
curl -s -o /dev/null -w '%{http_code}\n' -d @html/numbers http://127.0.0.1:8081/numbers
kill -INT $server
wait $server
