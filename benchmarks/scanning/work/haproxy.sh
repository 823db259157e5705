cat >conf <<END
global
    stats socket $PWD/s mode 600 level admin
    maxconn 200
    user nobody
defaults
    mode http
    timeout connect 2s
    timeout client 2s
    timeout server 2s
frontend front
    bind 127.0.0.1:8081
    default_backend back
backend back
    balance roundrobin
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
echo 'show servers state' | socat -t2 - UNIX:s | grep -c back
kill -USR2 $server
sleep 1
wait_for curl -sf http://127.0.0.1:8081/
curl -s http://127.0.0.1:8081/
kill -TERM $server
wait $server || echo "ended with $?"
