seq 100 >numbers.csv
"$PROGRAM" db <<'END'
PRAGMA journal_mode = WAL;
CREATE TABLE numbers (number INTEGER PRIMARY KEY, text TEXT);
WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO numbers SELECT i, hex(i) FROM n;
CREATE INDEX texts ON numbers (text);
SELECT count(*), max(text) FROM numbers WHERE text LIKE '3%';
PRAGMA cache_size = 10;
SELECT sum(length(a.text)) FROM numbers a JOIN numbers b ON a.number = b.number ORDER BY b.text;
DELETE FROM numbers WHERE number % 2;
VACUUM;
PRAGMA journal_mode = DELETE;
BEGIN; UPDATE numbers SET text = 'x'; ROLLBACK;
.backup copy
.output dump
.dump
.output
.mode csv
.import numbers.csv imported
PRAGMA mmap_size = 10000000;
SELECT count(DISTINCT text) FROM numbers;
.timer on
.timer off
SELECT length(readfile('numbers.csv')), writefile('written', 'some');
SELECT name FROM fsdir('written');
.sha3sum
.save saved
ATTACH 'other' AS other; CREATE TABLE other.t AS SELECT 1; DETACH other;
END
"$PROGRAM" archive -Ac numbers.csv written
"$PROGRAM" archive -At
mkdir out
cd out
"$PROGRAM" ../archive -Ax
cksum *
cd ..
"$PROGRAM" -header copy '.mode json' '.import --skip 1 numbers.csv imported' 'SELECT count(*) FROM numbers'
"$PROGRAM" new <dump
"$PROGRAM" new 'PRAGMA integrity_check; SELECT count(*), date(0, "unixepoch") FROM numbers'
