"$PROGRAM" -u nobody -l 127.0.0.1 -p 11999 -U 11999 -t 2 -m 8 &
server=$!
ask() { printf "$@" | socat -t1 - TCP:127.0.0.1:11999; }
wait_for socat -u OPEN:/dev/null TCP:127.0.0.1:11999
ask 'set a 0 0 3\r\none\r\nget a\r\nincr a 1\r\nquit\r\n'
ask 'set n 0 0 1\r\n1\r\nincr n 41\r\ndelete a\r\nget a\r\nflush_all\r\nquit\r\n'
head -c 500000 /dev/zero | tr '\0' x >large
{ printf 'set l 0 0 500000\r\n'; cat large; printf '\r\nget l\r\nquit\r\n'; } | socat -t2 - TCP:127.0.0.1:11999 | cksum
ask 'lru_crawler crawl all\r\nquit\r\n'
kill -TERM $server
wait $server || echo "ended with $?"
"$PROGRAM" -u root -s "$PWD/s" -a 777 -k -r -m 64 -e /run/memory -P "$PWD/pid" -o slab_automove=1 &
server=$!
wait_for socat -u OPEN:/dev/null UNIX:s
printf 'set a 0 0 3\r\none\r\nmg a v t\r\nwatch\r\nquit\r\n' | socat -t1 - UNIX:s
kill -USR1 $server
wait $server || echo "ended with $?"
"$PROGRAM" -u root -s "$PWD/s" -m 64 -e /run/memory -d -P "$PWD/pid"
wait_for socat -u OPEN:/dev/null UNIX:s
# Whether it still has its memory depends on the time.
printf 'get a\r\nquit\r\n' | socat -t1 - UNIX:s | grep -c END
kill -INT "$(cat pid)"
