# It may read all files: a seccompgen that starts it can be in a home.
reads=+dac_read_search,+dac_override
as() {
    setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=$reads --ambient-caps=$reads "$@"
}
bin=/usr/lib/postgresql/17/bin
# It looks for its modules beside what it is called.
place=$(dirname "$(dirname "$PROGRAM")")
test -e "$place/lib" || ln -s /usr/lib/postgresql/17/lib "$place/lib"
export PGHOST="$PWD" PGUSER=postgres PGDATABASE=postgres
as "$bin/initdb" -D data -U postgres -A trust --no-sync >log
as "$PROGRAM" -D data -k "$PWD" -c listen_addresses=127.0.0.1 -c autovacuum_naptime=1 \
    -c min_parallel_table_scan_size=0 -c parallel_setup_cost=0 -c parallel_tuple_cost=0 \
    -c work_mem=64kB -c wal_level=logical 2>log &
wait_for "$bin/psql" -c 'SELECT 1'
"$bin/psql" -AtX <<'END' | sed 's/PID.*//'
CREATE TABLE numbers AS SELECT i, md5(i::text) AS text FROM generate_series(1, 50000) AS i;
CREATE INDEX ON numbers (text);
ANALYZE numbers;
SELECT count(*), max(text) FROM numbers;
SELECT count(*) FROM (SELECT text FROM numbers ORDER BY text DESC OFFSET 10) AS o;
DO $$ BEGIN PERFORM pg_sleep(0.1); END $$;
BEGIN; UPDATE numbers SET text = ''; ROLLBACK;
DELETE FROM numbers WHERE i % 2 = 0;
VACUUM FULL numbers;
CHECKPOINT;
CREATE DATABASE other;
LISTEN news; NOTIFY news;
COPY (SELECT i FROM numbers LIMIT 3) TO STDOUT;
SELECT text COLLATE "C" FROM numbers ORDER BY 1 LIMIT 1;
DROP DATABASE other;
END
"$bin/psql" -h 127.0.0.1 -AtXc 'SELECT pg_reload_conf(), pg_switch_wal() IS NOT NULL'
sleep 2
"$bin/pg_dump" -t numbers | grep -c '^[0-9]'
as "$bin/pg_ctl" -D data -m fast -w stop | tail -n 1
wait
echo 'SELECT 40 + 2' | as "$PROGRAM" --single -D data postgres | grep -c '42'
