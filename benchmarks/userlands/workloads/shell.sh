# bash, coreutils, findutils and sed, as a script of a service uses them.
set -e
mkdir -p top/a/b; seq 2000 >top/a/numbers; cp top/a/numbers top/a/b/copy; cp -a top/a top/c; mv top/c/numbers top/moved; ln -s moved top/link; ln top/moved top/hard
install -m 640 top/moved top/installed; stat -c '%a %s %F' top/installed; touch -d @86400 top/installed; stat -c %Y top/installed; chmod -R u=rwX,go= top/a; chown -R 0:0 top/a; chmod -h 640 top/moved 2>/dev/null || chmod 640 top/moved
ls -lR --time-style=+%s top | wc -l; find top -type f -name '*o*' | sort; du -s --apparent-size top >/dev/null; df . >/dev/null
sort --parallel=2 -S 1M -rn top/moved | head -3; split -n 4 top/moved part.; cat part.* | cmp - top/moved && echo joined; dd if=/dev/zero of=zeros bs=4096 count=10 status=none; truncate -s 100000 zeros; cp --sparse=always zeros sparse; wc -c sparse
sed -i s/1/x/ top/moved; grep -c x top/moved; tail -n 2 top/moved | tac; seq 20 | xargs -P 4 -n 5 echo | sort; cp --reflink=auto -u top/moved top/new; cmp top/moved top/new
(sleep 0.1; echo late) & wait; coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"; kill $COPROC_PID; diff <(seq 3) <(seq 4) || true
trap 'echo signal' USR1; kill -USR1 $$; timeout 0.1 sleep 5 || echo "timed out $?"; nice -n 5 true; mktemp -d /tmp/XXXXXX >/dev/null; readlink -f top/link; id -u; nproc >/dev/null; date -d @0 +%s; rm -rf top/a; ls top; sync zeros; shred -n 1 zeros; tee copy <sparse | wc -c; env -i true; nohup true 2>/dev/null; stdbuf -oL echo line; join <(seq 3) <(seq 3) | wc -l
