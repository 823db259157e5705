mkdir html body written
chmod 755 .
chmod 777 written body
seq 5000 >html/numbers
cat >conf <<END
user nobody nogroup;
daemon off;
worker_processes 2;
worker_cpu_affinity auto;
worker_priority 1;
worker_rlimit_nofile 500;
worker_rlimit_core 1000;
working_directory $PWD;
error_log $PWD/errors;
pid $PWD/pid;
events {}
http {
    access_log $PWD/access;
    client_body_temp_path $PWD/body;
    proxy_temp_path $PWD/proxy;
    fastcgi_temp_path $PWD/fastcgi;
    uwsgi_temp_path $PWD/uwsgi;
    scgi_temp_path $PWD/scgi;
    proxy_cache_path $PWD/cache keys_zone=cached:1m inactive=1s loader_sleep=10ms;
    open_file_cache max=10;
    upstream again { zone again 64k; server 127.0.0.1:8081; keepalive 2; }
    gzip on;
    gzip_types *;
    sendfile on;
    server {
        listen 8081;
        listen unix:$PWD/s;
        root $PWD/html;
        autoindex on;
        location /threads/ { alias $PWD/html/; aio threads; sendfile off; gzip off; }
        location /cached/ { proxy_pass http://again/; proxy_cache cached; proxy_cache_valid 1m; }
        location /limited/ { alias $PWD/html/; limit_rate 20k; gzip off; }
        location /written/ {
            root $PWD;
            client_body_in_file_only clean;
            dav_methods PUT DELETE MKCOL COPY MOVE;
            create_full_put_path on;
        }
        location /again/ { proxy_pass http://127.0.0.1:8081/; }
    }
}
END
"$PROGRAM" -c "$PWD/conf" &
server=$!
wait_for curl -s http://127.0.0.1:8081/numbers
for path in numbers again/numbers again/none threads/numbers cached/numbers cached/numbers \
    limited/numbers; do
    curl -s --compressed "http://127.0.0.1:8081/$path" | cksum
done
curl -s --unix-socket s -r 10-20 http://localhost/numbers
curl -s -T html/numbers http://127.0.0.1:8081/written/a/numbers
curl -s -X MOVE -H 'Destination: /written/moved' http://127.0.0.1:8081/written/a/numbers
curl -s -X COPY -H 'Destination: /written/copied' http://127.0.0.1:8081/written/moved
curl -s -X DELETE http://127.0.0.1:8081/written/moved
ls written
curl -s http://127.0.0.1:8081/ | grep -c numbers
mv access accessed
kill -USR1 $server
kill -HUP $server
sleep 1
curl -s http://127.0.0.1:8081/numbers | tail -n 1
kill -QUIT $server
wait $server
