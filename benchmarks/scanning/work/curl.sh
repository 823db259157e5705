seq 5000 >numbers
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost 2>/dev/null
openssl s_server -quiet -accept 8443 -cert cert -key key -WWW &
secure=$!
python3 -m http.server --bind 127.0.0.1 8081 >/dev/null 2>&1 &
plain=$!
wait_for sh -c 'curl -sf http://127.0.0.1:8081/ && curl -sfk https://localhost:8443/numbers'
"$PROGRAM" -s "file://$PWD/numbers" | cksum
"$PROGRAM" -s --compressed -D headers http://127.0.0.1:8081/numbers | cksum
"$PROGRAM" -s --cacert cert https://localhost:8443/numbers | cksum
"$PROGRAM" -s --cacert cert -Z -o one -o two https://localhost:8443/numbers http://localhost:8081/numbers
cksum one two
"$PROGRAM" -s -C - -o one http://127.0.0.1:8081/numbers || echo "ended with $?"
"$PROGRAM" -s -T numbers -c jar -w '%{http_code}\n' -o /dev/null http://127.0.0.1:8081/put
"$PROGRAM" -s --retry 1 --connect-timeout 2 http://127.0.0.1:1/ || echo "ended with $?"
"$PROGRAM" -s -4 --interface lo --limit-rate 100k --tcp-nodelay --keepalive-time 5 --resolve other:8081:127.0.0.1 \
    http://other:8081/numbers | cksum
"$PROGRAM" -s -6 --max-time 2 'http://[::1]:1/' || echo "ended with $?"
"$PROGRAM" -s --unix-socket none http://localhost/ || echo "ended with $?"
"$PROGRAM" -s --max-time 1 tftp://127.0.0.1:1/x || echo "ended with $?"
"$PROGRAM" -s --tcp-fastopen --http2 --cacert cert https://localhost:8443/numbers | cksum
"$PROGRAM" -s -x socks5h://127.0.0.1:1 http://localhost/ || echo "ended with $?"
"$PROGRAM" -s --retry 1 --retry-connrefused --retry-delay 1 http://127.0.0.1:2/ || echo "ended with $?"
"$PROGRAM" -s -F file=@numbers -b a=b -o /dev/null -w '%{http_code} %{num_connects}\n' http://127.0.0.1:8081/
"$PROGRAM" -s --create-dirs -R --etag-save etag -o some/where/numbers http://127.0.0.1:8081/numbers
"$PROGRAM" -s -T numbers "file://$PWD/written" && cmp numbers written
"$PROGRAM" -s telnet://127.0.0.1:1 || echo "ended with $?"
"$PROGRAM" -s http://none.invalid/ || echo "ended with $?"
"$PROGRAM" -sV | head -n 1 | cut -d ' ' -f 1
kill $plain $secure
