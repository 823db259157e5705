# PostgreSQL: tables and transactions, by clients on the machine.
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' :)
export PGHOST=$PWD PGUSER=postgres
prepare() {
    "${user[@]}" initdb -D data -A trust -U postgres --no-sync > /dev/null
    cat >> data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '$PWD'
fsync = off
jit = off # would make code at run time
END
}
program=(postgres -D data)
ready() { psql -c 'SELECT 1' > /dev/null 2>&1; }
ask() { psql -XAtq -c "$1"; }
use() {
    ask 'CREATE TABLE numbers (number integer PRIMARY KEY, name text)'
    ask "INSERT INTO numbers SELECT n, 'name ' || n FROM generate_series(1, 1000) n"
    expect 'name 42' ask 'SELECT name FROM numbers WHERE number = 42'
    expect 'duplicate key' ask "INSERT INTO numbers VALUES (1, 'again')"
    ask CHECKPOINT
}
more() {
    pgbench -i -s 2 -q > /dev/null 2>&1
    pgbench -c 10 -j 2 -t 100 -n > /dev/null 2>&1
    ask "CREATE INDEX ON pgbench_accounts (abalance); ALTER TABLE numbers ADD COLUMN more text"
    expect 200000 ask "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
        SELECT count(*) FROM pgbench_accounts"
    expect 200000 ask "SET work_mem = '64kB'; SELECT count(*) FROM (SELECT filler, aid FROM pgbench_accounts ORDER BY random()) t"
    ask 'VACUUM FULL ANALYZE'
    expect t ask 'SELECT pg_reload_conf()'
    ask "SELECT pg_sleep(60)" > /dev/null 2>&1 &
    sleep 0.5
    expect t ask "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    ask 'CREATE DATABASE other'
    ask 'DROP DATABASE other'
    ask 'DROP TABLE numbers'
    ask "COPY (SELECT 1) TO '$PWD/copy'"
    ask 'SELECT pg_sleep(60)' > /dev/null 2>&1 &
    sleep 0.5
    kill -KILL "$(ask "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'")" # a crash
    sleep 0.5
    await ready
}
attack() { expect 'Operation not permitted' ask "COPY pgbench_history FROM PROGRAM 'id'"; }
stop() { kill -INT "$1"; }
