# starts: usr/bin/dash usr/bin/cat usr/bin/sleep usr/bin/echo
export SHELL=/bin/sh
t() { "$PROGRAM" -S "$PWD/s" -f /dev/null "$@"; }
t new-session -d -x 80 -y 24 'echo hello; sleep 20'
t split-window 'echo second; sleep 20'
t new-window 'sleep 20'
wait_for sh -c '"$PROGRAM" -S s capture-pane -p -t 0.0 | grep hello'
t capture-pane -p -t 0.0 | head -n 1
t list-windows -F '#{window_index} #{window_panes}'
t set-buffer copied
t save-buffer file
cat file
t resize-window -x 100 -y 30 -t 0
t run-shell 'echo ran'
printf 'list-sessions -F "#{session_windows}"\ndetach\n' | t -C attach | grep -c '^%begin'
script -qec '"$PROGRAM" -S s attach' /dev/null >/dev/null 2>&1 </dev/null &
attached=$!
wait_for sh -c '"$PROGRAM" -S s list-clients | grep -v control'
t pipe-pane -t 0.0 'cat >piped'
t send-keys -t 0.0 typed
wait_for grep typed piped
t copy-mode -t 0.0
t display-message -p '#{client_width} #{pane_in_mode}' | cut -d ' ' -f 2
t set-option -g status-interval 1
t wait-for -S done
t respawn-pane -k -t 0.1 'sleep 20'
t if-shell 'exit 1' 'display-message -p yes' 'display-message -p no'
t detach-client -a || :
t detach-client || :
wait $attached || echo "ended with $?"
t kill-server
