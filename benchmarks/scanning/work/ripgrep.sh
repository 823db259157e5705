mkdir -p a/b
for n in 1 2 3 4 5; do seq "$n" 3000 >a/b/numbers$n; done
echo '*4' >.ignore
"$PROGRAM" --sort path -c 99 .
"$PROGRAM" -j 4 -l '^1.2$' | sort
"$PROGRAM" --mmap -n -C 1 '^500$' a/b/numbers1
"$PROGRAM" --no-mmap -U '7\n8\n' a/b/numbers2
"$PROGRAM" --json 2999 a/b/numbers3 | head -n 2
seq 100 | "$PROGRAM" -r 'x$0' '9$'
"$PROGRAM" --files | sort
"$PROGRAM" none || echo "ended with $?"
