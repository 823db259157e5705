cat >script <<'END'
set -o pipefail
f() { local a=("$@"); echo "${#a[@]} ${a[*]^^}"; }
f one two
seq() { for ((i = 1; i <= $1; i++)); do echo $i; done; }
seq 1000 | while read -r n; do ((n % 500)) || echo "$n"; done
mapfile -t lines < <(seq 20)
declare -A map=([a]=1 [b]=2)
echo "${lines[-1]} ${map[b]} ${BASH_VERSINFO[0]}"
cat_() { while IFS= read -r line; do printf '%s\n' "$line"; done; }
cat_ <<<"here"
trap 'echo trapped' USR1
kill -USR1 $$
(exit 3) || echo "ended with $?"
sleep_() { read -rt 0.2 <> <(:) || :; }
{ sleep_; echo job; } & wait -n; echo waited
coproc cat_; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
umask 022; ulimit -n >n; printf -v s '%(%Y)T' 0; echo "$s"
mkfifo_() { exec 5>out; echo five >&5; exec 5>&-; cat_ <out; }
mkfifo_
[[ -f out && -r out && abc =~ b(.) ]] && echo "${BASH_REMATCH[1]}"
cd /; echo "$PWD" *e*c*; cd - >/dev/null; pwd -P >p; times >t; type echo; echo $((RANDOM * 0))
set -m; (:) & wait $!
echo ~root; compgen -u ro; ulimit -S -c 0; ulimit -v 4000000
exec {fd}<>/dev/udp/127.0.0.1/9; echo x >&$fd; exec {fd}>&-
: 2>/dev/null </dev/tcp/127.0.0.1/1 || echo "refused"
[[ out -nt none && out -ef out && -O out ]] && echo newer
exec {fd}>>out; echo "more" >&$fd; exec {fd}>&-; test -s out && echo "$(<out)"
set +m; f() { trap 'echo returned' RETURN; return 4; }; f || echo "$?"
time -p : 2>times; jobs; disown -a; kill -l 9; printf '%b\n' '\x41'; read -rsn 1 -d '' c <<<z; echo "$c"
{ sleep_; sleep_; echo child; } & job=$!; kill -0 $job && kill $job; wait $job || echo "$?"; trap 'echo at exit' EXIT
END
"$PROGRAM" script
echo 'echo "$-"; history | head -n 0; exit 2' | "$PROGRAM" --norc -i 2>/dev/null || echo "ended with $?"
