export RCLONE_CONFIG="$PWD/conf"
mkdir -p one/two
seq 5000 >one/numbers
echo x >one/two/file
ln -s numbers one/link
r() { "$PROGRAM" -q "$@"; }
touch conf
r config create sealed crypt remote="$PWD/sealed" password=some --obscure >/dev/null
r copy -L --transfers 4 --metadata --cpuprofile profile --memprofile memory one copy
r sync --checksum --backup-dir kept one/two copy
diff -r one/two copy && echo same
r copy one sealed:
r ls sealed: | sort
r cat sealed:numbers | cksum
r check one copy 2>/dev/null || echo "ended with $?"
r hashsum sha256 one | sort
r lsf -R one | sort
r size one
r tree one | tail -n 1
seq 100 | r rcat rcat/numbers
r moveto rcat/numbers rcat/moved
r delete --min-size 1 rcat
r about . >/dev/null
r dedupe --by-hash skip one 2>/dev/null || echo "ended with $?"
"$PROGRAM" -q serve http --addr 127.0.0.1:8081 one &
server=$!
wait_for curl -sf http://127.0.0.1:8081/numbers
curl -s -r 10-20 http://127.0.0.1:8081/numbers
r copy --http-url http://127.0.0.1:8081 :http: fetched
cksum fetched/numbers fetched/two/file
kill -TERM $server
wait $server || echo "ended with $?"
"$PROGRAM" -q serve webdav --addr 127.0.0.1:8082 --vfs-cache-mode writes --cache-dir "$PWD/cache" copy &
server=$!
wait_for curl -sf http://127.0.0.1:8082/
curl -s -T one/numbers http://127.0.0.1:8082/put -w '%{http_code}\n' -o put
r lsf --webdav-url http://127.0.0.1:8082 :webdav: | sort
kill -TERM $server
wait $server || echo "ended with $?"
"$PROGRAM" -q serve http --addr 127.0.0.1:8083 one 2>dump &
server=$!
wait_for curl -sf http://127.0.0.1:8083/numbers
kill -ABRT $server
wait $server || echo "ended with $?"
r cat none 2>/dev/null || echo "ended with $?"
