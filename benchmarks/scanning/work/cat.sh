seq 20000 >numbers
"$PROGRAM" numbers | cksum
seq 5 | "$PROGRAM" -n - numbers | tail -n 1
"$PROGRAM" -A numbers >copy
cksum copy
"$PROGRAM" none || echo "ended with $?"
"$PROGRAM" --help | head -n 1
