# starts: usr/bin/dash usr/bin/echo
seq 5000 >numbers
"$PROGRAM" --filter '99$' <numbers | tail -n 2
"$PROGRAM" --filter '^1 !2 5' --no-sort <numbers | head -n 3
"$PROGRAM" --tac -e --filter 42 <numbers | wc -l
"$PROGRAM" --query 4321 --select-1 --exit-0 <numbers
"$PROGRAM" --query none --select-1 --exit-0 <numbers || echo "ended with $?"
mkdir -p a/b && touch a/b/c a/d
"$PROGRAM" --walker-root=a --filter '' </dev/tty 2>/dev/null | sort || :
export SHELL=/bin/sh
at_terminal() { script -qec "$1" /dev/null </dev/null >/dev/null || echo "ended with $?"; }
at_terminal '"$PROGRAM" --query 4321 --multi --bind load:select-all+accept <numbers >picked'
cat picked
at_terminal '"$PROGRAM" --height 10 --preview "echo seen" --listen 8082 <numbers >picked' &
wait_for curl -sf http://127.0.0.1:8082/
curl -s -d 'change-query(77$)+execute-silent(echo ran >ran)' http://127.0.0.1:8082/
wait_for test -s ran
sleep 0.5
curl -s -d accept http://127.0.0.1:8082/
wait
cat picked ran
