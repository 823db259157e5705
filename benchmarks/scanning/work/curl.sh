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
kill $plain $secure
