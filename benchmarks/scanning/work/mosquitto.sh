cat >conf <<END
listener 1899 127.0.0.1
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
kill -USR1 $server
kill -HUP $server
sleep 0.5
kill -TERM $server
wait $server
