# A database with a log, an import, a copy and a vacuum.
set -e
i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo "$i,text $i"; done >rows.csv
sqlite3 job.db <<'SQL'
.bail on
pragma journal_mode=wal;
create table rows(number integer primary key, words text);
.mode csv
.import rows.csv rows
begin; update rows set words = words || '!'; commit;
create index words on rows(words);
select count(*), sum(number), max(words) from rows;
.backup copy.db
.output dump.sql
.dump
.output stdout
pragma journal_mode=delete;
vacuum;
pragma integrity_check;
SQL
sqlite3 -batch copy.db 'select words from rows where number = 7'; grep -c INSERT dump.sql
