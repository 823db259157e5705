# starts: usr/lib/openssh/sshd-session usr/lib/openssh/sshd-auth
mkdir -p /run/sshd
{ cat /etc/passwd; echo 'sshd:x:998:65534::/run/sshd:/usr/sbin/nologin'; } >passwd
mount --bind passwd /etc/passwd
ssh-keygen -q -t ed25519 -N '' -f key
cat >conf <<END
HostKey $PWD/key
Port 2222
ListenAddress 127.0.0.1
PidFile $PWD/pid
UsePAM no
END
"$PROGRAM" -t -f "$PWD/conf"
"$PROGRAM" -T -f "$PWD/conf" | grep '^port'
"$PROGRAM" -D -e -f "$PWD/conf" 2>log &
server=$!
wait_for ssh-keyscan -p 2222 127.0.0.1
test "$(ssh-keyscan -t ed25519 -p 2222 127.0.0.1 2>/dev/null | sed -n 's/^[^#].* //p')" = "$(cut -d' ' -f2 key.pub)"
echo "gave its key"
kill -HUP $server
wait_for ssh-keyscan -p 2222 127.0.0.1
kill -TERM $server
wait $server || echo "ended with $?"
