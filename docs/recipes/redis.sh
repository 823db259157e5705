# redis: keys, lists, and saving in the background.
prepare() {
    cat > redis.conf <<END
bind 127.0.0.1
port $port
dir $PWD
appendonly yes
END
}
program=(redis-server redis.conf)
ask() { redis-cli -p "$port" "$@"; }
saved() { ask INFO persistence | grep -q rdb_bgsave_in_progress:0; }
use() {
    await ask PING
    expect OK ask SET key value
    expect value ask GET key
    expect 2 ask LPUSH list 1 2
    expect started ask BGSAVE
    await saved
    expect rdb_last_bgsave_status:ok ask INFO persistence
}
more() {
    redis-benchmark -q -p "$port" -n 2000 -c 50 -t set,lrange,mset > /dev/null
    redis-benchmark -q -p "$port" -n 20 -c 4 -d 3000000 -t set,get > /dev/null
    expect 42 ask EVAL 'return 6 * 7' 0
    expect started ask BGREWRITEAOF
    await eval 'ask INFO persistence | grep -q aof_rewrite_in_progress:0'
    expect aof_last_bgrewrite_status:ok ask INFO persistence
    expect OK ask CONFIG SET maxmemory 50mb maxmemory-policy allkeys-lru
    expect OK ask SCRIPT FLUSH
    expect OK ask SAVE
    expect OK ask FLUSHALL ASYNC
}
attack() {
    expect OK ask REPLICAOF 127.0.0.1 "$(free_port)" # fetches data, and code, from another server
    await grep -q 'Unable to connect to MASTER: Operation not permitted' log
}
