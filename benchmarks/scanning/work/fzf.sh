seq 5000 >numbers
"$PROGRAM" --filter '99$' <numbers | tail -n 2
"$PROGRAM" --filter '^1 !2 5' --no-sort <numbers | head -n 3
"$PROGRAM" --tac -e --filter 42 <numbers | wc -l
"$PROGRAM" --query 4321 --select-1 --exit-0 <numbers
"$PROGRAM" --query none --select-1 --exit-0 <numbers || echo "ended with $?"
mkdir -p a/b && touch a/b/c a/d
"$PROGRAM" --walker-root=a --filter '' </dev/tty 2>/dev/null | sort || :
