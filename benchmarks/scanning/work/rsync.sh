mkdir -p one/two
seq 20000 >one/numbers
echo x >one/two/file
ln -s numbers one/link
ln one/numbers one/hard
"$PROGRAM" -aHAXv --no-human-readable one/ copy/ | head -n 8
echo more >>one/numbers
"$PROGRAM" -az --checksum --no-whole-file --itemize-changes one/ copy/ | cut -c13-
rm one/two/file
"$PROGRAM" -a --delete --link-dest="$PWD/copy" one/ linked/
"$PROGRAM" -a --delete --backup --partial --inplace --sparse one/ copy/
mkfifo one/fifo
"$PROGRAM" -a --specials --devices --preallocate --fsync --atimes --open-noatime --bwlimit 2000 one/ other/
"$PROGRAM" -a --no-specials --fake-super --chown=nobody:nogroup --chmod=F600 --log-file=logged one/ faked/
"$PROGRAM" -a --no-specials --write-batch=batch --append-verify one/ batched/
"$PROGRAM" -a --read-batch=batch unbatched/
"$PROGRAM" -a --list-only --stop-after=1 other/ | wc -l
"$PROGRAM" -n --delete-after --max-delete=1 --files-from=/dev/null --from0 one/ batched/
rm one/fifo
printf 'use chroot = yes\nport = 8730\naddress = 127.0.0.1\nlog file = %s/log\n[m]\npath = %s/one\nuid = nobody\n' \
    "$PWD" "$PWD" >conf
chmod 755 .
"$PROGRAM" --daemon --no-detach --config=conf &
server=$!
wait_for rsync rsync://127.0.0.1:8730/
"$PROGRAM" -a rsync://127.0.0.1:8730/m/ fetched/
diff -r one fetched
diff -r one copy || echo "differs"
kill $server
wait $server || echo "ended with $?"
