# called: usr/bin/redis-server
start() {
    # What it says of the kernel concerns QEMU's alone.
    "$PROGRAM" --unixsocket "$PWD/s" --port 6390 --appendonly yes --dir "$PWD" --io-threads 2 --enable-debug-command local \
        --ignore-warnings ARM64-COW-BUG >log &
    wait_for redis-cli -p 6390 ping
}
start
redis-cli -p 6390 set a 1
redis-cli -s s rpush list c a b
redis-cli -p 6390 sort list alpha
redis-cli -p 6390 eval 'return redis.call("incr", KEYS[1])' 1 a
redis-cli -p 6390 bgsave
wait_for sh -c 'redis-cli -p 6390 info persistence | grep rdb_bgsave_in_progress:0'
redis-cli -p 6390 bgrewriteaof
wait_for sh -c 'redis-cli -p 6390 info persistence | grep aof_rewrite_in_progress:0'
redis-benchmark -p 6390 -n 500 -q -t set,get >numbers
redis-cli -p 6390 flushall async
redis-cli -p 6390 set b 2
redis-cli -p 6390 shutdown
wait
start
redis-cli -p 6390 get b
redis-cli -p 6390 shutdown nosave
wait
# Its report of a crash: QEMU's signals differ.
if test -n "$OVER"; then
    start
    redis-cli -p 6390 debug segfault 2>/dev/null || :
    wait $! || echo "ended with $?"
    grep -c 'crashed by signal\|Fast memory test PASSED' log
fi
