mkdir html body
chmod 755 .
seq 5000 >html/numbers
cat >conf <<END
user nobody nogroup;
daemon off;
worker_processes 2;
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
    gzip on;
    gzip_types *;
    sendfile on;
    server {
        listen 8081;
        listen unix:$PWD/s;
        root $PWD/html;
        autoindex on;
        location /again/ { proxy_pass http://127.0.0.1:8081/; }
    }
}
END
"$PROGRAM" -c "$PWD/conf" &
server=$!
wait_for curl -s http://127.0.0.1:8081/numbers
for path in numbers again/numbers again/none; do
    curl -s --compressed "http://127.0.0.1:8081/$path" | cksum
done
curl -s --unix-socket s -r 10-20 http://localhost/numbers
curl -s http://127.0.0.1:8081/ | grep -c numbers
kill -HUP $server
sleep 1
curl -s http://127.0.0.1:8081/numbers | tail -n 1
kill -QUIT $server
wait $server
