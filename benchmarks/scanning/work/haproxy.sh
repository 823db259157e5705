openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=localhost 2>/dev/null
cat key cert >both
cat >conf <<END
global
    stats socket $PWD/s mode 600 level admin
    maxconn 200
    nbthread 2
    cpu-map auto:1/1-2 0-1
    log 127.0.0.1:5514 local0
    chroot $PWD
    tune.ssl.default-dh-param 2048
    user nobody
resolvers some
    nameserver one 127.0.0.1:5353
    resolve_retries 1
    timeout retry 100ms
cache small
    total-max-size 4
    max-age 60
defaults
    mode http
    timeout connect 2s
    timeout client 2s
    timeout server 2s
frontend front
    bind 127.0.0.1:8081
    bind 127.0.0.1:8443 ssl crt $PWD/both
    bind unix@$PWD/u
    log global
    option httplog
    compression algo gzip
    compression type text/plain
    default_backend back
backend back
    balance roundrobin
    http-request cache-use small
    http-response cache-store small
    server named none.invalid:8082 resolvers some init-addr none
    server one 127.0.0.1:8082 check inter 200ms
    server two 127.0.0.1:8082 check inter 200ms
frontend behind
    bind 127.0.0.1:8082
    http-request return status 200 content-type text/plain string "answered\n"
END
"$PROGRAM" -W -f conf 2>errors &
server=$!
wait_for curl -sf http://127.0.0.1:8081/
for _ in 1 2 3; do curl -s http://127.0.0.1:8081/; done
curl -sk --compressed https://127.0.0.1:8443/
curl -s --unix-socket u http://localhost/
echo 'show servers state' | socat -t2 - UNIX:s | grep -c back
kill -USR2 $server
sleep 1
wait_for curl -sf http://127.0.0.1:8081/
curl -s http://127.0.0.1:8081/
kill -TERM $server
wait $server || echo "ended with $?"
