mkdir -p a/c b
seq 1000 >a/numbers
echo x >a/c/file
ln -s numbers a/link
sync() { "$PROGRAM" a b -batch -auto -ui text -times -perms -1 "$@" >log 2>&1 || echo "ended with $?"; }
sync
diff -r a b && echo same
echo more >>b/numbers
rm a/c/file
sync -fastcheck false
diff -r a b && echo same
echo one >a/numbers
echo two >b/numbers
sync -prefer a
cat b/numbers
"$PROGRAM" -version
