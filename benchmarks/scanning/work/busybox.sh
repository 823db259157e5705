# starts: usr/bin/dash
b() { "$PROGRAM" "$@"; }
mkdir -p a/b
b seq 1 2000 >a/numbers
b tar czf packed.tgz a
b tar tzf packed.tgz
b gzip -k a/numbers
b zcat a/numbers.gz | b sha256sum
b find a -type f -size +1k | b sort
b awk '{ s += $1 } END { print s }' a/numbers
b sed -n '5,6s/^/x/p' a/numbers
b grep -c 9 a/numbers
b cp -a a c
b diff -r a c && echo same
b ln -s a link && b readlink link
b ls -l a | b wc -l
b dd if=/dev/zero of=zero bs=1k count=10 2>/dev/null
b stat -c %s zero
b mv zero c/zero
b rm -r c
b date -u -d @0 +%Y
b ps >/dev/null && b df / >/dev/null && b uptime >/dev/null && b free >/dev/null
b sleep 0.1
# It executes itself, which QEMU cannot.
test -z "$OVER" || b timeout 1 true
"$PROGRAM" httpd -f -p 127.0.0.1:8081 -h a &
server=$!
wait_for b wget -q -O got http://127.0.0.1:8081/numbers
cksum got
kill $server
b sh -c 'x=$(echo 1 2); for i in $x; do echo "$i" & wait; done; echo $((6 * 7)) | cat'
b bc <<'END'
2 ^ 70
END
b vi -c q a/numbers </dev/null >/dev/null 2>&1 || :
b id -u
b mktemp -d >/dev/null
