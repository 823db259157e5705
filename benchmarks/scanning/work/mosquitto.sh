cat >conf <<END
listener 1899 127.0.0.1
listener 0 $PWD/s
allow_anonymous true
persistence true
persistence_location $PWD/
log_dest file $PWD/log
user nobody
END
"$PROGRAM" -c conf &
server=$!
wait_for mosquitto_pub -p 1899 -t kept -m kept -r -q 1
mosquitto_sub -p 1899 -t kept -C 1
mosquitto_sub -p 1899 -t 'some/#' -C 2 -q 2 >got &
sub=$!
sleep 0.5
mosquitto_pub -p 1899 -t some/one -m one -q 2
mosquitto_pub -p 1899 -t some/two -m two -q 2
wait $sub
cat got
cat >bridging <<END
listener 1898 127.0.0.1
allow_anonymous true
max_inflight_messages 5
connection some
address 127.0.0.1:1899
topic # in 1
restart_timeout 1
END
"$PROGRAM" -v -c bridging >>bridged 2>&1 &
bridge=$!
through() {
    mosquitto_pub --unix s -t bridged -m through -q 1 -r
    mosquitto_sub -p 1898 -t bridged -C 1 -W 1
}
wait_for through
through
kill -USR2 $bridge
kill -TERM $bridge
wait $bridge || echo "ended with $?"
kill -USR1 $server
kill -HUP $server
sleep 0.5
kill -TERM $server
wait $server
