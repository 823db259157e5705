# nginx: one server of files, with gzip, logs and a reload.
prepare() {
    mkdir www
    seq 10000 > www/numbers.txt
    cat > nginx.conf <<END
daemon off;
worker_processes 2;
pid nginx.pid;
events { worker_connections 256; }
http {
    access_log access.log;
    gzip on;
    gzip_types text/plain;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    sendfile on;
    server {
        listen 127.0.0.1:$port;
        root $PWD/www;
        location /attack { proxy_pass http://127.0.0.1:9; }
    }
}
END
}
program=(/usr/sbin/nginx -p "$PWD" -c nginx.conf -e error.log)
use() {
    expect 10000 get /numbers.txt
    expect "404 Not Found" get /missing
    kill -HUP "$(cat nginx.pid)"
    sleep 0.5
    expect 10000 get /numbers.txt
}
more() {
    load /numbers.txt 200
    expect "206 Partial" get /numbers.txt -r 10-20 -i
    get /numbers.txt --compressed | cmp - www/numbers.txt
    expect "405 Not Allowed" get /numbers.txt --data-binary @/usr/bin/curl
    mv access.log access.log.1
    kill -USR1 "$(cat nginx.pid)" # opens its logs anew, as logrotate has it do
    await test -e access.log
    pkill -P "$(cat nginx.pid)" -KILL -o # a worker dies
    load /numbers.txt 20
}
attack() {
    get /attack > /dev/null # has it ask another server
    await grep -q 'Operation not permitted' error.log
}
